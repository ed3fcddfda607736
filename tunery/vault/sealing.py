"""AES-256-GCM: over small values whole, over streams of any length in chunks, so that neither side holds the whole.

A value is 1 byte of format, 12 random bytes of nonce, and the ciphertext with its 16-byte tag.

The construction for streams is STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its
Nonce-Reuse Misuse-Resistance", CRYPTO 2015): the nonce of a chunk is a random prefix, its number and whether it is the
last, so chunks can't be dropped, repeated, reordered or cut off unnoticed. Layout: 4 bytes of magic, 7 bytes of nonce
prefix, then chunks of 65,536 bytes of plaintext, each followed by its 16-byte tag; the last may be shorter.

What does not open is refused by `refuse`, whatever it is: so every refusal is logged and counted.
"""

import os
from collections.abc import AsyncIterator, Iterable
from typing import Literal, NoReturn
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from opentelemetry import metrics

from tunery.core.errors import Damaged
from tunery.core.logs import get_logger

MAGIC = b"TNS1"
CHUNK = 64 * 1024
KEY_BYTES = 32
_PREFIX_BYTES = 7
_TAG_BYTES = 16
_SEALED_CHUNK = CHUNK + _TAG_BYTES
_HEADER_BYTES = len(MAGIC) + _PREFIX_BYTES

VALUE_FORMAT = b"\x01"
_NONCE_BYTES = 12
_VALUE_HEADER_BYTES = len(VALUE_FORMAT) + _NONCE_BYTES

Sealed = Literal["value", "stream", "data key", "tenant key", "signing key"]
"""What can be refused."""

log = get_logger(__name__)
_refused = metrics.get_meter("tunery").create_counter(
    "tunery.unsealing.refused", description="Sealed bytes that did not open: torn, changed, moved, or under another key"
)


class UnsealingFailed(Damaged):
    """The sealed bytes are torn, changed, or were sealed under another key or for another place."""

    code = "UNSEALING_FAILED"


def refuse(what: Sealed, context: bytes, reason: str) -> NoReturn:
    """Log and count a refusal, raise it as UnsealingFailed. `context`: where the bytes belong, which is no secret."""
    log.warning("unsealing refused", what=what, context=context.decode(errors="replace"), reason=reason)
    _refused.add(1, {"what": what})
    raise UnsealingFailed(reason) from None


def place(table: str, column: str, row: UUID) -> bytes:
    """Where a sealed value stands: what `seal_value` binds it to."""
    return f"{table}/{column}/{row}".encode()


def seal_value(key: bytes, place: bytes, data: bytes) -> bytes:
    """Seal a small value; it takes 29 bytes more. Under one key up to 2^32 of them, as NIST SP 800-38D bounds it."""
    nonce = os.urandom(_NONCE_BYTES)
    return VALUE_FORMAT + nonce + AESGCM(key).encrypt(nonce, data, place)


def unseal_value(key: bytes, place: bytes, sealed: bytes, *, what: Sealed = "value") -> bytes:
    """The value. Raises UnsealingFailed for another key or place, and for changed bytes."""
    if sealed[:1] != VALUE_FORMAT or len(sealed) < _VALUE_HEADER_BYTES + _TAG_BYTES:
        refuse(what, place, "these bytes are no sealed value")
    try:
        return AESGCM(key).decrypt(sealed[1:_VALUE_HEADER_BYTES], sealed[_VALUE_HEADER_BYTES:], place)
    except InvalidTag:
        refuse(what, place, "the sealed value does not open")


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
    try:
        return _unseal(key, context, sealed)
    except _DoesNotOpen as error:
        refuse("stream", context, str(error))


def unseal_with_any(keys: Iterable[bytes], context: bytes, sealed: bytes, *, what: Sealed) -> bytes:
    """The plaintext, under whichever of the keys it was sealed. Raises UnsealingFailed when it was none of them."""
    for key in keys:
        try:
            return _unseal(key, context, sealed)
        except _DoesNotOpen:
            continue
    refuse(what, context, "the sealed bytes do not open under any key that is here")


async def unseal_stream(key: bytes, context: bytes, sealed: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The plaintext in chunks of at most 65,536 bytes. Raises UnsealingFailed, at the latest at the end."""
    unsealer = _Unsealer(key, context)
    try:
        async for part in sealed:
            for chunk in unsealer.update(part):
                yield chunk
        yield unsealer.finalize()
    except _DoesNotOpen as error:
        refuse("stream", context, str(error))


def _unseal(key: bytes, context: bytes, sealed: bytes) -> bytes:
    unsealer = _Unsealer(key, context)
    return b"".join([*unsealer.update(sealed), unsealer.finalize()])


class _DoesNotOpen(Exception):
    """Not refused yet: another key may open it."""


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
                raise _DoesNotOpen("these bytes were not sealed by Tunery")
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
            raise _DoesNotOpen("the sealed bytes end before their header does")
        try:
            opened = self._cipher.decrypt(_nonce(self._prefix, self._number, last=last), chunk, self._context)
        except InvalidTag:
            raise _DoesNotOpen(f"chunk {self._number} of the sealed bytes does not open") from None
        self._number += 1
        return opened


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])
