"""Opaque ids for the outside world: a prefix that tells the kind, and the row's UUID in hexadecimal.

Inside, rows have a UUIDv7 (made by PostgreSQL's `uuidv7()`; a tenant's is made before its row, and random). Outside,
the same 128 bits are 32 digits, which PostgreSQL prints as well as Python: `job_0199f3…`.
"""

import re
from uuid import UUID

from tunery.core.errors import NotFound

_SHAPE = re.compile("([a-z]+)_([0-9a-f]{32})")

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
    "subject": "sub",
    "memory": "mem",
    "conversation": "conv",
    "erasure": "era",
}


_KINDS = {prefix: kind for kind, prefix in PREFIXES.items()}


def encode(kind: str, identifier: UUID) -> str:
    """The outside id of a row, e.g. `job_0199f3a17c…`."""
    return f"{PREFIXES[kind]}_{identifier.hex}"


def decode(kind: str, text: str, *, field: str | None = None) -> UUID:
    """The row's UUID. Raises NotFound for any text that is no id of this kind: a malformed id and an unknown one
    are the same to the caller.
    """
    return UUID(hex=digits_of(kind, text, field=field))


def digits_of(kind: str, text: str, *, field: str | None = None) -> str:
    """The UUID's digits, which PostgreSQL takes as well. Raises as `decode` does."""
    match = _SHAPE.fullmatch(text)
    if match is None or match[1] != PREFIXES[kind]:
        raise NotFound(kind, text, field=field)
    return match[2]


def kind_of(text: str) -> str | None:
    """What an id's prefix says that it is an id of."""
    return _KINDS.get(text.partition("_")[0])
