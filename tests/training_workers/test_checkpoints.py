import pickle

import pytest
import safetensors.torch
import torch

from tunery.training_workers.checkpoints import (
    CheckpointRefused,
    TrainerState,
    dump_checkpoint,
    parse_checkpoint,
)

STATE = TrainerState({"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3.0)}, {"step": 7, "run": {"x": [1.5]}})


def test_it_reads_back_and_equal_states_are_equal_bytes() -> None:
    content = dump_checkpoint(STATE)
    found = parse_checkpoint(content)
    assert found.metadata == STATE.metadata
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in STATE.tensors.items())
    reordered = TrainerState(dict(reversed(list(STATE.tensors.items()))), dict(reversed(list(STATE.metadata.items()))))
    assert dump_checkpoint(reordered) == content


@pytest.mark.parametrize("cut", [1, 8, 9, 30, 120, -5, -1])
def test_torn_bytes_are_refused(cut: int) -> None:
    with pytest.raises(CheckpointRefused):
        parse_checkpoint(dump_checkpoint(STATE)[:cut])


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"step": 1}),
        safetensors.torch.save({"a": torch.zeros(1)}),
        safetensors.torch.save({"a": torch.zeros(1)}, {"format": "pt"}),
        safetensors.torch.save({"a": torch.zeros(1)}, {"tunery-checkpoint/1": "{"}),
        safetensors.torch.save({"a": torch.zeros(1)}, {"tunery-checkpoint/1": "[]"}),
    ],
)
def test_foreign_files_are_refused(content: bytes) -> None:
    with pytest.raises(CheckpointRefused):
        parse_checkpoint(content)
