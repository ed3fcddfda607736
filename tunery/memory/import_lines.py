"""Reading what is to be imported: NDJSON, one memory or conversation a line, each checked as it comes."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from tunery.core.errors import InvalidInput
from tunery.memory.conversations import Message, NewConversation, check_conversation
from tunery.memory.new_memory import DEFAULT_AGENT, MOST_SEEN, CheckedMemory, NewMemory, check_memory, check_time

MOST_BYTES: Final = 32 * 1024**2
MOST_LINES: Final = 10_000
LONGEST_LINE: Final = 2 * 1024**2
MOST_REPORTED: Final = 1_000
LONGEST_ID: Final = 100
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_TOO_LONG: Final = ("line_too_long", f"longer than the limit of {LONGEST_LINE:,} bytes")


@dataclass(frozen=True)
class LineError:
    """What is wrong with one line; lines are counted from 1, as editors do."""

    line: int
    code: str
    message: str


class InvalidImport(InvalidInput):
    """The import was refused as a whole; nothing of it was kept."""

    code = "INVALID_IMPORT"

    def __init__(self, message: str, errors: list[LineError], error_count: int) -> None:
        super().__init__(message, field="file")
        self.errors = errors
        self.error_count = error_count


class MemoryLine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A memory as it is imported and exported. `id`, `conversation` and `merged_into` are names within the file."""

    type: Literal["memory"] = "memory"
    id: str | None = None
    subject: str
    agent: str = DEFAULT_AGENT
    kind: str = "fact"
    text: str
    key: str | None = None
    provenance: dict[str, Any] = {}
    source: str = "import"
    importance: float = 0.5
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    expires_at: datetime | None = None
    ttl: float | msgspec.UnsetType | None = msgspec.UNSET
    """Seconds, in place of `expires_at`. Never exported."""
    created_at: datetime | None = None
    last_seen_at: datetime | None = None
    seen: int = 1
    merged_into: str | None = None
    conversation: str | None = None


