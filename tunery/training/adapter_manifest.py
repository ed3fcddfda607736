"""The manifest of an adapter version: what was trained, on what, from what, and the hash of every file.

A version is known by its digest, the SHA-256 of the manifest's bytes; the vault signs those bytes, so whoever has
the files, the manifest and the signature can check all of it offline.
"""

import hashlib
from typing import Final, Literal

import msgspec

from tunery.core.canonical import canonical_json
from tunery.core.errors import InvalidInput
from tunery.training.training_spec import TrainingSpec

MANIFEST_NAME: Final = "tunery_manifest.json"
SIGNATURE_NAME: Final = "tunery_signature.json"
WEIGHTS_NAME: Final = "adapter_model.safetensors"
CONFIG_NAME: Final = "adapter_config.json"
CARD_NAME: Final = "README.md"
ADAPTER_FILES: Final = (CARD_NAME, CONFIG_NAME, WEIGHTS_NAME)
"""The files a manifest covers; it can't cover itself nor its signature."""

SIGNATURE_CONTEXT: Final = "tunery-adapter/1"
"""FIPS 204's context string: what kind of thing the signature is over."""

MAX_MANIFEST_BYTES: Final = 256 * 1024


class AdapterRefused(InvalidInput):
    """An adapter's file is not what it must be; `error_code` says which rule, the message what was found."""

    code = "ADAPTER_REFUSED"


class FileDigest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file's size in bytes and SHA-256 in lower-case hex."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "FileDigest":
        return cls(len(content), hashlib.sha256(content).hexdigest())


class BaseIdentity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base model an adapter belongs to: public name, revision, and SHA-256 of its weights."""

    name: str
    revision: str
    weights_sha256: str


class AdapterManifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything a version's signature vouches for. `metrics` holds finite numbers only; `created_at` is RFC 3339."""

    format: Literal["tunery-adapter/1"] = "tunery-adapter/1"
    name: str
    version: str
    base_model: BaseIdentity
    quantisation: str
    dataset_sha256: str
    spec: TrainingSpec
    rows: int
    trained_tokens: int
    metrics: dict[str, float]
    created_at: str
    files: dict[str, FileDigest]

    def to_bytes(self) -> bytes:
        """The canonical bytes, whose SHA-256 is the version's digest. Raises ValueError for NaN or infinity."""
        return canonical_json(msgspec.to_builtins(self))


def digest(manifest: bytes) -> str:
    """The version's digest: SHA-256 of the manifest's bytes, lower-case hex."""
    return hashlib.sha256(manifest).hexdigest()


def parse_manifest(content: bytes) -> AdapterManifest:
    """Read a manifest's bytes.

    Raises AdapterRefused (`MANIFEST_INVALID`) unless they are exactly the canonical form of a known format, so that
    no two different byte strings mean the same manifest.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise AdapterRefused("The manifest is too large.", code="MANIFEST_INVALID")
    try:
        manifest = msgspec.json.decode(content, type=AdapterManifest)
        canonical = manifest.to_bytes()
    except (ValueError, InvalidInput, RecursionError) as error:
        raise AdapterRefused(f"The manifest can't be read: {error}", code="MANIFEST_INVALID") from error
    if canonical != content:
        raise AdapterRefused("The manifest isn't in its canonical form.", code="MANIFEST_INVALID")
    return manifest
