"""Signatures that outlive classical cryptography.

    ML-DSA-65    FIPS 204; the default            by cryptography, or by liboqs
    ML-DSA-87    FIPS 204                         by cryptography, or by liboqs
    Falcon-512   experimental                     by liboqs
    Falcon-1024  experimental                     by liboqs

Falcon is experimental because its standard, FN-DSA, isn't final: what is signed today may not be what it will define.
Public keys and signatures are the same whoever made them; a private key stays with the provider that made it.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import (
    MLDSA65PrivateKey,
    MLDSA65PublicKey,
    MLDSA87PrivateKey,
    MLDSA87PublicKey,
)

from tunery.core.errors import DomainError, InvalidInput
from tunery.vault import liboqs

Provider = Literal["cryptography", "liboqs"]
AlgorithmName = Literal["ML-DSA-65", "ML-DSA-87", "Falcon-512", "Falcon-1024"]

ML_DSA_65: AlgorithmName = "ML-DSA-65"
ML_DSA_87: AlgorithmName = "ML-DSA-87"
FALCON_512: AlgorithmName = "Falcon-512"
FALCON_1024: AlgorithmName = "Falcon-1024"

MAX_CONTEXT_BYTES = 255
_SEED_BYTES = 32
_PARTS = frozenset({"algorithm", "context", "key", "public_key", "signature"})
_CLASSES: dict[str, tuple[Any, Any]] = {
    ML_DSA_65: (MLDSA65PrivateKey, MLDSA65PublicKey),
    ML_DSA_87: (MLDSA87PrivateKey, MLDSA87PublicKey),
}


class SignatureRefused(DomainError):
    """The signature isn't one of this key over these bytes, or its algorithm is unknown."""

    code = "SIGNATURE_REFUSED"


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """Sizes are in bytes; a Falcon signature has at most `signature_bytes`, an ML-DSA signature exactly these."""

    name: AlgorithmName
    description: str
    public_key_bytes: int
    signature_bytes: int
    providers: tuple[Provider, ...]
    """The first is taken unless another is asked for."""
    experimental: bool = False


_EXPERIMENTAL = "experimental: FN-DSA, its standard, is not final"
ALGORITHMS: dict[str, SignatureAlgorithm] = {
    algorithm.name: algorithm
    for algorithm in (
        SignatureAlgorithm(ML_DSA_65, "ML-DSA-65 (FIPS 204)", 1952, 3309, ("cryptography", "liboqs")),
        SignatureAlgorithm(ML_DSA_87, "ML-DSA-87 (FIPS 204)", 2592, 4627, ("cryptography", "liboqs")),
        SignatureAlgorithm(FALCON_512, f"Falcon-512 ({_EXPERIMENTAL})", 897, 752, ("liboqs",), experimental=True),
        SignatureAlgorithm(FALCON_1024, f"Falcon-1024 ({_EXPERIMENTAL})", 1793, 1462, ("liboqs",), experimental=True),
    )
}


