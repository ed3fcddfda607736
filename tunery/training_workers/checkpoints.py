"""Checkpoints of a trainer: one safetensors payload, no pickle, known by its SHA-256.

The training state travels in the header's metadata as JSON, under a single key so that equal states give equal bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import safetensors
import safetensors.torch
import torch

from tunery.core.canonical import canonical_json
from tunery.core.errors import DomainError
from tunery.training.adapter_files import read_safetensors_header
from tunery.training.adapter_manifest import AdapterRefused

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
