"""HPKE (RFC 9180) over hybrid KEMs: a key is wrapped so that only one tenant's private key opens it.

    X-Wing/HKDF-SHA256/AES-256-GCM               ML-KEM-768 and X25519 (draft-connolly-cfrg-xwing-kem); the default
    ML-KEM-1024+P-384/HKDF-SHA384/AES-256-GCM    ML-KEM-1024 and P-384: CNSA 2.0's size, joined with a NIST curve

Each holds while either half does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import (
    MLKEM768PrivateKey,
    MLKEM768PublicKey,
    MLKEM1024PrivateKey,
    MLKEM1024PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    MLKEM1024P384PrivateKey,
    MLKEM1024P384PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tunery.core.errors import InvalidInput
from tunery.vault.sealing import refuse

X_WING = "X-Wing/HKDF-SHA256/AES-256-GCM"
ML_KEM_1024_P384 = "ML-KEM-1024+P-384/HKDF-SHA384/AES-256-GCM"

_SEED_BYTES = 64
"""FIPS 203's private seed, the first part of a private key."""
_SCALAR_BYTES = 48
_ML_KEM_768_BYTES = 1184
_ML_KEM_1024_BYTES = 1568


@dataclass(frozen=True)
class _Envelope:
    suite: Suite
    generate: Callable[[], bytes]
    public: Callable[[bytes], bytes]
    recipient: Callable[[bytes], Any]
    opener: Callable[[bytes], Any]


def generate_key_pair(suite: str) -> tuple[bytes, bytes]:
    """A new pair, private and public: X-Wing's have 96 and 1,216 bytes, ML-KEM-1024+P-384's 112 and 1,665.

    Raises InvalidInput for an unknown suite.
    """
    if suite not in _ENVELOPES:
        raise InvalidInput(f"unknown suite {suite!r:.100}; known are {', '.join(_ENVELOPES)}", field="suite")
    envelope = _ENVELOPES[suite]
    private = envelope.generate()
    return private, envelope.public(private)


def public_key_of(suite: str, private_key: bytes) -> bytes:
    return _ENVELOPES[suite].public(private_key)


def wrap(suite: str, key: bytes, public_key: bytes, info: bytes) -> bytes:
    """Wrap a 32-byte key: 1,168 or 1,713 bytes. `info` binds what the key is for; unwrapping with another one fails."""
    envelope = _ENVELOPES[suite]
    return envelope.suite.encrypt(key, envelope.recipient(public_key), info)


def unwrap(suite: str, wrapped: bytes, private_key: bytes, info: bytes) -> bytes:
    """The key. Raises UnsealingFailed for a wrong private key, a wrong `info`, changed bytes or an unknown suite."""
    envelope = _ENVELOPES.get(suite)
    if envelope is None:
        refuse("data key", info, f"it is wrapped in an unknown suite, {suite!r:.100}")
    try:
        return envelope.suite.decrypt(wrapped, envelope.opener(private_key), info)
    except InvalidTag:
        refuse("data key", info, "the wrapped key does not open")


def _generate_x_wing() -> bytes:
    return MLKEM768PrivateKey.generate().private_bytes_raw() + X25519PrivateKey.generate().private_bytes_raw()


def _x_wing_public(private_key: bytes) -> bytes:
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(private_key[:_SEED_BYTES])
    x25519 = X25519PrivateKey.from_private_bytes(private_key[_SEED_BYTES:])
    return ml_kem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def _x_wing_recipient(public_key: bytes) -> MLKEM768X25519PublicKey:
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(public_key[:_ML_KEM_768_BYTES]),
        X25519PublicKey.from_public_bytes(public_key[_ML_KEM_768_BYTES:]),
    )


def _x_wing_opener(private_key: bytes) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(private_key[:_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(private_key[_SEED_BYTES:]),
    )


def _generate_ml_kem_1024_p384() -> bytes:
    p384 = ec.generate_private_key(ec.SECP384R1())
    scalar = p384.private_numbers().private_value.to_bytes(_SCALAR_BYTES, "big")
    return MLKEM1024PrivateKey.generate().private_bytes_raw() + scalar


def _ml_kem_1024_p384_public(private_key: bytes) -> bytes:
    ml_kem = MLKEM1024PrivateKey.from_seed_bytes(private_key[:_SEED_BYTES])
    p384 = ec.derive_private_key(int.from_bytes(private_key[_SEED_BYTES:], "big"), ec.SECP384R1())
    point = p384.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return ml_kem.public_key().public_bytes_raw() + point


def _ml_kem_1024_p384_recipient(public_key: bytes) -> MLKEM1024P384PublicKey:
    return MLKEM1024P384PublicKey(
        MLKEM1024PublicKey.from_public_bytes(public_key[:_ML_KEM_1024_BYTES]),
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), public_key[_ML_KEM_1024_BYTES:]),
    )


def _ml_kem_1024_p384_opener(private_key: bytes) -> MLKEM1024P384PrivateKey:
    return MLKEM1024P384PrivateKey(
        MLKEM1024PrivateKey.from_seed_bytes(private_key[:_SEED_BYTES]),
        ec.derive_private_key(int.from_bytes(private_key[_SEED_BYTES:], "big"), ec.SECP384R1()),
    )


_ENVELOPES = {
    X_WING: _Envelope(
        Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM),
        _generate_x_wing,
        _x_wing_public,
        _x_wing_recipient,
        _x_wing_opener,
    ),
    ML_KEM_1024_P384: _Envelope(
        Suite(KEM.MLKEM1024_P384, KDF.HKDF_SHA384, AEAD.AES_256_GCM),
        _generate_ml_kem_1024_p384,
        _ml_kem_1024_p384_public,
        _ml_kem_1024_p384_recipient,
        _ml_kem_1024_p384_opener,
    ),
}
SUITES = tuple(_ENVELOPES)
