import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tunery.training_workers.checkpoints import (
    CheckpointRefused,
    TrainerState,
    dump_checkpoint,
    parse_checkpoint,
    read_checkpoint,
    write_checkpoint,
)

STATE = TrainerState({"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3.0)}, {"step": 7, "run": {"x": [1.5]}})


def test_it_reads_back_and_equal_states_are_equal_bytes(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path, STATE)
    found = read_checkpoint(file.path, file.sha256)
    assert found.metadata == STATE.metadata
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in STATE.tensors.items())
    assert file.size == file.path.stat().st_size
    reordered = TrainerState(dict(reversed(list(STATE.tensors.items()))), dict(reversed(list(STATE.metadata.items()))))
    assert dump_checkpoint(reordered) == file.path.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]


def test_torn_altered_and_missing_files_are_refused(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path, STATE)
    content = file.path.read_bytes()
    for torn in (content[:-1], content[:20], content[:4], b"", content[:-1] + b"\xff", content + b"\0"):
        file.path.write_bytes(torn)
        with pytest.raises(CheckpointRefused):
            read_checkpoint(file.path, file.sha256)
    file.path.unlink()
    with pytest.raises(CheckpointRefused):
        read_checkpoint(file.path, file.sha256)


@pytest.mark.parametrize("cut", [1, 8, 9, 30, 120, -5, -1])
def test_torn_bytes_are_refused_without_a_digest_too(cut: int) -> None:
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


def test_a_failing_disk_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(tmp_path, STATE)
    assert list(tmp_path.iterdir()) == []
