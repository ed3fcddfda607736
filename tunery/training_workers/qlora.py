"""QLoRA training of one job: a frozen 4-bit base, fp32 LoRA masters, AdamW, one optimiser step per call."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from tunery.core.errors import DomainError
from tunery.training.split import NothingToTrain
from tunery.training.tokenization import TokenizedRow
from tunery.training.training_spec import TrainingSpec
from tunery.training_workers.base_model import (
    BaseModel,
    DropoutKey,
    KeyedDropout,
    derive_seed,
    set_dropout,
    share_weights,
)
from tunery.training_workers.checkpoints import CheckpointRefused, TrainerState
from tunery.training_workers.loss import micro_batches, summed_loss

ADAPTER_NAME: Final = "default"
"""Peft's own name for the only adapter of a model; exported files don't show it."""

_PATIENCE: Final = 3
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")


class TrainingDiverged(DomainError):
    """Loss or gradient was not finite three steps in a row."""

    code = "TRAINING_DIVERGED"


@dataclass(frozen=True, slots=True)
class StepResult:
    """One optimiser step.

    `step` counts from 1, `epoch` from 0. `loss` is the mean over the step's trainable tokens, in fp32, before the
    update; `grad_norm` the gradient's norm before clipping; `learning_rate` the one that was applied. `tokens` are
    all tokens of the step's rows without padding, the ones that are billed. `skipped`: loss or gradient was not
    finite and the weights are unchanged.
    """

    step: int
    epoch: int
    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    trainable_tokens: int
    skipped: bool


class QLoRATrainer:
    """Trains one adapter on a shared base. Not safe to use from two threads at once.

    The result depends on base, spec and rows alone (on one machine and number of threads): the order of the rows and
    every dropout mask derive from (seed, epoch or step), so stopping, resuming and evaluating in between change no
    bit. Rows that have nothing to train on, or lose it by truncation, are left out and not billed
    (`rows_left_out`).
    """

    def __init__(self, base: BaseModel, spec: TrainingSpec, rows: Sequence[TokenizedRow]) -> None:
        """Put a fresh adapter on `base`. Raises NothingToTrain."""
        cut = [_truncated(row, spec.max_length) for row in rows]
        self._rows = [row for row in cut if row.trainable_tokens > 0]
        if not self._rows:
            raise NothingToTrain("No row has a token to train on: nothing of the assistant's is marked.", field="rows")
        self.base: Final = base
        self.spec: Final = spec
        self.rows_left_out: Final = len(cut) - len(self._rows)
        self.steps_total: Final = spec.epochs * self._steps_per_epoch
        self._rows_sha256 = _rows_digest(self._rows)
        self._dropout_key = DropoutKey(spec.seed)
        self.model: Final = self._adapted(base, spec)
        self._parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=spec.learning_rate, weight_decay=spec.weight_decay
        )
        self.steps_done = 0
        self.tokens_done = 0
        self.trainable_tokens_done = 0
        self._skipped_in_a_row = 0
        self._order: tuple[int, list[int]] = (-1, [])

    @property
    def finished(self) -> bool:
        return self.steps_done >= self.steps_total

    @property
    def rows(self) -> int:
        """How many rows are trained on per epoch."""
        return len(self._rows)

    def step(self) -> StepResult:
        """Train on the next `batch_rows` rows.

        Raises TrainingDiverged at the third step in a row whose loss or gradient isn't finite, and RuntimeError when
        all steps are done.
        """
        if self.finished:
            raise RuntimeError("all steps are done")
        epoch, batch = self._batch(self.steps_done)
        trainable = sum(row.trainable_tokens for row in batch)
        learning_rate = self._learning_rate(self.steps_done)
        loss = self._backward(batch, trainable)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), self.spec.max_grad_norm).item()
        skipped = not (math.isfinite(loss) and math.isfinite(norm))
        if not skipped:
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate
            self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0
        if self._skipped_in_a_row >= _PATIENCE:
            raise TrainingDiverged(
                f"The loss or its gradient wasn't finite for {_PATIENCE} steps in a row, up to step {self.steps_done}."
                " A lower learning rate usually helps.",
                field="learning_rate",
            )
        tokens = sum(row.tokens for row in batch)
        if not skipped:  # what taught nothing is not billed
            self.tokens_done += tokens
            self.trainable_tokens_done += trainable
        return StepResult(self.steps_done, epoch, loss, norm, learning_rate, tokens, trainable, skipped)

    def state(self) -> TrainerState:
        """A copy of everything that the next step depends on beside base and rows."""
        tensors = {}
        for name, parameter in self._parameters.items():
            tensors[f"adapter/{name}"] = parameter.detach().to("cpu", copy=True)
            for moment, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer/{name}/{moment}"] = value.detach().to("cpu", copy=True)
        counts = {
            "steps_done": self.steps_done,
            "tokens_done": self.tokens_done,
            "trainable_tokens_done": self.trainable_tokens_done,
            "skipped_in_a_row": self._skipped_in_a_row,
        }
        return TrainerState(tensors, {"run": self._run(), "progress": counts})

    def load_state(self, state: TrainerState) -> None:
        """Go on from `state`.

        Raises CheckpointRefused, with the trainer unchanged, when it is of another base, spec or rows, or its tensors
        don't fit.
        """
        run, progress = state.metadata.get("run"), state.metadata.get("progress")
        if run != self._run():
            raise CheckpointRefused("The checkpoint belongs to a run with another base, spec or rows.")
        try:
            counts = msgspec.convert(progress, _Progress)
        except msgspec.ValidationError as error:
            raise CheckpointRefused(f"The checkpoint's progress can't be read: {error}") from error
        moments = self._moments_in(state)
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(state.tensors[f"adapter/{name}"])
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.steps_done = counts.steps_done
        self.tokens_done = counts.tokens_done
        self.trainable_tokens_done = counts.trainable_tokens_done
        self._skipped_in_a_row = counts.skipped_in_a_row

    @property
    def _steps_per_epoch(self) -> int:
        return math.ceil(len(self._rows) / self.spec.batch_rows)

    def _adapted(self, base: BaseModel, spec: TrainingSpec) -> PeftModel:
        config = LoraConfig(
            r=spec.rank,
            lora_alpha=spec.alpha,
            lora_dropout=spec.dropout,
            target_modules=spec.target_modules,
            bias="none",
            task_type="CAUSAL_LM",
        )
        devices = [base.device] if base.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(derive_seed(spec.seed, "adapter"))
            model = get_peft_model(share_weights(base.model), config, adapter_name=ADAPTER_NAME)
        for name, module in list(model.named_modules()):
            dropouts = getattr(module, "lora_dropout", None)
            if spec.dropout > 0 and isinstance(dropouts, torch.nn.ModuleDict):
                dropouts[ADAPTER_NAME] = KeyedDropout(spec.dropout, self._dropout_key, name)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        set_dropout(model, active=True)
        return model

    def _batch(self, step: int) -> tuple[int, list[TokenizedRow]]:
        epoch, index = divmod(step, self._steps_per_epoch)
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(derive_seed(self.spec.seed, "order", epoch))
            self._order = (epoch, torch.randperm(len(self._rows), generator=generator).tolist())
        start = index * self.spec.batch_rows
        return epoch, [self._rows[row] for row in self._order[1][start : start + self.spec.batch_rows]]

    def _backward(self, batch: Sequence[TokenizedRow], trainable: int) -> float:
        """Leave the gradient of the batch's mean loss in the parameters; returns that loss."""
        total = 0.0
        self._dropout_key.step = self.steps_done
        for index, part in enumerate(micro_batches(batch, self.spec.micro_batch_tokens)):
            self._dropout_key.micro_batch = index
            loss = summed_loss(self.model, part, self.base.device)
            (loss / trainable).backward()  # type: ignore[no-untyped-call]  # torch leaves Tensor.backward untyped
            total += loss.item()
        return total / trainable

    def _learning_rate(self, step: int) -> float:
        """The rate of the step at index `step`: a linear warm-up that never is 0, then down to 0 at the end."""
        warmup = math.ceil(self.spec.warmup_ratio * self.steps_total)
        if step < warmup:
            return self.spec.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps_total - warmup)
        share = 1 - done if self.spec.scheduler == "linear" else (1 + math.cos(math.pi * done)) / 2
        return self.spec.learning_rate * share

    def _run(self) -> dict[str, Any]:
        return {
            "base_revision": self.base.revision,
            "base_weights_sha256": self.base.weights_sha256,
            "quantisation": self.base.quantisation,
            "spec": self.spec.to_dict(),
            "rows_sha256": self._rows_sha256,
        }

    def _moments_in(self, state: TrainerState) -> dict[int, dict[str, torch.Tensor]]:
        """The optimiser's state by parameter index; checks every tensor of `state` before any is used."""
        expected: set[str] = set()
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for index, (name, parameter) in enumerate(self._parameters.items()):
            shapes = {f"adapter/{name}": parameter.shape}
            if f"optimizer/{name}/step" in state.tensors:
                shapes |= {f"optimizer/{name}/{moment}": parameter.shape for moment in _MOMENTS}
                shapes[f"optimizer/{name}/step"] = torch.Size()
            for key, shape in shapes.items():
                tensor = state.tensors.get(key)
                if tensor is None or tensor.shape != shape or tensor.dtype != torch.float32:
                    raise CheckpointRefused(f"The checkpoint's tensor {key} is missing or doesn't fit.")
            if len(shapes) > 1:
                moments[index] = {key: state.tensors[f"optimizer/{name}/{key}"].clone() for key in _MOMENTS}
            expected |= shapes.keys()
        if expected != state.tensors.keys():
            raise CheckpointRefused("The checkpoint holds tensors that don't belong to this run.")
        return moments


class _Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    steps_done: int
    tokens_done: int
    trainable_tokens_done: int
    skipped_in_a_row: int


def _truncated(row: TokenizedRow, length: int) -> TokenizedRow:
    if row.tokens <= length:
        return row
    return TokenizedRow(row.input_ids[:length], row.labels[:length], truncated=True)


def _rows_digest(rows: Sequence[TokenizedRow]) -> str:
    sha256 = hashlib.sha256()
    for row in rows:
        sha256.update(msgspec.msgpack.encode((row.input_ids, row.labels)))
    return sha256.hexdigest()
