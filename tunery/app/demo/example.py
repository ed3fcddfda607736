"""The example that the demo plays: a shop's conversations, and questions about it in other words."""

import json
from dataclasses import dataclass
from pathlib import Path

import tunery
from tunery.app.embedded.errors import CannotStart


@dataclass(frozen=True)
class Question:
    """A question and what a right answer must contain."""

    text: str
    facts: tuple[str, ...]

    def is_right(self, answer: str) -> bool:
        return all(fact.lower() in answer.lower() for fact in self.facts)


def example_folder() -> Path:
    """`examples/` of the checkout. Raises CannotStart where there is none."""
    folder = Path(tunery.__file__).parent.parent / "examples"
    if not (folder / "support.jsonl").is_file():
        raise CannotStart("the demo plays examples/ of a checkout: clone the repository and run `make demo` there")
    return folder


def load_questions() -> list[Question]:
    entries = json.loads((example_folder() / "questions.json").read_text())
    return [Question(entry["question"], tuple(entry["fact"])) for entry in entries]
