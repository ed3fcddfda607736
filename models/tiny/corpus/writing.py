"""How questions are worded and dialogues are put together from shops and topics."""

from collections.abc import Iterator
from random import Random

from corpus import frames
from corpus.company import COMPANY
from corpus.contact import CONTACT
from corpus.figures import FIGURES
from corpus.orders import ORDERS
from corpus.products import PRODUCTS
from corpus.returns import RETURNS
from corpus.services import SERVICES
from corpus.shops import Shop
from corpus.small_talk import ANSWER_CLOSERS, ANSWER_OPENERS, SMALL_TALK, SYSTEM_TEXTS
from corpus.topic import Topic, fill

Message = dict[str, str]

TOPICS = (*ORDERS, *RETURNS, *CONTACT, *COMPANY, *FIGURES, *PRODUCTS, *SERVICES)
_WEIGHTS = [topic.weight for topic in TOPICS]
_SHORTEST_WITH_A_SLIP = 12


def _chance(rng: Random, percent: int) -> bool:
    return rng.random() * 100 < percent


def _topic(rng: Random) -> Topic:
    return rng.choices(TOPICS, _WEIGHTS)[0]


def _untidy(rng: Random, text: str) -> str:
    """Write as hurried customers do: contracted, without capitals, without a question mark, with a slip."""
    text = text[:1].upper() + text[1:]
    if _chance(rng, 20):
        for long, short in frames.CONTRACTIONS.items():
            text = text.replace(long, short)
    if _chance(rng, 12):
        text = text.lower()
    if _chance(rng, 10):
        text = text.rstrip("?.!")
    if len(text) > _SHORTEST_WITH_A_SLIP and _chance(rng, 4):
        at = rng.randrange(1, len(text) - 2)
        text = text[:at] + rng.choice((text[at + 1] + text[at], "", text[at] * 2)) + text[at + 2 :]
    return text


def _wording(rng: Random, topic: Topic) -> str:
    """Choose among the topic's own questions and the frames around its parts."""
    families = [
        (parts, patterns)
        for parts, patterns in (
            (topic.nouns, frames.NOUN_FRAMES),
            (topic.clauses, frames.CLAUSE_FRAMES),
            (topic.prices, frames.PRICE_FRAMES),
            (topic.durations, frames.DURATION_FRAMES),
            (topic.actions, frames.ACTION_FRAMES),
            (topic.offers, frames.OFFER_FRAMES),
        )
        if parts
    ]
    if not families or _chance(rng, 50):
        wording = rng.choice(topic.questions)
        return rng.choice(frames.INDIRECT) + wording[:1].lower() + wording[1:] if _chance(rng, 4) else wording
    parts, patterns = rng.choice(families)
    return rng.choice(patterns).replace("<part>", rng.choice(parts))


def _question(rng: Random, topic: Topic, slots: dict[str, str]) -> str:
    text = fill(rng, _wording(rng, topic), slots)
    text = text[:1].upper() + text[1:]
    if topic.situations and _chance(rng, 12):
        text = fill(rng, rng.choice(topic.situations), slots) + " " + text
    elif _chance(rng, 28):
        text = fill(rng, rng.choice(frames.OPENERS), slots) + " " + text
    if _chance(rng, 14):
        text += " " + fill(rng, rng.choice(frames.CLOSERS), slots)
    return _untidy(rng, text)


def _answer(rng: Random, shop: Shop, topic: Topic, slots: dict[str, str]) -> str:
    opener, closer = rng.choice(ANSWER_OPENERS[shop.tone]), rng.choice(ANSWER_CLOSERS[shop.tone])
    text = fill(rng, opener + rng.choice(topic.answers) + closer, slots)
    return text[:1].upper() + text[1:]


def _exchange(rng: Random, shop: Shop, topic: Topic, item: str) -> list[Message]:
    slots = shop.facts(topic, item)
    asked, answered = _question(rng, topic, slots), _answer(rng, shop, topic, slots)
    if _chance(rng, 4):
        second = _topic(rng)
        more = shop.facts(second, item)
        asked += " " + _untidy(rng, fill(rng, "{And |Also, |}" + _wording(rng, second), more))
        answered += " " + fill(rng, rng.choice(second.answers), more)
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def _chatter(rng: Random, shop: Shop) -> list[Message]:
    asked, answered = rng.choice(SMALL_TALK)
    slots = {"shop": shop.name, "item": rng.choice(shop.items)}
    return [
        {"role": "user", "content": _untidy(rng, fill(rng, rng.choice(asked), slots))},
        {"role": "assistant", "content": fill(rng, rng.choice(answered), slots)},
    ]


def _system(rng: Random, shop: Shop, noted: list[Topic]) -> Message:
    text = fill(rng, rng.choice(SYSTEM_TEXTS), {"shop": shop.name, "kind": shop.kind, "town": shop.town})
    if noted:
        notes = [fill(rng, rng.choice(topic.answers), shop.facts(topic, shop.items[0])) for topic in noted]
        text += rng.choice((" Notes: ", " What you know: ", " ", "\n")) + " ".join(notes)
    return {"role": "system", "content": text}


def dialogue(rng: Random) -> list[Message]:
    """Write one dialogue of one new shop.

    Mostly it is a single exchange, sometimes several; one in six stands under a system text, a third of these with
    notes of which the answers make use.
    """
    shop = Shop(rng)
    messages: list[Message] = []
    noted: list[Topic] = []
    if _chance(rng, 16):
        noted = rng.sample(TOPICS, rng.randint(1, 3)) if _chance(rng, 35) else []
        messages.append(_system(rng, shop, noted))
    turns = rng.choices((1, 2, 3, 4, 8), weights=(70, 15, 9, 5, 1))[0]
    for turn in range(turns):
        if _chance(rng, 3 if turns == 1 else 15 if turn in (0, turns - 1) else 3):
            messages += _chatter(rng, shop)
        elif noted and _chance(rng, 60):
            messages += _exchange(rng, shop, rng.choice(noted), shop.items[0])
        else:
            messages += _exchange(rng, shop, _topic(rng), rng.choice(shop.items))
    return messages


def dialogues(count: int, seed: int) -> Iterator[list[Message]]:
    """Write `count` dialogues, the same ones for the same seed."""
    rng = Random(seed)
    for _ in range(count):
        yield dialogue(rng)
