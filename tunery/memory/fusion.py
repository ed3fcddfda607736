"""One order out of several: reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

RANK_CONSTANT: Final = 60
"""The paper's k: how little the first places count more than those after them."""


WEIGHTS: Final = {"vector": 1.0, "terms": 1.0, "recency": 0.1}
"""What a leg's places count. That a memory is new says little of whether it answers: it comes after all that do, and
decides between them.
"""


@dataclass(frozen=True)
class Ranked:
    """A memory in a search's answer."""

    memory_id: UUID
    score: float
    legs: dict[str, int]
    """Its place in each leg that found it, counted from 1."""


def fuse(rankings: Mapping[str, Sequence[UUID]], limit: int, weights: Mapping[str, float] = WEIGHTS) -> list[Ranked]:
    """The best `limit` of all that any leg found: each place is worth its leg's weight / (60 + place). Of equal ones,
    the leg named first decides.
    """
    scores: dict[UUID, float] = defaultdict(float)
    places: dict[UUID, dict[str, int]] = defaultdict(dict)
    for leg, ranking in rankings.items():
        for place, memory_id in enumerate(ranking, 1):
            scores[memory_id] += weights[leg] / (RANK_CONSTANT + place)
            places[memory_id][leg] = place
    best = sorted(scores, key=lambda memory_id: -scores[memory_id])[:limit]
    return [Ranked(memory_id, scores[memory_id], places[memory_id]) for memory_id in best]
