"""The vectors: clusters of unit vectors, each cluster one tenant's, and queries within them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 384
SPREAD = 0.6
"""How far vectors lie from their cluster's centre: their cosine with it is about 0.86, with each other 0.74."""
CLUSTER_ROWS = 100

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Corpus:
    """Rows and the cluster of each. With `tenants` tenants, cluster c belongs to tenant c % tenants."""

    centres: Matrix
    vectors: Matrix
    clusters: NDArray[np.int64]

    @classmethod
    def make(cls, rows: int, seed: int) -> "Corpus":
        random = np.random.default_rng(seed)
        centres = _unit(random.standard_normal((rows // CLUSTER_ROWS, DIMENSIONS), dtype=np.float32))
        clusters = random.integers(len(centres), size=rows)
        return cls(centres, _around(centres[clusters], random), clusters)

    @cached_property
    def half(self) -> NDArray[np.float16]:
        return self.vectors.astype(np.float16)

    def owners(self, tenants: int) -> NDArray[np.int64]:
        """Each row's tenant."""
        return self.clusters % tenants

    def largest(self, tenants: int, count: int) -> list[int]:
        """The tenants with most rows, the largest first."""
        rows = np.bincount(self.owners(tenants), minlength=tenants)
        return [int(tenant) for tenant in np.argsort(-rows, kind="stable")[:count]]

    def rows_of(self, tenants: int, tenant: int) -> NDArray[np.int64]:
        return np.flatnonzero(self.owners(tenants) == tenant)

    def queries(self, tenants: int, tenant: int, count: int, seed: int) -> dict[str, Matrix]:
        """By where they lie: in the tenant's own clusters, and in those of others."""
        random = np.random.default_rng((seed, tenants, tenant))
        owner = np.arange(len(self.centres)) % tenants
        return {
            "own": _around(self.centres[random.choice(np.flatnonzero(owner == tenant), count)], random),
            "foreign": _around(self.centres[random.choice(np.flatnonzero(owner != tenant), count)], random),
        }

    def places(self, tenants: int, tenant: int, count: int, seed: int) -> dict[str, Matrix]:
        """Where others have a cluster each, and where nobody has anything."""
        random = np.random.default_rng((seed, tenants, tenant))
        foreign = np.flatnonzero(np.arange(len(self.centres)) % tenants != tenant)
        return {
            "dense": self.centres[random.choice(foreign, count, replace=False)],
            "empty": _unit(random.standard_normal((count, DIMENSIONS), dtype=np.float32)),
        }

    def around(self, centres: Matrix, count: int, seed: int) -> Matrix:
        """So many vectors around each."""
        return _around(np.repeat(centres, count, axis=0), np.random.default_rng(seed))

    def nearest(self, rows: NDArray[np.int64], query: Matrix, count: int) -> set[int]:
        """Among these rows, in single precision."""
        return {int(row) for row in rows[np.argsort(-(self.vectors[rows] @ query))[:count]]}


def _around(centres: Matrix, random: np.random.Generator) -> Matrix:
    noise = random.standard_normal(centres.shape, dtype=np.float32)
    return _unit(centres + noise * np.float32(SPREAD / DIMENSIONS**0.5))


def _unit(vectors: Matrix) -> Matrix:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
