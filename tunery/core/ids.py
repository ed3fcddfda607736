"""Opaque ids for the outside world: a prefix that tells the kind, and the row's UUID in base 32.

Inside, rows have a UUIDv7 (made by PostgreSQL's `uuidv7()`; a tenant's is made before
its row, and random). Outside, the same 128 bits are 26 characters of
Crockford's alphabet in lower case (https://www.crockford.com/base32.html): `job_01k9…`.
"""

import re
from uuid import UUID

from tunery.core.errors import NotFound

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 26
_SHAPE = re.compile(f"([a-z]+)_([{_ALPHABET}]{{{_LENGTH}}})")

PREFIXES = {
    "tenant": "org",
    "API key": "key",
    "data set": "file",
    "base model": "base",
    "quote": "quote",
    "training job": "job",
    "adapter": "adapter",
    "adapter version": "ver",
    "listing": "lst",
    "purchase": "pur",
    "deployment": "dep",
}


def encode(kind: str, identifier: UUID) -> str:
    """The outside id of a row, e.g. `job_01k9xw7m3v…`."""
    number = identifier.int
    digits = [_ALPHABET[(number >> shift) & 31] for shift in range(5 * (_LENGTH - 1), -1, -5)]
    return f"{PREFIXES[kind]}_{''.join(digits)}"


def decode(kind: str, text: str, *, field: str | None = None) -> UUID:
    """The row's UUID. Raises NotFound for any text that is no id of this kind: a malformed id and an unknown one
    are the same to the caller.
    """
    match = _SHAPE.fullmatch(text)
    if match is None or match[1] != PREFIXES[kind]:
        raise NotFound(kind, text, field=field)
    number = 0
    for letter in match[2]:
        number = number << 5 | _VALUES[letter]
    if number >= 1 << 128:
        raise NotFound(kind, text, field=field)
    return UUID(int=number)
