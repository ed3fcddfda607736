"""The installation's own secret, from which passwords follow that all its processes must know and nobody else may."""

from tunery.vault.derivation import derive

SECRET_BYTES = 32


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
