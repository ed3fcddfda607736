"""Keys from keys: one secret gives as many as there are purposes, and none of them leads to another."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

DERIVED_BYTES = 32


def derive(secret: bytes, purpose: str, length: int = DERIVED_BYTES) -> bytes:
    """A key for one purpose (HKDF-SHA256, RFC 5869, without a salt)."""
    return HKDF(SHA256(), length, salt=None, info=f"tunery/1/{purpose}".encode()).derive(secret)
