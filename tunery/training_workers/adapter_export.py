"""A trained adapter as files: PEFT's format, a model card, and the manifest that the vault signs."""

import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import peft
import safetensors.torch
from peft import PeftModel, get_peft_model_state_dict

from tunery.core.canonical import canonical_json
from tunery.training.adapter_files import check_adapter
from tunery.training.adapter_manifest import (
    CARD_NAME,
    CONFIG_NAME,
    MANIFEST_NAME,
    WEIGHTS_NAME,
    AdapterManifest,
    BaseIdentity,
    FileDigest,
    digest,
)
from tunery.training_workers.qlora import ADAPTER_NAME, QLoRATrainer


@dataclass(frozen=True, slots=True)
class AdapterDescription:
    """What a trainer doesn't know about its adapter. `metrics` are finite numbers by name; `licence` is an SPDX or
    Hugging Face identifier; `base_model` is the public name, never a path.
    """

    name: str
    version: str
    base_model: str
    dataset_sha256: str
    licence: str
    metrics: Mapping[str, float]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ExportedAdapter:
    """An adapter version: `files` are all its files, the manifest's `manifest_bytes` among them; the caller signs
    these and adds the signature as `tunery_signature.json`. `digest` is their SHA-256.
    """

    manifest: AdapterManifest
    manifest_bytes: bytes
    digest: str
    files: dict[str, bytes]


def export_adapter(trainer: QLoRATrainer, description: AdapterDescription, folder: Path) -> ExportedAdapter:
    """Write the adapter's files into `folder` and return them; equal trainers and descriptions give equal bytes.

    Raises ValueError for metrics that aren't finite or a time without zone, and OSError.
    """
    exported = build_adapter(trainer, description)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in exported.files.items():
        (folder / name).write_bytes(content)
    return exported


def build_adapter(trainer: QLoRATrainer, description: AdapterDescription) -> ExportedAdapter:
    """The adapter's files in memory, for callers that seal and store them. Raises as `export_adapter` does."""
    if description.created_at.tzinfo is None:
        raise ValueError("created_at needs a time zone")
    base = BaseIdentity(description.base_model, trainer.base.revision, trainer.base.weights_sha256)
    files = {
        WEIGHTS_NAME: _weights(trainer.model),
        CONFIG_NAME: _config(trainer, base),
        CARD_NAME: _card(trainer, description, base).encode(),
    }
    # What we sell must pass the checks that we hold others to.
    check_adapter(files, base_model=base.name)
    manifest = AdapterManifest(
        name=description.name,
        version=description.version,
        base_model=base,
        quantisation=trainer.base.quantisation,
        dataset_sha256=description.dataset_sha256,
        spec=trainer.spec,
        rows=trainer.rows,
        trained_tokens=trainer.tokens_done,
        metrics=dict(description.metrics),
        created_at=description.created_at.isoformat(),
        files={name: FileDigest.of(content) for name, content in files.items()},
    )
    content = manifest.to_bytes()
    return ExportedAdapter(manifest, content, digest(content), files | {MANIFEST_NAME: content})


def _weights(model: PeftModel) -> bytes:
    state: dict[str, Any] = get_peft_model_state_dict(model, adapter_name=ADAPTER_NAME)
    return safetensors.torch.save(
        {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, {"format": "pt"}
    )


def _config(trainer: QLoRATrainer, base: BaseIdentity) -> bytes:
    # Only what a plain LoRA needs: peft's own file also names modules to import and the local path of the base.
    config = trainer.model.peft_config[ADAPTER_NAME]
    return canonical_json(
        {
            "base_model_name_or_path": base.name,
            "bias": "none",
            "inference_mode": True,
            "init_lora_weights": True,
            "lora_alpha": trainer.spec.alpha,
            "lora_dropout": trainer.spec.dropout,
            "peft_type": "LORA",
            "peft_version": peft.__version__,
            "r": trainer.spec.rank,
            "revision": base.revision,
            "target_modules": sorted(config.target_modules),
            "task_type": "CAUSAL_LM",
        }
    )


def _card(trainer: QLoRATrainer, description: AdapterDescription, base: BaseIdentity) -> str:
    # JSON strings are YAML strings, so nothing a tenant types can add a field; in the body HTML is escaped.
    front = {
        "base_model": base.name,
        "library_name": "peft",
        "license": description.licence,
        "pipeline_tag": "text-generation",
        "tags": ["lora", "qlora", "tunery"],
    }
    name = html.escape(" ".join(description.name.split()))
    metrics = "\n".join(f"| {html.escape(key)} | {value:.6g} |" for key, value in sorted(description.metrics.items()))
    spec = "\n".join(f"| {key} | {value} |" for key, value in trainer.spec.to_dict().items())
    fields = "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())
    return f"""---
{fields}
---

# {name} {html.escape(description.version)}

A LoRA adapter of {html.escape(base.name)} (revision {html.escape(base.revision)}), trained by Tunery with QLoRA
({trainer.base.quantisation}) on {trainer.rows} conversations, {trainer.tokens_done} tokens in all epochs.

- Data set (SHA-256): {html.escape(description.dataset_sha256)}
- Base weights (SHA-256): {base.weights_sha256}

## Evaluation

| metric | value |
| --- | --- |
{metrics}

## Hyper-parameters

| parameter | value |
| --- | --- |
{spec}

## How to load

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

base = AutoModelForCausalLM.from_pretrained({json.dumps(base.name)}, revision={json.dumps(base.revision)})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
```

`{MANIFEST_NAME}` lists the hash of every file; its signature is checked offline with Tunery's public key.
"""
