"""HPKE (RFC 9180) over X-Wing: a key is wrapped so that only one tenant's private key opens it.

X-Wing (draft-connolly-cfrg-xwing-kem) joins ML-KEM-768 and X25519: it holds while either of them does.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from tunery.vault.sealing import UnsealingFailed

SUITE = "X-Wing/HKDF-SHA256/AES-256-GCM"
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)

_ML_KEM_SEED_BYTES = 64
_ML_KEM_PUBLIC_BYTES = 1184


def generate_key_pair() -> tuple[bytes, bytes]:
    """A new pair: private (96 bytes: ML-KEM seed, X25519 scalar) and public (1,216 bytes)."""
    ml_kem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    private = ml_kem.private_bytes_raw() + x25519.private_bytes_raw()
    public = ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
    return private, public


def wrap(key: bytes, public_key: bytes, info: bytes) -> bytes:
    """Wrap a 32-byte key: 1,168 bytes. `info` binds what the key is for; unwrapping with another one fails."""
    recipient = MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public_key[:_ML_KEM_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(public_key[_ML_KEM_PUBLIC_BYTES:]),
    )
    return _SUITE.encrypt(key, recipient, info)


def unwrap(wrapped: bytes, private_key: bytes, info: bytes) -> bytes:
    """The key. Raises UnsealingFailed for a wrong private key, a wrong `info` or changed bytes."""
    recipient = MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(private_key[:_ML_KEM_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(private_key[_ML_KEM_SEED_BYTES:]),
    )
    try:
        return _SUITE.decrypt(wrapped, recipient, info)
    except InvalidTag:
        raise UnsealingFailed("the wrapped key does not open") from None
