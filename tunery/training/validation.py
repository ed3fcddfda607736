"""Checks a data set line by line while it streams past, so that every bad line is known before anything costs money.

The format is OpenAI's for chat fine-tuning: one `{"messages": [{"role", "content"}, …]}` a line.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from tunery.core.errors import InvalidInput

MOST_REPORTED = 1_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ChatMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class Conversation(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[ChatMessage]


@dataclass(frozen=True)
class LineError:
    """What is wrong with one line; lines are counted from 1, as editors do."""

    line: int
    code: str
    message: str


class InvalidDataSet(InvalidInput):
    """The data set was refused as a whole; nothing of it was kept."""

    code = "INVALID_DATA_SET"

    def __init__(self, message: str, errors: list[LineError], error_count: int) -> None:
        super().__init__(message, field="file")
        self.errors = errors
        self.error_count = error_count


class DataSetValidator:
    """Feed it chunks as they arrive, then `finish()`. Memory is bounded by the longest line allowed."""

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        self._pending = bytearray()
        self._skipping = False
        self._line = 1
        self._decoder = msgspec.json.Decoder(Conversation)
        self.rows = 0
        self.errors: list[LineError] = []
        self.error_count = 0

    def update(self, chunk: bytes) -> None:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._extend(chunk[start:end])
            self._end_line()
            start = end + 1
        self._extend(chunk[start:])

    def finish(self) -> None:
        """Raises InvalidDataSet with the first thousand bad lines and the count of all."""
        self._end_line()
        if self.error_count:
            first = self.errors[0]
            more = f" (and {self.error_count - 1} more)" if self.error_count > 1 else ""
            raise InvalidDataSet(f"line {first.line}: {first.message}{more}", self.errors, self.error_count)
        if self.rows == 0:
            raise InvalidDataSet("the file holds no conversation", [], 0)

    def _extend(self, part: bytes) -> None:
        if self._skipping:
            return
        self._pending += part
        if len(self._pending) > self._max_line_bytes:
            self._refuse("line_too_long", f"longer than the limit of {self._max_line_bytes:,} bytes")
            self._pending.clear()
            self._skipping = True

    def _end_line(self) -> None:
        line = bytes(self._pending)
        if self._line == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not self._skipping and line.strip():
            self._check(line)
        self._pending.clear()
        self._skipping = False
        self._line += 1

    def _check(self, line: bytes) -> None:
        try:
            conversation = self._decoder.decode(line)
        except msgspec.ValidationError as error:
            self._refuse("wrong_format", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._refuse("malformed_json", str(error))
        else:
            problem = _problem_of(conversation)
            if problem is None:
                self.rows += 1
            else:
                self._refuse(*problem)

    def _refuse(self, code: str, message: str) -> None:
        self.error_count += 1
        if len(self.errors) < MOST_REPORTED:
            self.errors.append(LineError(self._line, code, message))


def _problem_of(conversation: Conversation) -> tuple[str, str] | None:
    messages = conversation.messages
    if not any(message.role == "assistant" and message.content.strip() for message in messages):
        return "nothing_to_learn", "no assistant message with content: nothing could be learnt from this line"
    if any(message.role == "system" for message in messages[1:]):
        return "wrong_order", "a system message may only come first"
    turns = [message.role for message in messages if message.role != "system"]
    expected = ["user" if position % 2 == 0 else "assistant" for position in range(len(turns))]
    if turns != expected:
        position = next(i for i, (is_, should) in enumerate(zip(turns, expected, strict=True)) if is_ != should)
        return "wrong_order", f"turn {position + 1} is of {turns[position]!r} where {expected[position]!r} must speak"
    return None


def read_conversations(lines: Iterator[bytes]) -> Iterator[list[dict[str, Any]]]:
    """The messages of each line of a data set that was validated before."""
    for number, line in enumerate(lines):
        text = line.removeprefix(_BYTE_ORDER_MARK) if number == 0 else line
        if text.strip():
            yield msgspec.json.decode(text)["messages"]
