"""Which rows are trained on and which are held out: fixed by the rows and the seed, so that quote and node agree."""

import random
from collections.abc import Sequence

from tunery.core.errors import InvalidInput
from tunery.training.tokenization import TokenizedRow

HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 200


class NothingToTrain(InvalidInput):
    """No token carries loss: the assistant's messages are empty, cut off, or not marked by the template."""

    code = "NO_TRAINABLE_TOKENS"


def split_rows(rows: Sequence[TokenizedRow], seed: int) -> tuple[list[TokenizedRow], list[TokenizedRow]]:
    """The training rows and the held-out ones, each in the data set's order.

    Rows without a token to train on (cut off, or not marked by the template) are in neither. At least one is held out.
    """
    useful = [row for row in rows if row.trainable_tokens > 0]
    count = min(max(1, round(len(useful) * HELD_OUT_SHARE)), MOST_HELD_OUT, len(useful))
    held_out = set(random.Random(seed).sample(range(len(useful)), count))  # noqa: S311 - a split, not a secret
    train = [row for index, row in enumerate(useful) if index not in held_out]
    return train, [row for index, row in enumerate(useful) if index in held_out]
