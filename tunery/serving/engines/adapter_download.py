"""An adapter's files from object storage, believed only as far as the digest vouches for them."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from tunery.core.storage import ObjectStorage
from tunery.training.adapter_files import check_adapter, verify_files
from tunery.training.adapter_manifest import (
    CONFIG_NAME,
    MANIFEST_NAME,
    MAX_MANIFEST_BYTES,
    WEIGHTS_NAME,
    AdapterManifest,
    AdapterRefused,
    digest,
    parse_manifest,
)

MAX_ADAPTER_BYTES: Final = 8 * 2**30
"""Rank 256 on every linear of a 70B model is about 6 GB in bf16."""


@dataclass(frozen=True, slots=True)
class VerifiedAdapter:
    """A plain LoRA whose bytes are those of its digest. `configuration` is the checked `adapter_config.json`."""

    digest: str
    manifest: AdapterManifest
    configuration: dict[str, Any]
    weights: bytes


async def download_adapter(
    storage: ObjectStorage,
    identifier: str,
    object_prefix: str,
    base_model: str,
    base_shapes: dict[str, tuple[int, int]],
) -> VerifiedAdapter:
    """Fetch and check: digest, manifest, every file's hash, configuration, header, fit to the base's linear modules.

    Raises AdapterRefused.
    """
    manifest_bytes = await _read(storage, object_prefix, MANIFEST_NAME, MAX_MANIFEST_BYTES)
    if digest(manifest_bytes) != identifier:
        raise AdapterRefused("The manifest isn't the one of this digest.", code="FILES_MISMATCH")
    manifest = parse_manifest(manifest_bytes)
    if manifest.base_model.name != base_model:
        raise AdapterRefused(
            f"The adapter is for the base model {manifest.base_model.name!r:.200}, not {base_model!r}.",
            code="FILES_MISMATCH",
        )
    if sum(file.size for file in manifest.files.values()) > MAX_ADAPTER_BYTES:
        raise AdapterRefused(f"The adapter has more than {MAX_ADAPTER_BYTES} bytes.", code="FILES_MISMATCH")
    files = {
        name: await _read(storage, object_prefix, name, expected.size) for name, expected in manifest.files.items()
    }
    # Hashing and parsing gigabytes would hold up every stream of this process.
    await asyncio.to_thread(_check, files, manifest, base_model, base_shapes)
    return VerifiedAdapter(identifier, manifest, json.loads(files[CONFIG_NAME]), files[WEIGHTS_NAME])


def _check(
    files: dict[str, bytes], manifest: AdapterManifest, base_model: str, base_shapes: dict[str, tuple[int, int]]
) -> None:
    verify_files(files, manifest)
    check_adapter(files, base_model=base_model, base_shapes=base_shapes)


async def _read(storage: ObjectStorage, prefix: str, name: str, limit: int) -> bytes:
    content = bytearray()
    try:
        async for part in storage.stream(f"{prefix.rstrip('/')}/{name}"):
            content += part
            if len(content) > limit:
                raise AdapterRefused(f"{name} is larger than it should be.", code="FILES_MISMATCH", field=name)
    except FileNotFoundError as error:
        raise AdapterRefused(f"{name} is missing.", code="FILES_MISMATCH", field=name) from error
    return bytes(content)
