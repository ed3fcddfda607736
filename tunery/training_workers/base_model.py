"""Frozen base models in 4 bits: NF4 with double quantisation (QLoRA, https://arxiv.org/abs/2305.14314)."""

import copy
import hashlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import bitsandbytes
import torch
import transformers
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from tunery.core.canonical import canonical_json
from tunery.core.errors import InvalidInput
from tunery.training.adapter_files import digest_file

QUANTISATION: Final = "bitsandbytes-nf4-double"


class BaseModelUnusable(InvalidInput):
    """The folder holds no base model that can be loaded without running its code."""

    code = "BASE_MODEL_UNUSABLE"


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A loaded base. Its weights are shared and read-only: train on `share_weights(model)`, never on `model` itself.

    `weights_sha256` identifies the weights as downloaded (before quantisation), see `weights_digest`.
    """

    model: torch.nn.Module
    revision: str
    weights_sha256: str
    device: torch.device
    compute_dtype: torch.dtype
    quantisation: str = QUANTISATION


class BaseModelCache:
    """Loads each (folder, revision) once. Safe to share between threads."""

    def __init__(self, device: torch.device | str | None = None) -> None:
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._loaded: dict[tuple[Path, str], BaseModel] = {}
        self._lock = threading.Lock()

    def get(self, folder: Path, revision: str) -> BaseModel:
        """The base in `folder`, quantised; the first call reads and hashes it. Raises BaseModelUnusable."""
        key = (folder.resolve(), revision)
        with self._lock:
            if key not in self._loaded:
                self._loaded[key] = load_base_model(folder, revision, device=self._device)
            return self._loaded[key]


def load_base_model(folder: Path, revision: str, *, device: torch.device | str) -> BaseModel:
    """Load a base from a local folder of safetensors and quantise it; computes in bf16 on CUDA, in fp32 on a CPU.

    Nothing is downloaded and no code of the folder runs. Raises BaseModelUnusable.
    """
    transformers.utils.logging.disable_progress_bar()
    device = torch.device(device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            quantization_config=quantisation,
            dtype=dtype,
            device_map={"": device},
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
        sha256 = weights_digest(folder)
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelUnusable(f"The base model in {folder.name} can't be loaded: {error}") from error
    model.requires_grad_(requires_grad=False)
    set_dropout(model, active=False)
    return BaseModel(model, revision, sha256, device, dtype)


def limit_threads(threads: int) -> None:
    """How many CPU threads torch may use; two that fight over one core are slower than one."""
    torch.set_num_threads(threads)


def weights_digest(folder: Path) -> str:
    """SHA-256 of the folder's one safetensors file; of several, that of the canonical JSON `{name: sha256}`."""
    digests = {path.name: digest_file(path).sha256 for path in sorted(folder.glob("*.safetensors"))}
    if not digests:
        raise BaseModelUnusable(f"{folder.name} holds no safetensors file.")
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256(canonical_json(digests)).hexdigest()


def share_weights(model: torch.nn.Module) -> Any:
    """A copy of the modules over the same tensors: adapters put into it don't show in `model` or in other copies."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            shared[id(module.quant_state)] = module.quant_state
    return copy.deepcopy(model, shared)


def set_dropout(model: torch.nn.Module, *, active: bool) -> None:
    """Evaluation mode except for quantised modules and, if `active`, the adapter's dropout.

    Never call `eval()` on a base instead, also not to serve with it: on a CPU with AVX-512 BF16 bitsandbytes' layers
    then re-pack their weights in place at the first forward pass, for a kernel without a backward, and back whenever
    peft reads the state dict to load an adapter. Training would give wrong gradients or fail, and each round trip
    rounds the weights anew, so that loading one adapter would change what the others answer.
    """
    model.eval()
    for module in model.modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            module.training = True
        elif isinstance(module, KeyedDropout):
            module.training = active


class DropoutKey:
    """Where a trainer is: what its dropout masks depend on, and nothing else."""

    def __init__(self, seed: int) -> None:
        self.seed: Final = seed
        self.step = 0
        self.micro_batch = 0


class KeyedDropout(torch.nn.Module):
    """Dropout whose mask is a function of (seed, step, micro-batch, module).

    No random state has to be kept: a resumed run draws the same masks as an uninterrupted one, and a job draws the
    same ones alone as beside others.
    """

    def __init__(self, probability: float, key: DropoutKey, module: str) -> None:
        super().__init__()
        self.probability: Final = probability
        self._key = key
        self._module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        key = self._key
        seed = derive_seed(key.seed, "dropout", key.step, key.micro_batch, self._module)
        generator = torch.Generator(x.device).manual_seed(seed)
        keep = torch.rand(x.shape, generator=generator, device=x.device) >= self.probability
        return x * keep / (1 - self.probability)


def derive_seed(seed: int, *purpose: int | str) -> int:
    """An independent 63-bit seed for each purpose, the same on every platform."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
