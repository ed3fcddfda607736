"""ML-KEM (FIPS 203) by either provider, so that the two can be held against each other.

Tenants' envelopes have the same algorithms inside HPKE (`envelopes`). Public keys, ciphertexts and secrets are FIPS
203's, the same everywhere; a private key stays with the provider that made it (`cryptography`: FIPS 203's 64-byte seed,
`liboqs`: its expanded form).
"""

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)

from tunery.core.errors import DomainError, InvalidInput
from tunery.vault import liboqs
from tunery.vault.signatures import Provider

ML_KEM_768 = "ML-KEM-768"
ML_KEM_1024 = "ML-KEM-1024"

_CLASSES: dict[str, tuple[Any, Any]] = {
    ML_KEM_768: (MLKEM768PrivateKey, MLKEM768PublicKey),
    ML_KEM_1024: (MLKEM1024PrivateKey, MLKEM1024PublicKey),
}


class KemRefused(DomainError):
    """A key or a ciphertext isn't one of this algorithm. (A changed ciphertext gives another secret, FIPS 203 says.)"""

    code = "KEM_REFUSED"


@dataclass(frozen=True)
class KemKeyPair:
    """`private_key` has the form of the provider that made it."""

    private_key: bytes = field(repr=False)
    public_key: bytes


@dataclass(frozen=True)
class Encapsulation:
    """A 32-byte secret, and the ciphertext that tells it to the owner of the private key."""

    secret: bytes = field(repr=False)
    ciphertext: bytes


def generate_kem_key_pair(algorithm: str, provider: Provider = "cryptography") -> KemKeyPair:
    """Raises InvalidInput for an unknown algorithm and, by liboqs, LiboqsMissing."""
    private, _ = _classes(algorithm)
    if provider == "liboqs":
        return KemKeyPair(*liboqs.generate_kem_pair(algorithm))
    key = private.generate()
    return KemKeyPair(key.private_bytes_raw(), key.public_key().public_bytes_raw())


def encapsulate(algorithm: str, public_key: bytes, provider: Provider = "cryptography") -> Encapsulation:
    """A new secret for the key's owner. Raises KemRefused for bytes that are no public key; otherwise as above."""
    _, public = _classes(algorithm)
    try:
        if provider == "liboqs":
            return Encapsulation(*liboqs.encapsulate(algorithm, public_key))
        return Encapsulation(*public.from_public_bytes(public_key).encapsulate())
    except ValueError as error:
        raise KemRefused(str(error)) from error


def decapsulate(algorithm: str, private_key: bytes, ciphertext: bytes, provider: Provider = "cryptography") -> bytes:
    """The secret. Raises KemRefused for a private key or a ciphertext of another length; otherwise as above."""
    private, _ = _classes(algorithm)
    try:
        if provider == "liboqs":
            return liboqs.decapsulate(algorithm, private_key, ciphertext)
        return bytes(private.from_seed_bytes(private_key).decapsulate(ciphertext))
    except ValueError as error:
        raise KemRefused(str(error)) from error


def _classes(algorithm: str) -> tuple[Any, Any]:
    if algorithm not in _CLASSES:
        raise InvalidInput(f"{algorithm!r:.100} is no KEM known here; choose one of {', '.join(_CLASSES)}")
    return _CLASSES[algorithm]
