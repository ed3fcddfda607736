import dataclasses
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tunery.training.adapter_files import check_adapter, linear_shapes, read_safetensors_header, verify_files
from tunery.training.adapter_manifest import digest, parse_manifest
from tunery.training.tokenization import TokenizedRow
from tunery.training.training_spec import TrainingSpec
from tunery.training_workers.adapter_export import AdapterDescription, ExportedAdapter, build_adapter, export_adapter
from tunery.training_workers.base_model import BaseModel, set_dropout, share_weights, weights_digest
from tunery.training_workers.qlora import QLoRATrainer

DESCRIPTION = AdapterDescription(
    name="Brass & Fern\n---\nlicense: stolen",
    version="1",
    base_model="tunery/tiny",
    dataset_sha256="d" * 64,
    licence="apache-2.0",
    metrics={"eval_loss": 0.31, "base_eval_loss": 0.74},
    created_at=datetime(2026, 11, 20, tzinfo=UTC),
)


@pytest.fixture(scope="module")
def trainer(base: BaseModel, rows: Sequence[TokenizedRow]) -> QLoRATrainer:
    trainer = QLoRATrainer(base, TrainingSpec(rank=4, dropout=0.1, learning_rate=4e-3, epochs=1), rows)
    while not trainer.finished:
        trainer.step()
    return trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapter")


@pytest.fixture(scope="module")
def exported(trainer: QLoRATrainer, folder: Path) -> ExportedAdapter:
    return export_adapter(trainer, DESCRIPTION, folder)


def logits(model: Any, row: TokenizedRow) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=torch.tensor([row.input_ids])).logits
    return found


def test_plain_peft_on_the_quantised_base_gives_the_same_logits(
    trainer: QLoRATrainer, exported: ExportedAdapter, folder: Path, base: BaseModel, rows: Sequence[TokenizedRow]
) -> None:
    reloaded = PeftModel.from_pretrained(share_weights(base.model), folder)
    set_dropout(reloaded, active=False)
    set_dropout(trainer.model, active=False)
    found, expected = logits(reloaded, rows[0]), logits(trainer.model, rows[0])
    set_dropout(trainer.model, active=True)
    assert torch.equal(found, expected)
    with reloaded.disable_adapter():
        assert (logits(reloaded, rows[0]) - expected).abs().max() > 0.1


def test_plain_peft_on_the_unquantised_base_is_close(
    trainer: QLoRATrainer, exported: ExportedAdapter, folder: Path, base_folder: Path, rows: Sequence[TokenizedRow]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_folder, dtype=torch.float32)
    plain_loss, adapted_loss = [], []
    adapted = PeftModel.from_pretrained(model, folder)
    for row in rows[:4]:
        labels, ids = torch.tensor([row.labels]), torch.tensor([row.input_ids])
        with torch.no_grad():
            adapted_loss.append(adapted(input_ids=ids, labels=labels).loss.item())
            with adapted.disable_adapter():
                plain_loss.append(adapted(input_ids=ids, labels=labels).loss.item())
    assert sum(adapted_loss) < 0.8 * sum(plain_loss)


def test_the_files_pass_the_checks_against_the_bases_own_header(
    exported: ExportedAdapter, folder: Path, base_folder: Path
) -> None:
    shapes = linear_shapes(read_safetensors_header((base_folder / "model.safetensors").read_bytes()))
    configuration = check_adapter(exported.files, base_model="tunery/tiny", base_shapes=shapes)
    assert (configuration.rank, configuration.scaling, configuration.revision) == (4, 8.0, "main")
    verify_files(folder, parse_manifest((folder / "tunery_manifest.json").read_bytes()))
    verify_files(exported.files, exported.manifest)


def test_the_manifest_says_what_was_trained(
    trainer: QLoRATrainer, exported: ExportedAdapter, base_folder: Path, rows: Sequence[TokenizedRow]
) -> None:
    manifest = parse_manifest(exported.manifest_bytes)
    assert manifest == exported.manifest
    assert exported.digest == digest(exported.manifest_bytes)
    assert manifest.base_model.weights_sha256 == weights_digest(base_folder)
    assert manifest.spec == trainer.spec
    assert (manifest.rows, manifest.trained_tokens) == (len(rows), sum(row.tokens for row in rows))
    assert str(base_folder) not in "".join(content.decode("latin-1") for content in exported.files.values())


def test_equal_trainers_give_equal_bytes(trainer: QLoRATrainer, exported: ExportedAdapter) -> None:
    assert build_adapter(trainer, DESCRIPTION) == exported


def test_the_card_is_hugging_faces_and_a_name_cannot_add_fields(exported: ExportedAdapter) -> None:
    card = exported.files["README.md"].decode()
    _, front, body = card.split("---\n", 2)
    fields = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in front.splitlines())}
    assert fields["base_model"] == "tunery/tiny"
    assert fields["library_name"] == "peft"
    assert fields["license"] == "apache-2.0"
    assert "# Brass &amp; Fern --- license: stolen 1" in body
    assert "| eval_loss | 0.31 |" in body


def test_metrics_and_times_that_cannot_be_recorded_are_refused(trainer: QLoRATrainer) -> None:
    with pytest.raises(ValueError, match="JSON"):
        build_adapter(trainer, dataclasses.replace(DESCRIPTION, metrics={"loss": float("nan")}))
    with pytest.raises(ValueError, match="time zone"):
        build_adapter(trainer, dataclasses.replace(DESCRIPTION, created_at=datetime(2026, 1, 1)))  # noqa: DTZ001
