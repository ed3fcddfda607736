"""AES-256-GCM over streams of any length, in chunks, so that neither side ever holds the whole.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015): the nonce of a chunk is a random prefix, its number and whether it is the
last, so chunks can't be dropped, repeated, reordered or cut off unnoticed. Layout: 4 bytes of magic, 7 bytes of nonce
prefix, then chunks of 65,536 bytes of plaintext, each followed by its 16-byte tag; the last may be shorter.
"""

import os
from collections.abc import AsyncIterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tunery.core.errors import DomainError

MAGIC = b"TNS1"
CHUNK = 64 * 1024
KEY_BYTES = 32
_PREFIX_BYTES = 7
_TAG_BYTES = 16
_SEALED_CHUNK = CHUNK + _TAG_BYTES
_HEADER_BYTES = len(MAGIC) + _PREFIX_BYTES


class UnsealingFailed(DomainError):
    """The sealed bytes are torn, changed, or were sealed under another key or for another place."""

    code = "UNSEALING_FAILED"


class Sealer:
    """Seals a stream. `context` says where the bytes belong; unsealing anywhere else fails."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._cipher = AESGCM(key)
        self._context = context
        self._prefix = os.urandom(_PREFIX_BYTES)
        self._number = 0
        self._pending = bytearray()
        self._header = MAGIC + self._prefix

    def update(self, data: bytes) -> bytes:
        """The sealed bytes that are ready; may be empty."""
        self._pending += data
        out = bytearray(self._take_header())
        while len(self._pending) > CHUNK:
            out += self._seal(bytes(self._pending[:CHUNK]), last=False)
            del self._pending[:CHUNK]
        return bytes(out)

    def finalize(self) -> bytes:
        """The rest. Nothing may follow."""
        return self._take_header() + self._seal(bytes(self._pending), last=True)

    def _take_header(self) -> bytes:
        header, self._header = self._header, b""
        return header

    def _seal(self, chunk: bytes, *, last: bool) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._prefix, self._number, last=last), chunk, self._context)
        self._number += 1
        return sealed


def seal(key: bytes, context: bytes, data: bytes) -> bytes:
    """Seal what fits in memory."""
    sealer = Sealer(key, context)
    return sealer.update(data) + sealer.finalize()


def unseal(key: bytes, context: bytes, sealed: bytes) -> bytes:
    """The plaintext. Raises UnsealingFailed."""
    unsealer = _Unsealer(key, context)
    return b"".join([*unsealer.update(sealed), unsealer.finalize()])


async def unseal_stream(key: bytes, context: bytes, sealed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The plaintext in chunks of at most 65,536 bytes. Raises UnsealingFailed, at the latest at the end."""
    unsealer = _Unsealer(key, context)
    async for part in sealed:
        for chunk in unsealer.update(part):
            yield chunk
    yield unsealer.finalize()


class _Unsealer:
    def __init__(self, key: bytes, context: bytes) -> None:
        self._cipher = AESGCM(key)
        self._context = context
        self._prefix: bytes | None = None
        self._number = 0
        self._pending = bytearray()

    def update(self, sealed: bytes) -> list[bytes]:
        self._pending += sealed
        if self._prefix is None:
            if len(self._pending) < _HEADER_BYTES:
                return []
            if self._pending[: len(MAGIC)] != MAGIC:
                raise UnsealingFailed("these bytes were not sealed by Tunery")
            self._prefix = bytes(self._pending[len(MAGIC) : _HEADER_BYTES])
            del self._pending[:_HEADER_BYTES]
        chunks = []
        while len(self._pending) > _SEALED_CHUNK:
            chunks.append(self._open(bytes(self._pending[:_SEALED_CHUNK]), last=False))
            del self._pending[:_SEALED_CHUNK]
        return chunks

    def finalize(self) -> bytes:
        return self._open(bytes(self._pending), last=True)

    def _open(self, chunk: bytes, *, last: bool) -> bytes:
        if self._prefix is None:
            raise UnsealingFailed("the sealed bytes end before their header does")
        try:
            opened = self._cipher.decrypt(_nonce(self._prefix, self._number, last=last), chunk, self._context)
        except InvalidTag:
            raise UnsealingFailed(f"chunk {self._number} of the sealed bytes does not open") from None
        self._number += 1
        return opened


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])