class ConversationLine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A conversation as it is imported and exported."""

    type: Literal["conversation"]
    id: str | None = None
    subject: str
    agent: str = DEFAULT_AGENT
    messages: list[Message]
    created_at: datetime | None = None


@dataclass(frozen=True)
class _Named:
    kind: str
    subject: str


@dataclass(frozen=True)
class ImportedMemory:
    id: str | None
    item: CheckedMemory
    merged_into: str | None
    conversation: str | None


@dataclass(frozen=True)
class ImportedConversation:
    id: str | None
    item: NewConversation


class ImportReader:
    """Feed it chunks as they arrive, then `finish()`. Every bad line is known before anything is written."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._pending = bytearray()
        self._size = 0
        self._line = 1
        self._known: dict[str, _Named] = {}
        """What the lines so far call themselves."""
        self.memories: list[ImportedMemory] = []
        self.conversations: list[ImportedConversation] = []
        self.expired = 0
        self.errors: list[LineError] = []
        self.error_count = 0

    def update(self, chunk: bytes) -> None:
        """Raises InvalidImport when it is too much."""
        self._size += len(chunk)
        if self._size > MOST_BYTES:
            raise InvalidImport(f"an import has up to {MOST_BYTES // 1024**2} MB: split it", [], 0)
        start, searched = 0, len(self._pending)  # what came before holds no end of a line
        self._pending += chunk
        while (end := self._pending.find(b"\n", max(start, searched))) >= 0:
            self._end_line(bytes(self._pending[start:end]))
            start = end + 1
        del self._pending[:start]
        if len(self._pending) > LONGEST_LINE + len(_BYTE_ORDER_MARK):  # its end may never come
            self._refuse(*_TOO_LONG)
            raise self._refusal()

    def finish(self) -> None:
        """Raises InvalidImport with the first thousand bad lines and the count of all."""
        self._end_line(bytes(self._pending))
        if self.error_count:
            raise self._refusal()
        if not (self.memories or self.conversations or self.expired):
            raise InvalidImport("the file holds no memory", [], 0)

    def _refusal(self) -> InvalidImport:
        first = self.errors[0]
        more = f" (and {self.error_count - 1} more)" if self.error_count > 1 else ""
        return InvalidImport(f"line {first.line}: {first.message}{more}", self.errors, self.error_count)

    def _end_line(self, line: bytes) -> None:
        if self._line == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if line.strip():
            if len(self.memories) + len(self.conversations) + self.expired + self.error_count >= MOST_LINES:
                raise InvalidImport(f"an import has up to {MOST_LINES:,} lines: split it", [], 0)
            self._check(line)
        self._line += 1

    def _check(self, line: bytes) -> None:
        if len(line) > LONGEST_LINE:
            self._refuse(*_TOO_LONG)
            return
        try:
            given = msgspec.json.decode(line, type=dict[str, Any])
            if given.get("type") == "conversation":
                self._take_conversation(msgspec.convert(given, ConversationLine))
            else:
                self._take_memory(msgspec.convert(given, MemoryLine))
        except msgspec.ValidationError as error:
            self._refuse("wrong_format", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._refuse("malformed_json", str(error))
        except InvalidInput as error:
            self._refuse(error.error_code.lower(), f"{error.field}: {error.message}" if error.field else error.message)

    def _take_memory(self, line: MemoryLine) -> None:
        expired = line.expires_at is not None and check_time(line.expires_at, field="expires_at") <= self._now
        kind = "expired memory" if expired else "memory" if line.merged_into is None else "merged memory"
        self._name(line.id, kind, line.subject)
        into = self._find(line.merged_into, {"memory", "expired memory"}, line.subject, "merged_into")
        self._find(line.conversation, {"conversation"}, line.subject, "conversation")
        if into is not None and line.key is not None:
            raise InvalidInput("a fact with a key stands for itself", field="merged_into")
        if expired or (into is not None and into.kind == "expired memory"):
            self.expired += 1
            return
        item = replace(check_memory(_memory_of(line), self._now, imported=True), **self._history(line))
        self.memories.append(ImportedMemory(line.id, item, line.merged_into, line.conversation))

    def _take_conversation(self, line: ConversationLine) -> None:
        self._name(line.id, "conversation", line.subject)
        item = NewConversation(
            subject=line.subject,
            messages=line.messages,
            agent=line.agent,
            created_at=self._past(line.created_at, "created_at"),
        )
        check_conversation(item)
        self.conversations.append(ImportedConversation(line.id, item))

    def _name(self, identifier: str | None, kind: str, subject: str) -> None:
        if identifier is None:
            return
        if not 0 < len(identifier) <= LONGEST_ID:
            raise InvalidInput(f"an id has 1 to {LONGEST_ID} characters", field="id")
        if identifier in self._known:
            raise InvalidInput(f"another line has the id {identifier!r}, too", field="id")
        self._known[identifier] = _Named(kind, subject)

    def _find(self, name: str | None, kinds: set[str], subject: str, field: str) -> "_Named | None":
        """The line that another one refers to. Raises InvalidInput when there is none of this kind and subject."""
        if name is None:
            return None
        found = self._known.get(name)
        if found is None or found.kind not in kinds or found.subject != subject:
            noun = "conversation" if field == "conversation" else "memory"
            raise InvalidInput(
                f"no line before this one is a {noun} of the same subject with the id {name!r:.100}", field=field
            )
        return found

    def _history(self, line: MemoryLine) -> dict[str, Any]:
        if not 1 <= line.seen <= MOST_SEEN:
            raise InvalidInput(f"a memory was seen 1 to {MOST_SEEN:,} times", field="seen")
        created_at = self._past(line.created_at, "created_at")
        last_seen_at = self._past(line.last_seen_at, "last_seen_at")
        return {"created_at": created_at, "last_seen_at": max(created_at, last_seen_at), "seen": line.seen}

    def _past(self, time: datetime | None, field: str) -> datetime:
        if time is None:
            return self._now
        checked = check_time(time, field=field)
        if checked > self._now:
            raise InvalidInput("this lies in the future", field=field)
        return checked

    def _refuse(self, code: str, message: str) -> None:
        self.error_count += 1
        if len(self.errors) < MOST_REPORTED:
            self.errors.append(LineError(self._line, code, message))


def _memory_of(line: MemoryLine) -> NewMemory:
    try:
        ttl = timedelta(seconds=line.ttl) if isinstance(line.ttl, float) else None
    except OverflowError:
        ttl = timedelta.max
    return NewMemory(
        subject=line.subject,
        text=line.text,
        agent=line.agent,
        kind=line.kind,
        source=line.source,
        importance=line.importance,
        valid_from=line.valid_from,
        valid_to=line.valid_to,
        expires_at=line.expires_at,
        ttl=ttl,
        provenance=line.provenance,
        key=line.key,
    )
