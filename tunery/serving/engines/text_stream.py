"""Token ids to text, piece by piece: never half a character, never a part of a stop string."""

from collections.abc import Sequence
from typing import Final

from tunery.training.tokenization import Tokenizer

LONGEST_CHARACTER: Final = 4
"""Bytes of a character in UTF-8, so at most as many byte-level tokens."""
_INCOMPLETE: Final = "\N{REPLACEMENT CHARACTER}"


class TextStream:
    """The text of one answer. `stopped` turns true when one of `stop` was generated; the text ends before it."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        # Text is decoded from `_start`, a few tokens back, because some decoders treat the first token differently;
        # ids before `_read` have been turned into text.
        self._start = 0
        self._read = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that this token makes certain; often empty."""
        self._ids.append(token)
        return self._release(self._decode(final=False))

    def finish(self) -> str:
        """What was held back, without the broken character that generation may have been cut off in."""
        text = self._held + self._decode(final=True)
        self._held = ""
        return text if self._stop == () or self.stopped else self._cut(text)

    def _decode(self, *, final: bool) -> str:
        before = self._tokenizer.decode(self._ids[self._start : self._read])
        text = self._tokenizer.decode(self._ids[self._start :])[len(before) :]
        if final:
            return text.rstrip(_INCOMPLETE) if len(self._ids) > self._read else ""
        pending = len(self._ids) - self._read
        if text.endswith(_INCOMPLETE) and pending < LONGEST_CHARACTER:
            return ""
        self._start, self._read = self._read, len(self._ids)
        return text

    def _release(self, text: str) -> str:
        if not self._stop:
            return text
        text = self._cut(self._held + text)
        if self.stopped:
            self._held = ""
            return text
        keep = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _cut(self, text: str) -> str:
        found = [position for stop in self._stop if (position := text.find(stop)) >= 0]
        self.stopped = bool(found)
        return text[: min(found)] if found else text


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` could be the beginning of `stop`."""
    return next(
        (length for length in range(min(len(stop) - 1, len(text)), 0, -1) if stop.startswith(text[-length:])), 0
    )
