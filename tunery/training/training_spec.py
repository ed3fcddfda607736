"""The hyper-parameters of one training job: what a quote fixes, a node runs and a manifest records."""

import math
from typing import Any, Final, Literal

import msgspec

from tunery.core.errors import InvalidInput

MAX_RANK: Final = 256


class TrainingSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hyper-parameters of a QLoRA job (https://arxiv.org/abs/2305.14314).

    `batch_rows` rows make one optimiser step; `micro_batch_tokens` bounds the padded tokens of one forward pass within
    it and changes memory, not the result beyond rounding. `warmup_ratio` is a share of all steps. `max_length` is in
    tokens: longer rows keep their beginning.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: Literal["all-linear"] = "all-linear"
    learning_rate: float = 2e-4
    batch_rows: int = 8
    epochs: int = 3
    warmup_ratio: float = 0.03
    scheduler: Literal["linear", "cosine"] = "cosine"
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    seed: int = 0
    max_length: int = 2_048
    micro_batch_tokens: int = 8_192

    def __post_init__(self) -> None:
        """Raise InvalidInput with the field's name when a value makes no sense."""
        _require(1 <= self.rank <= MAX_RANK, "rank", f"is from 1 to {MAX_RANK}")
        _require(_positive(self.alpha), "alpha", "is above 0")
        _require(0 <= self.dropout < 1, "dropout", "is from 0 to below 1")
        _require(_positive(self.learning_rate), "learning_rate", "is above 0")
        _require(self.batch_rows >= 1, "batch_rows", "is at least 1")
        _require(self.epochs >= 1, "epochs", "is at least 1")
        _require(0 <= self.warmup_ratio < 1, "warmup_ratio", "is from 0 to below 1")
        _require(_positive(self.max_grad_norm), "max_grad_norm", "is above 0")
        _require(math.isfinite(self.weight_decay) and self.weight_decay >= 0, "weight_decay", "is at least 0")
        _require(0 <= self.seed < 2**63, "seed", "is from 0 to below 2**63")
        _require(self.max_length >= 2, "max_length", "is at least 2 tokens")  # noqa: PLR2004
        _require(self.micro_batch_tokens >= 1, "micro_batch_tokens", "is at least 1")

    def within(self, context_length: int) -> "TrainingSpec":
        """The spec as a base model with that context can train it, in tokens."""
        return msgspec.structs.replace(self, max_length=min(self.max_length, context_length))

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON-ready values; `msgspec.convert(..., TrainingSpec)` reads it back."""
        return msgspec.structs.asdict(self)


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _require(holds: bool, field: str, rule: str) -> None:
    if not holds:
        raise InvalidInput(f"{field} {rule}", field=field)
