"""The loss of a few rows: summed over their trainable tokens, in fp32."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.nn import functional

from tunery.training.tokenization import IGNORED_LABEL, TokenizedRow


def micro_batches(rows: Sequence[TokenizedRow], tokens: int) -> Iterator[list[TokenizedRow]]:
    """Split rows, in order, so that each part takes at most `tokens` after padding; a longer row goes alone.

    The split depends on the rows alone, so that a job computes the same wherever and beside whatever it runs.
    """
    part: list[TokenizedRow] = []
    longest = 0
    for row in rows:
        if part and max(longest, row.tokens) * (len(part) + 1) > tokens:
            yield part
            part, longest = [], 0
        part.append(row)
        longest = max(longest, row.tokens)
    if part:
        yield part


def summed_loss(model: Any, rows: Sequence[TokenizedRow], device: torch.device) -> torch.Tensor:
    """Cross entropy of the rows' trainable tokens: an fp32 scalar, summed, not averaged.

    Rows are padded on the right to the longest; causal attention never looks there, so no mask is needed, and
    padding predicts nothing. Logits are computed only where some row has a label to predict:
    prompts are most of a chat, and logits most of a small model's memory.
    """
    longest = max(row.tokens for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED_LABEL, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : row.tokens] = torch.tensor(row.input_ids)
        labels[index, : row.tokens] = torch.tensor(row.labels)
    predicting = (labels[:, 1:] != IGNORED_LABEL).any(dim=0).nonzero().squeeze(1)
    targets = labels[:, predicting + 1].to(device)
    with _autocast(device):
        logits = model(
            input_ids=ids.to(device),
            logits_to_keep=predicting.to(device),
            use_cache=False,
        ).logits
    return functional.cross_entropy(
        logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED_LABEL, reduction="sum"
    )


def _autocast(device: torch.device) -> AbstractContextManager[object]:
    # On CUDA the fp32 adapter multiplies in bf16 like its base; the masters and their gradients stay fp32.
    return torch.autocast("cuda", dtype=torch.bfloat16) if device.type == "cuda" else nullcontext()
