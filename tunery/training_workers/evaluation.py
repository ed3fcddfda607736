"""The loss of an adapter, or of its base, on held-out rows."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from peft import PeftModel

from tunery.core.errors import InvalidInput
from tunery.training.tokenization import TokenizedRow
from tunery.training_workers.base_model import set_dropout
from tunery.training_workers.loss import micro_batches, summed_loss

_MICRO_BATCH_TOKENS = 8_192


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """`loss` is the mean over `tokens`, the assistant's tokens of `rows` rows; `perplexity` is exp(loss)."""

    loss: float
    perplexity: float
    tokens: int
    rows: int


def evaluate(model: PeftModel, rows: Sequence[TokenizedRow], *, use_adapter: bool = True) -> EvaluationResult:
    """Evaluate a trainer's model on held-out rows, without dropout; `use_adapter=False` gives the base's figures.

    The model trains on afterwards as if nothing had happened. Raises InvalidInput when no row has a token to predict.
    """
    rows = [row for row in rows if row.trainable_tokens > 0]
    if not rows:
        raise InvalidInput("No held-out row has an assistant's token to predict.", field="rows")
    device = next(model.parameters()).device
    total = 0.0
    with torch.no_grad(), _without_dropout(model), nullcontext() if use_adapter else model.disable_adapter():
        for part in micro_batches(rows, _MICRO_BATCH_TOKENS):
            total += summed_loss(model, part, device).item()
    tokens = sum(row.trainable_tokens for row in rows)
    loss = total / tokens
    # Past 700 the exponential leaves the range of a double; a manifest takes finite numbers only.
    return EvaluationResult(loss, math.exp(min(loss, 700.0)), tokens, len(rows))


@contextmanager
def _without_dropout(model: torch.nn.Module) -> Iterator[None]:
    set_dropout(model, active=False)
    try:
        yield
    finally:
        set_dropout(model, active=True)