def find_algorithm(name: str) -> SignatureAlgorithm:
    """Raises InvalidInput for an unknown one."""
    if name not in ALGORITHMS:
        raise InvalidInput(f"unknown signature algorithm {name!r:.100}; known are {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]


def algorithm_of(public_key: bytes) -> SignatureAlgorithm:
    """The one algorithm whose public keys have this length. Raises InvalidInput when there is none."""
    for algorithm in ALGORITHMS.values():
        if algorithm.public_key_bytes == len(public_key):
            return algorithm
    known = ", ".join(f"{algorithm.public_key_bytes:,} ({name})" for name, algorithm in ALGORITHMS.items())
    raise InvalidInput(f"a public key of {len(public_key):,} bytes belongs to no known algorithm: {known}")


def generate_seed() -> bytes:
    """FIPS 204's private seed, of which `cryptography` makes a key pair of either size."""
    return os.urandom(_SEED_BYTES)


def fingerprint(public_key: bytes) -> str:
    """Short name of a public key: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:32]


class Signer:
    """A key pair in use.

    `private_key` has its provider's form: `cryptography` takes FIPS 204's 32-byte seed, `liboqs` its own expanded keys,
    from which the public key doesn't follow. Raises ValueError when that is missing or a length is wrong.
    """

    def __init__(
        self, algorithm: str, private_key: bytes, public_key: bytes | None = None, provider: Provider | None = None
    ) -> None:
        known = find_algorithm(algorithm)
        self.algorithm = known.name
        self.provider = _provider(known, provider)
        self.private_key = private_key
        if self.provider == "cryptography":
            private, _ = _CLASSES[algorithm]
            derived = private.from_seed_bytes(private_key).public_key().public_bytes_raw()
            if public_key not in (None, derived):
                raise ValueError("the public key isn't the private key's")
            public_key = derived
        if public_key is None or len(public_key) != known.public_key_bytes:
            raise ValueError(f"an {algorithm} key pair of liboqs needs its public key, {known.public_key_bytes} bytes")
        self.public_key: bytes = public_key

    def sign(self, message: bytes, context: str) -> dict[str, str]:
        """A detached signature as JSON: algorithm, context, key fingerprint, public key and signature in base64.

        `context` says what kind of thing is signed, in at most 255 bytes: FIPS 204's context string. (Falcon has none;
        for its bytes see `liboqs.with_context`.) Raises ValueError for a longer one, and LiboqsMissing.
        """
        encoded = context.encode()
        if len(encoded) > MAX_CONTEXT_BYTES:
            raise ValueError(f"a context has at most {MAX_CONTEXT_BYTES} bytes, not {len(encoded)}")
        if self.provider == "liboqs":
            signature = liboqs.sign(self.algorithm, self.private_key, message, encoded)
        else:
            private, _ = _CLASSES[self.algorithm]
            signature = private.from_seed_bytes(self.private_key).sign(message, encoded)
        return {
            "algorithm": self.algorithm,
            "context": context,
            "key": fingerprint(self.public_key),
            "public_key": _base64(self.public_key),
            "signature": _base64(signature),
        }


def generate_signer(algorithm: str = ML_DSA_65, provider: Provider | None = None) -> Signer:
    """A new key pair. Raises InvalidInput for an unknown algorithm or a provider that hasn't it, and LiboqsMissing."""
    known = find_algorithm(algorithm)
    if _provider(known, provider) == "liboqs":
        private, public = liboqs.generate_signing_pair(algorithm)
        return Signer(algorithm, private, public, "liboqs")
    return Signer(algorithm, generate_seed(), provider="cryptography")


def verify(
    message: bytes,
    signature: Mapping[str, Any],
    public_key: bytes,
    context: str,
    provider: Provider | None = None,
) -> None:
    """Return when the signature is this key's over this message in this context; raise SignatureRefused otherwise.

    The public key comes from somewhere trusted, never from the signature itself. What the signature says of itself must
    be true as well, and in the form that `Signer.sign` gives it: so no two different ones pass for one. Raises
    LiboqsMissing when Falcon can't be verified here.
    """
    if signature.keys() != _PARTS or not all(isinstance(part, str) for part in signature.values()):
        raise SignatureRefused(f"a signature consists of {', '.join(sorted(_PARTS))}")
    try:
        algorithm = find_algorithm(signature["algorithm"])
        chosen = _provider(algorithm, provider)
    except InvalidInput as error:
        raise SignatureRefused(error.message) from None
    if len(public_key) != algorithm.public_key_bytes:
        raise SignatureRefused(f"the signature is {algorithm.name}, which this key is not")
    if signature["key"] != fingerprint(public_key):
        named = signature["key"]
        raise SignatureRefused(f"the signature names the key {named!r:.100}, not this one, {fingerprint(public_key)}")
    if signature["public_key"] != _base64(public_key):
        raise SignatureRefused("the public key in the signature is not this key")
    if signature["context"] != context:
        raise SignatureRefused(f"the signature is for {signature['context']!r:.100}, not for {context!r:.100}")
    raw = _signature_bytes(signature["signature"])
    if not _matches(algorithm, chosen, public_key, message, raw, context.encode()):
        raise SignatureRefused("the signature does not match the signed bytes and this key")


def _matches(
    algorithm: SignatureAlgorithm, provider: Provider, public_key: bytes, message: bytes, raw: bytes, context: bytes
) -> bool:
    if len(context) > MAX_CONTEXT_BYTES:
        return False
    if provider == "liboqs":
        return liboqs.verify(algorithm.name, public_key, message, raw, context)
    _, public = _CLASSES[algorithm.name]
    try:
        public.from_public_bytes(public_key).verify(raw, message, context)
    except (InvalidSignature, ValueError):
        return False
    return True


def _signature_bytes(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not raw or _base64(raw) != text:
        raise SignatureRefused("the signature is not in plain base64")
    return raw


def _provider(algorithm: SignatureAlgorithm, wanted: Provider | None) -> Provider:
    if wanted is None:
        return algorithm.providers[0]
    if wanted not in algorithm.providers:
        raise InvalidInput(f"{algorithm.name} is made by {' and '.join(algorithm.providers)}, not by {wanted!r:.50}")
    return wanted


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
