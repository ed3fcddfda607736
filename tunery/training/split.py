"""Which rows are trained on and which are held out: fixed by count and seed, so that quote and node agree."""

import random

HELD_OUT_SHARE = 0.1
MOST_HELD_OUT = 200


def split_rows(rows: int, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training rows and of the held-out ones, each in the data set's order; at least one is held out."""
    count = min(max(1, round(rows * HELD_OUT_SHARE)), MOST_HELD_OUT)
    held_out = set(random.Random(seed).sample(range(rows), count))  # noqa: S311 - a split, not a secret
    return [row for row in range(rows) if row not in held_out], sorted(held_out)
