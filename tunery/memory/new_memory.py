"""What may be remembered: a caller's memory, checked once, before anything is asked or written."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec

from tunery.core.errors import InvalidInput
from tunery.core.slugs import check_slug
from tunery.memory.subjects import check_name, check_text

MOST_ITEMS: Final = 100
MOST_SEEN: Final = 1_000_000
LONGEST_TEXT: Final = 8_000
LONGEST_KEY: Final = 255
MOST_PROVENANCE_BYTES: Final = 2_048
MOST_TTL: Final = timedelta(days=36_525)
DEFAULT_AGENT: Final = "default"
KINDS: Final = ("fact", "preference", "episode", "instruction")
SOURCES: Final = ("api", "chat", "import")
EARLIEST: Final = datetime(1000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class NewMemory:
    """One thing worth knowing, as the caller gives it."""

    subject: str
    """The caller's name for the person."""
    text: str
    agent: str = DEFAULT_AGENT
    kind: str = "fact"
    source: str = "api"
    importance: float = 0.5
    valid_from: datetime | None = None
    """None: from now on. Times without a zone are UTC."""
    valid_to: datetime | None = None
    expires_at: datetime | None = None
    """When it is deleted; or `ttl`."""
    ttl: timedelta | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    """What a fact says something about: a newer one of the same key ends its validity."""
    conversation_id: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class CheckedMemory:
    """A memory that keeps all rules, with nothing left open. `path` is what errors call it."""

    path: str
    subject: str
    text: str
    agent: str
    kind: str
    source: str
    importance: float
    valid_from: datetime | None
    valid_to: datetime | None
    expires_at: datetime | None
    provenance: dict[str, Any]
    key: str | None
    conversation_id: UUID | None
    created_at: datetime
    last_seen_at: datetime
    seen: int = 1
    merged_into: UUID | None = None
    """Only of what is imported: it was merged where it comes from."""
    imported: bool = False

    def beginning(self, now: datetime) -> "DatedMemory":
        """The memory, valid from `now` on if it doesn't say."""
        dated = {**self.__dict__, "valid_from": self.valid_from or now}
        return DatedMemory(**dated)


@dataclass(frozen=True, kw_only=True)
class DatedMemory(CheckedMemory):
    valid_from: datetime


def check_memories(items: Sequence[NewMemory], now: datetime) -> list[CheckedMemory]:
    """Raises InvalidInput that names the first value that breaks a rule, as `items[3].text`."""
    if not 1 <= len(items) <= MOST_ITEMS:
        raise InvalidInput(f"remember takes 1 to {MOST_ITEMS} memories at once, not {len(items)}", field="items")
    return [check_memory(item, now, path=f"items[{number}]") for number, item in enumerate(items)]


def check_memory(item: NewMemory, now: datetime, *, path: str = "", imported: bool = False) -> CheckedMemory:
    """Raises InvalidInput that names the value: `path`, then the field."""
    at = f"{path}." if path else ""
    valid_from = _time(item.valid_from, f"{at}validFrom")
    valid_to = _time(item.valid_to, f"{at}validTo")
    if valid_to is not None and valid_to <= (valid_from or now):
        raise InvalidInput("a memory's validity ends after it begins", field=f"{at}validTo")
    return CheckedMemory(
        path=path,
        subject=check_name(item.subject, field=f"{at}subject"),
        text=check_memory_text(item.text, field=f"{at}text"),
        agent=check_slug(item.agent, field=f"{at}agent"),
        kind=_one_of(KINDS, item.kind, f"{at}kind"),
        source=_one_of(SOURCES, item.source, f"{at}source"),
        importance=_importance(item.importance, f"{at}importance"),
        valid_from=valid_from,
        valid_to=valid_to,
        expires_at=_expiry(item, now, at),
        provenance=_provenance(item.provenance, f"{at}provenance"),
        key=_key(item.key, f"{at}key"),
        conversation_id=item.conversation_id,
        created_at=now,
        last_seen_at=now,
        imported=imported,
    )


def check_memory_text(text: str, *, field: str, noun: str = "a memory's text") -> str:
    """The text itself. Raises InvalidInput."""
    if not 0 < len(text) <= LONGEST_TEXT or not text.strip():
        has = f"this one has {len(text):,}" if text.strip() else "this one has nothing but white space"
        raise InvalidInput(f"{noun} has 1 to {LONGEST_TEXT:,} characters; {has}", field=field)
    return check_text(text, field=field)


def check_kinds(kinds: Sequence[str], *, field: str = "kinds") -> tuple[str, ...]:
    """Raises InvalidInput for one that there isn't."""
    return tuple(dict.fromkeys(_one_of(KINDS, kind, field) for kind in kinds))


def chosen_kinds(kinds: Sequence[str] | None, *, field: str = "kinds") -> tuple[str, ...]:
    """The kinds that something is narrowed to: () for None, which is all of them. Raises InvalidInput, also for an
    empty list: that is none of them, and nobody means it.
    """
    if kinds is not None and not kinds:
        raise InvalidInput("name one kind or more, or leave it out for all", field=field)
    return check_kinds(kinds or (), field=field)


def check_time(time: datetime, *, field: str) -> datetime:
    """With its zone; UTC where it has none. Raises InvalidInput for a time that the database can't hold."""
    try:
        aware = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        aware = LATEST
    if not EARLIEST <= aware < LATEST:
        raise InvalidInput(f"a time lies between the years {EARLIEST.year} and {LATEST.year}", field=field)
    return aware


def _time(time: datetime | None, path: str) -> datetime | None:
    return None if time is None else check_time(time, field=path)


def _expiry(item: NewMemory, now: datetime, at: str) -> datetime | None:
    if item.ttl is None:
        expires_at = _time(item.expires_at, f"{at}expiresAt")
        if expires_at is not None and expires_at <= now:
            raise InvalidInput("a memory expires in the future", field=f"{at}expiresAt")
        return expires_at
    if item.expires_at is not None:
        raise InvalidInput("give expiresAt or ttl, not both", field=f"{at}ttl")
    if not timedelta(seconds=1) <= item.ttl <= MOST_TTL:
        raise InvalidInput(f"a memory lives for 1 second to {MOST_TTL.days:,} days", field=f"{at}ttl")
    return now + item.ttl


def _importance(importance: float, path: str) -> float:
    if not math.isfinite(importance) or not 0 <= importance <= 1:
        raise InvalidInput(f"importance lies between 0 and 1; {importance} does not", field=path)
    return float(importance)


def _provenance(provenance: Mapping[str, Any], path: str) -> dict[str, Any]:
    if not isinstance(provenance, Mapping):
        raise InvalidInput("provenance is a JSON object", field=path)
    try:
        size = len(msgspec.json.encode(provenance))
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidInput("provenance is a JSON object, and this one can't be written as JSON", field=path) from error
    if size > MOST_PROVENANCE_BYTES:
        raise InvalidInput(f"provenance has up to {MOST_PROVENANCE_BYTES:,} bytes, not {size:,}", field=path)
    return dict(provenance)


def _key(key: str | None, path: str) -> str | None:
    if key is None:
        return None
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidInput(f"a fact's key has 1 to {LONGEST_KEY} characters, not {len(key):,}", field=path)
    return check_text(key, field=path)


def _one_of(known: Sequence[str], given: str, path: str) -> str:
    if given not in known:
        raise InvalidInput(f"{given!r:.100} is none of {', '.join(known)}", field=path)
    return given
