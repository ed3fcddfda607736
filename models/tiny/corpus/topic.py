"""What a topic is, and the template language its wordings are written in.

A template is plain text with two marks: `{a|b|c}` stands for one of its parts (marks nest, a part may be empty) and
`<slot>` for a value of the shop or for one of the shared `PHRASES`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

Draw = Callable[[Random], str]

_ALTERNATIVES = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"<([a-z_]+)>")


@dataclass(frozen=True, slots=True)
class Topic:
    """Something customers ask about: wordings of the question, wordings of the answer, and what a shop fills in.

    `questions` are whole questions. The other wordings are parts for the frames of `frames.py`: `nouns` ("the delivery
    time"), `clauses` ("how long delivery takes"), `prices` (a thing that has a price), `durations` (a thing that takes
    time), `actions` ("send it back"), `offers` ("a discount code"). `situations` are sentences that may come first.
    """

    name: str
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    values: dict[str, Draw] = field(default_factory=dict)
    nouns: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    prices: tuple[str, ...] = ()
    durations: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    offers: tuple[str, ...] = ()
    situations: tuple[str, ...] = ()
    weight: int = 1


def texts(block: str) -> tuple[str, ...]:
    """Read one text a line; a line that is indented further than the first goes on with the one above."""
    lines = [line for line in block.split("\n") if line.strip()]
    margin = len(lines[0]) - len(lines[0].lstrip())
    found: list[str] = []
    for line in lines:
        if line[margin] == " ":
            found[-1] += " " + line.strip()
        else:
            found.append(line.strip())
    return tuple(found)


PHRASES = {
    "parcel": "{parcel|package|order|delivery|<item>|<item>|goods|things|shipment}",
    "obj": "{it|the <item>|the <item>|your <item>|my <item>|this <item>|the new <item>|a <item>|one of your <item>s}",
    "thing": "{a|the|one|your|my|this|that|a new} {<item>|<item>|<item>|item|product|thing}",
    "deliver": "{deliver|ship|send|post}",
    "store": "{shop|store|place|workshop}",
    "company": "{company|shop|firm|business|workshop|<shop>|<shop>|<shop>}",
    "buy": "{buy|order|get|purchase}",
    "want": "{want|would like|need|wish|have}",
    "someone": "{someone|somebody|a person|a human|one of you|an employee|your team|customer service|your people}",
    "broken": "{broke|is broken|stopped working|died|gave up|does not work any more|failed|is dead|fell apart}",
    "problem": "{a problem|a question|a complaint|trouble|an issue|an idea|a request|a photo|a suggestion}",
}


def fill(rng: Random, template: str, slots: dict[str, str]) -> str:
    """Write a template out: choose among alternatives from the inside out and fill the slots in."""
    text = template
    while (match := _SLOT.search(text)) is not None or (match := _ALTERNATIVES.search(text)) is not None:
        name = match[1]
        if match[0][0] == "{":
            chosen = rng.choice(name.split("|"))
        else:
            chosen = PHRASES[name] if name in PHRASES else slots[name]
        text = text[: match.start()] + chosen + text[match.end() :]
    return " ".join(text.split())
