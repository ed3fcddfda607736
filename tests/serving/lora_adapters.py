"""Small adapters with random weights: distinct from each other and from their base, and complete with a manifest."""

import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from tunery.core.storage import ObjectStorage
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
from tunery.training.catalogue import BUNDLED_FOLDER
from tunery.training.training_spec import TrainingSpec
from tunery.training_workers.base_model import weights_digest

TINY = "tunery/tiny"
TINY_FOLDER = BUNDLED_FOLDER / "tiny"
RANK = 4
TARGETS = {"self_attn.q_proj": (256, 256), "mlp.down_proj": (256, 704)}


@dataclass
class MadeAdapter:
    digest: str
    files: dict[str, bytes]

    @property
    def prefix(self) -> str:
        return f"adapters/{self.digest}"

    async def store(self, storage: ObjectStorage) -> None:
        for name, content in self.files.items():
            await storage.put(f"{self.prefix}/{name}", content)

    def write(self, folder: Path) -> Path:
        folder.mkdir(parents=True)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


def random_weights(seed: int, *, scale: float = 0.5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for layer in range(4):
        for module, (features_out, features_in) in TARGETS.items():
            key = f"base_model.model.model.layers.{layer}.{module}"
            weights[f"{key}.lora_A.weight"] = torch.randn(RANK, features_in, generator=generator) / features_in**0.5
            weights[f"{key}.lora_B.weight"] = torch.randn(features_out, RANK, generator=generator) * scale
    return weights


def make_adapter(
    seed: int,
    *,
    weights: dict[str, torch.Tensor] | None = None,
    weight_bytes: bytes | None = None,
    base_model: str = TINY,
    weights_sha256: str | None = None,
    **config: object,
) -> MadeAdapter:
    settings = {
        "base_model_name_or_path": base_model,
        "inference_mode": True,
        "lora_alpha": 8,
        "peft_type": "LORA",
        "r": RANK,
        "target_modules": ["down_proj", "q_proj"],
        "task_type": "CAUSAL_LM",
        **config,
    }
    files = {
        CARD_NAME: b"# Made by a test\n",
        CONFIG_NAME: json.dumps(settings).encode(),
        WEIGHTS_NAME: weight_bytes or safetensors.torch.save(weights or random_weights(seed)),
    }
    manifest = AdapterManifest(
        name="made",
        version="1",
        base_model=BaseIdentity(base_model, "1", weights_sha256 or weights_digest(TINY_FOLDER)),
        quantisation="bitsandbytes-nf4-double",
        dataset_sha256="0" * 64,
        spec=TrainingSpec(rank=RANK, seed=seed),
        rows=1,
        trained_tokens=1,
        metrics={},
        created_at="2026-11-20T00:00:00+00:00",
        files={name: FileDigest.of(content) for name, content in files.items()},
    ).to_bytes()
    return MadeAdapter(digest(manifest), files | {MANIFEST_NAME: manifest})
