"""Checkpoints of a trainer: one safetensors payload, no pickle, known by its SHA-256.

The training state travels in the header's metadata as JSON, under a single key so that equal states give equal bytes.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import safetensors
import safetensors.torch
import torch

from tunery.core.errors import DomainError
from tunery.training.adapter_files import read_safetensors_header
from tunery.training.adapter_manifest import AdapterRefused, canonical_json

_KEY: Final = "tunery-checkpoint/1"
_SUFFIX: Final = ".checkpoint"


class CheckpointRefused(DomainError):
    """The checkpoint is torn, altered, or not a checkpoint of ours."""

    code = "CHECKPOINT_REFUSED"


@dataclass(frozen=True, slots=True)
class TrainerState:
    """Everything that a trainer needs to go on: tensors on the CPU by name, and JSON-ready values."""

    tensors: Mapping[str, torch.Tensor]
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A written checkpoint: its path, SHA-256 in lower-case hex, and size in bytes."""

    path: Path
    sha256: str
    size: int


def dump_checkpoint(state: TrainerState) -> bytes:
    """The checkpoint's bytes; equal states give equal bytes. Raises ValueError for NaN or infinity in the metadata."""
    tensors = {name: tensor.contiguous() for name, tensor in state.tensors.items()}
    return safetensors.torch.save(tensors, {_KEY: canonical_json(dict(state.metadata)).decode()})


def parse_checkpoint(content: bytes) -> TrainerState:
    """Read a checkpoint's bytes. Raises CheckpointRefused when they are cut short or aren't a checkpoint."""
    try:
        header = read_safetensors_header(content)
        if header.metadata.keys() != {_KEY}:
            raise CheckpointRefused("The file isn't a Tunery checkpoint.")
        metadata = json.loads(header.metadata[_KEY])
        tensors = safetensors.torch.load(content)
    except (AdapterRefused, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointRefused(f"The checkpoint can't be read: {error}") from error
    if not isinstance(metadata, dict):
        raise CheckpointRefused("The checkpoint's metadata isn't an object.")
    return TrainerState(tensors, metadata)


def write_checkpoint(folder: Path, state: TrainerState) -> CheckpointFile:
    """Write `<sha256>.checkpoint` into `folder`.

    It appears under that name only when it is whole and on the disk; a crash leaves at most a `.tmp` file. Raises
    OSError.
    """
    content = dump_checkpoint(state)
    sha256 = hashlib.sha256(content).hexdigest()
    path = folder / (sha256 + _SUFFIX)
    descriptor, name = tempfile.mkstemp(dir=folder, suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(folder)
    return CheckpointFile(path, sha256, len(content))


def read_checkpoint(path: Path, sha256: str) -> TrainerState:
    """Read a checkpoint of that digest. Raises CheckpointRefused when it is missing, torn, altered or foreign."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointRefused(f"The checkpoint can't be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise CheckpointRefused(f"The checkpoint's SHA-256 is {found}, not {sha256}: it is torn or altered.")
    return parse_checkpoint(content)


def _sync_folder(folder: Path) -> None:
    # The new name is durable only when its folder is.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
