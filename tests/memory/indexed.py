"""A tenant's rows of the memory index, written and searched as the use cases do, without texts to embed."""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text

from tests.conftest import SignedUpTenant
from tunery.core.database import Database, UnitOfWork
from tunery.core.services import Services
from tunery.memory.fusion import Ranked
from tunery.memory.index import IndexEntry, add_to_index, unit_length
from tunery.memory.models import MemoryStore
from tunery.memory.search import search
from tunery.memory.search_statement import SearchQuery, statement_for
from tunery.memory.stores import lock_store, open_store

MODEL = "test/model.v1:half"
"""With all that a model's name may have: it stands in statements as it is."""
DIMENSIONS = 32
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)

Vector = Sequence[float]


class IndexedTenant:
    """Rows are as old as they are late: each is a second newer than the one before it."""

    def __init__(self, services: Services, tenant: SignedUpTenant, model: str = MODEL, dimensions: int = DIMENSIONS):
        self.database = services.get(Database)
        self.tenant_id = tenant.tenant_id
        self.model = model
        self.dimensions = dimensions
        self.vectors: dict[UUID, Vector] = {}
        self._added = 0

    async def add(self, vectors: Sequence[Vector | None], **given: Any) -> list[UUID]:
        async with self.database.unit_of_work(self.tenant_id) as uow:
            return await self.add_within(uow, vectors, **given)

    async def add_within(self, uow: UnitOfWork, vectors: Sequence[Vector | None], **given: Any) -> list[UUID]:
        store = await lock_store(uow)
        if store.embedding_model is None:
            store.embedding_model, store.dimensions = self.model, self.dimensions
        entries = [self._entry(vector, **given) for vector in vectors]
        await add_to_index(uow, store, entries, embedding_model=self.model)
        self.vectors |= {entry.memory_id: entry.embedding for entry in entries if entry.embedding is not None}
        return [entry.memory_id for entry in entries]

    def _entry(self, vector: Vector | None, **given: Any) -> IndexEntry:
        self._added += 1
        known = {"subject_id": UUID(int=1), "agent": "helper", "kind": "fact", "valid_from": BEGINNING}
        created_at = BEGINNING + timedelta(seconds=self._added)
        return IndexEntry(**{"memory_id": uuid4(), "created_at": created_at, **known, "embedding": vector, **given})

    def query(self, vector: Vector | None, **given: Any) -> SearchQuery:
        everything = {"terms": (), "subject_id": None, "agent": None, "kinds": (), "as_of": datetime.now(UTC)}
        model = None if vector is None else self.model
        return SearchQuery(**{"embedding": vector, "embedding_model": model, **everything, **given})

    async def find(self, vector: Vector | None, limit: int = 10, **given: Any) -> list[Ranked]:
        async with self.database.unit_of_work(self.tenant_id, snapshot=True) as uow:
            return await search(uow, await open_store(uow), self.query(vector, **given), limit)

    async def nearest(self, vector: Vector, limit: int = 10, **given: Any) -> list[UUID]:
        """By the leg of embeddings alone."""
        found = [ranked for ranked in await self.find(vector, 4 * limit, **given) if "vector" in ranked.legs]
        return [ranked.memory_id for ranked in sorted(found, key=lambda ranked: ranked.legs["vector"])][:limit]

    def similarities(self, vector: Vector, memory_ids: Iterable[UUID]) -> list[float]:
        return [sum(a * b for a, b in zip(self.vectors[memory_id], vector, strict=True)) for memory_id in memory_ids]

    def best_similarities(self, vector: Vector, limit: int = 10, among: Iterable[UUID] | None = None) -> Any:
        """Of all, in double precision. To compare with what half precision found."""
        similarities = self.similarities(vector, self.vectors if among is None else among)
        return pytest.approx(sorted(similarities, reverse=True)[:limit], abs=1e-3)

    async def store(self) -> MemoryStore:
        async with self.database.unit_of_work(self.tenant_id) as uow:
            return await open_store(uow)

    async def explain(self, vector: Vector, limit: int = 10, **given: Any) -> dict[str, Any]:
        """How PostgreSQL answers it, as the application's role."""
        async with self.database.unit_of_work(self.tenant_id) as uow:
            asked = statement_for(await open_store(uow), self.query(vector, **given), limit, now=uow.now())
            explained = text(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {asked.clause.text}")
            typed = explained.bindparams(*asked.clause._bindparams.values())
            for _ in range(2):  # for the first one PostgreSQL also looks up what it has not needed before
                [plan] = await uow.session.scalar(typed, asked.parameters)
        return plan["Plan"]


class Points:
    """Unit vectors: around a point, or anywhere."""

    def __init__(self, seed: int, dimensions: int = DIMENSIONS) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self.dimensions = dimensions

    def anywhere(self, count: int) -> list[Vector]:
        return [unit_length([self._random.gauss(0, 1) for _ in range(self.dimensions)]) for _ in range(count)]

    def around(self, centre: Vector, count: int, spread: float = 0.3) -> list[Vector]:
        scale = spread / self.dimensions**0.5
        return [unit_length([at + self._random.gauss(0, scale) for at in centre]) for _ in range(count)]


async def shelf_of_rows(owner: asyncpg.Connection, tenant_id: UUID) -> dict[int, int]:
    """How many of the tenant's rows lie on which shelf."""
    rows = await owner.fetch("SELECT shelf, count(*) FROM memory_index WHERE tenant_id = $1 GROUP BY shelf", tenant_id)
    return dict(map(tuple, rows))
