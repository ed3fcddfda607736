"""What of a memory is sealed, and what is derived from its text."""

import re
import struct
import unicodedata
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from tunery.core import ids
from tunery.memory.subjects import OpenedSubject
from tunery.vault.sealing import UnsealingFailed, place, seal_value, unseal_value

_SPACE: Final = re.compile(r"\s+")


class Content(msgspec.Struct, frozen=True, omit_defaults=True):
    """A memory's sealed half."""

    text: str
    provenance: dict[str, Any] = {}
    """Where it comes from, in the caller's words."""
    key: str | None = None
    """Of a fact: what it says something about, so that a newer one takes its place."""


_decoder: Final = msgspec.json.Decoder(Content)


def seal_content(subject: OpenedSubject, memory_id: UUID, content: Content) -> bytes:
    return seal_value(subject.key, place("memories", "sealed_content", memory_id), msgspec.json.encode(content))


def open_content(subject: OpenedSubject, memory_id: UUID, sealed: bytes) -> Content:
    """Raises UnsealingFailed that names the memory: one that was changed is not shown, and not passed over either."""
    return _decoder.decode(_open(subject, "sealed_content", memory_id, sealed))


def seal_embedding(subject: OpenedSubject, memory_id: UUID, embedding: Sequence[float]) -> bytes:
    """As half floats, little-endian: what the open index keeps of it, too."""
    packed = struct.pack(f"<{len(embedding)}e", *embedding)
    return seal_value(subject.key, place("memories", "sealed_embedding", memory_id), packed)


def open_embedding(subject: OpenedSubject, memory_id: UUID, sealed: bytes) -> bytes:
    """Half floats, little-endian; none where the model did not take the text. Raises UnsealingFailed, as above."""
    return _open(subject, "sealed_embedding", memory_id, sealed)


def _open(subject: OpenedSubject, column: str, memory_id: UUID, sealed: bytes) -> bytes:
    try:
        return unseal_value(subject.key, place("memories", column, memory_id), sealed)
    except UnsealingFailed as error:  # the vault has logged and counted it
        raise UnsealingFailed(
            f"memory {ids.encode('memory', memory_id)} does not open: its sealed bytes were changed, moved or cut off"
        ) from error


def fingerprint_of(subject: OpenedSubject, text: str) -> bytes:
    """Equal for texts that differ in white space or Unicode's ways to write the same letter alone."""
    return subject.digest_of("text", _SPACE.sub(" ", unicodedata.normalize("NFC", text)).strip())


def fact_digest_of(subject: OpenedSubject, agent: str, key: str | None) -> bytes | None:
    return None if key is None else subject.digest_of("fact", agent, key)
