"""Signatures that outlive classical cryptography: ML-DSA-65 (FIPS 204)."""

import base64
import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from tunery.core.errors import DomainError

ML_DSA_65 = "ML-DSA-65"
_SEED_BYTES = 32


class SignatureRefused(DomainError):
    """The signature isn't one of this key over these bytes, or its algorithm is unknown."""

    code = "SIGNATURE_REFUSED"


def generate_seed() -> bytes:
    return os.urandom(_SEED_BYTES)


def fingerprint(public_key: bytes) -> str:
    """Short name of a public key: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:32]


@dataclass(frozen=True)
class Signer:
    """A key pair in use. `seed` is FIPS 204's 32-byte private seed."""

    algorithm: str
    seed: bytes

    @property
    def public_key(self) -> bytes:
        """FIPS 204's encoding, 1,952 bytes."""
        return MLDSA65PrivateKey.from_seed_bytes(self.seed).public_key().public_bytes_raw()

    def sign(self, message: bytes, context: str) -> dict[str, str]:
        """A detached signature as JSON: algorithm, context, key fingerprint, public key and signature in base64.

        `context` is FIPS 204's context string: what kind of thing is signed.
        """
        signature = MLDSA65PrivateKey.from_seed_bytes(self.seed).sign(message, context.encode())
        return {
            "algorithm": self.algorithm,
            "context": context,
            "key": fingerprint(self.public_key),
            "public_key": base64.b64encode(self.public_key).decode(),
            "signature": base64.b64encode(signature).decode(),
        }


def verify(message: bytes, signature: dict[str, str], public_key: bytes, context: str) -> None:
    """Return when the signature is this key's over this message; raise SignatureRefused otherwise.

    The public key comes from somewhere trusted, never from the signature itself.
    """
    if signature.get("algorithm") != ML_DSA_65:
        raise SignatureRefused(f"unknown signature algorithm {signature.get('algorithm')!r}")
    try:
        raw = base64.b64decode(signature["signature"], validate=True)
        MLDSA65PublicKey.from_public_bytes(public_key).verify(raw, message, context.encode())
    except (InvalidSignature, KeyError, ValueError):
        raise SignatureRefused("the signature does not match the signed bytes and this key") from None
