"""The installation's own secret, from which passwords follow that all its processes must know and nobody else may."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SECRET_BYTES = 32


def derive(secret: bytes, purpose: str, length: int = SECRET_BYTES) -> bytes:
    """A key for one purpose (HKDF-SHA256, RFC 5869)."""
    return HKDF(SHA256(), length, salt=None, info=f"tunery/1/{purpose}".encode()).derive(secret)


class InstallationSecret:
    """Seals nothing: it stays as it is when root keys change."""

    def __init__(self, secret: bytes) -> None:
        """Raises ValueError unless these are 32 bytes."""
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"the installation's secret has {SECRET_BYTES} bytes, not {len(secret)}")
        self._secret = secret

    def derive(self, purpose: str) -> bytes:
        """32 bytes, the same in every process of the installation."""
        return derive(self._secret, purpose)
