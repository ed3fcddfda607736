"""The memories whose vectors lie nearest to a new one's, among those of the same subject, agent and kind: exactly,
because they are few, and because a near duplicate that is overlooked stays for good.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Final
from uuid import UUID

import numpy as np
from sqlalchemy import ARRAY, DateTime, Float, Integer, Text, TextClause, Uuid, bindparam, select, text

from tunery.core.database import UnitOfWork
from tunery.memory.index import shelves_of
from tunery.memory.merging import NEAR
from tunery.memory.models import Memory, MemoryStore, overlap
from tunery.memory.sealed_store import MOST_COMPARED, Kept, Vector, keeps_sealed, load_living, vector_of
from tunery.memory.subjects import OpenedSubject
from tunery.vault.sealing import UnsealingFailed

MOST_OPENED: Final = 20_000
"""In a sealed store, of all groups together: they are opened while others wait for their subjects."""
CANDIDATES: Final = 5
"""Whose texts are compared: the nearest may differ in a number, and the next one in nothing."""


@dataclass(frozen=True)
class Sought:
    """A memory: who it is about, when it holds, and its vector of unit length."""

    subject: OpenedSubject
    agent: str
    kind: str
    valid_from: datetime
    valid_to: datetime | None
    vector: Sequence[float]


async def find_nearest(
    uow: UnitOfWork, store: MemoryStore, model: str, sought: Sequence[Sought | None]
) -> list[list[Memory]]:
    """For each, the living memories that are at least NEAR, the nearest first. None finds nothing."""
    asked = [(number, one) for number, one in enumerate(sought) if one is not None]
    if not asked:
        return [[] for _ in sought]
    ranked = await (_ranked_sealed if keeps_sealed(store) else _ranked_open)(uow, store, model, asked)
    wanted = {memory_id for near in ranked.values() for memory_id in near}
    rows = await uow.session.scalars(select(Memory).where(Memory.id.in_(wanted), Memory.merged_into.is_(None)))
    memories = {memory.id: memory for memory in rows}
    return [
        [memories[memory_id] for memory_id in ranked.get(number, ()) if memory_id in memories]
        for number in range(len(sought))
    ]


def near_pairs(vectors: Sequence[Sequence[float] | None]) -> dict[int, list[int]]:
    """Within a batch: for each vector the earlier ones that are at least NEAR, the nearest first."""
    numbers = [number for number, vector in enumerate(vectors) if vector is not None]
    if len(numbers) < 2:  # noqa: PLR2004 - a pair
        return {}
    matrix = np.array([vectors[number] for number in numbers], dtype=np.float32)
    cosines = matrix @ matrix.T
    return {
        number: [numbers[column] for column in np.argsort(-cosines[row, :row]) if cosines[row, column] >= NEAR]
        for row, number in enumerate(numbers)
    }


_NEAREST: Final = """
    WITH asked AS MATERIALIZED (
        SELECT number, subject, agent, kind, valid_from, valid_to, vector::halfvec AS vector
        FROM unnest(:numbers, :subjects, :agents, :kinds, :starts, :ends, :vectors)
          AS asked(number, subject, agent, kind, valid_from, valid_to, vector)
    )
    SELECT asked.number, near.memory_id
    FROM asked CROSS JOIN LATERAL (
        SELECT memory_id, embedding <#> asked.vector AS distance FROM memory_index found
        WHERE shelf IN ({shelves}) AND tenant_id = :tenant AND embedding_model = :model AND dimensions = :dimensions
          AND subject_id = asked.subject AND found.agent = asked.agent AND found.kind = asked.kind
          AND (found.valid_from <= asked.valid_from OR asked.valid_to IS NULL OR found.valid_from < asked.valid_to)
          AND (found.valid_to IS NULL OR found.valid_to > asked.valid_from)
          AND (expires_at IS NULL OR expires_at > :now)
          AND embedding <#> asked.vector <= :distance
        ORDER BY distance LIMIT :candidates
    ) AS near
    ORDER BY asked.number, near.distance
"""
"""pgvector's `<#>` is the inner product's negative: of vectors of length 1 the cosine's. The column is not cast to its
dimensions, as in the index over a shelf, so no plan searches that. Materialised, a vector is parsed once, not for every
row that it is compared with. Shelves stand in it as literals: by them the planner finds the partition.
"""
_PARAMETERS: Final = (
    bindparam("numbers", type_=ARRAY(Integer)),
    bindparam("subjects", type_=ARRAY(Uuid)),
    bindparam("agents", type_=ARRAY(Text)),
    bindparam("kinds", type_=ARRAY(Text)),
    bindparam("starts", type_=ARRAY(DateTime(timezone=True))),
    bindparam("ends", type_=ARRAY(DateTime(timezone=True))),
    bindparam("vectors", type_=ARRAY(Text)),
    bindparam("tenant", type_=Uuid),
    bindparam("model", type_=Text),
    bindparam("dimensions", type_=Integer),
    bindparam("now", type_=DateTime(timezone=True)),
    bindparam("distance", type_=Float),
    bindparam("candidates", type_=Integer),
)


@lru_cache(maxsize=256)
def _nearest_on(shelves: tuple[int, ...]) -> TextClause:
    return text(_NEAREST.format(shelves=", ".join(str(int(shelf)) for shelf in shelves))).bindparams(*_PARAMETERS)


async def _ranked_open(
    uow: UnitOfWork, store: MemoryStore, model: str, asked: Iterable[tuple[int, Sought]]
) -> dict[int, list[UUID]]:
    numbers, sought = zip(*asked, strict=True)
    rows = await uow.session.execute(
        _nearest_on(tuple(shelves_of(store))),
        {
            "numbers": list(numbers),
            "subjects": [one.subject.id for one in sought],
            "agents": [one.agent for one in sought],
            "kinds": [one.kind for one in sought],
            "starts": [one.valid_from for one in sought],
            "ends": [one.valid_to for one in sought],
            "vectors": [f"[{','.join(map(repr, one.vector))}]" for one in sought],
            "tenant": uow.tenant_id,
            "model": model,
            "dimensions": len(sought[0].vector),
            "now": uow.now(),
            "distance": -NEAR,
            "candidates": CANDIDATES,
        },
    )
    ranked: dict[int, list[UUID]] = {}
    for number, memory_id in rows:
        ranked.setdefault(number, []).append(memory_id)
    return ranked


async def _ranked_sealed(
    uow: UnitOfWork, store: MemoryStore, model: str, asked: Iterable[tuple[int, Sought]]
) -> dict[int, list[UUID]]:
    """Opened here and compared here, the newest of each group. What small groups leave, larger ones may take."""
    groups: dict[tuple[UUID, str, str], list[tuple[int, Sought]]] = {}
    for number, one in asked:
        groups.setdefault((one.subject.id, one.agent, one.kind), []).append((number, one))
    ranked: dict[int, list[UUID]] = {}
    left = MOST_OPENED
    for done, members in enumerate(groups.values()):
        first = members[0][1]
        known = await load_living(
            uow,
            store,
            subject_id=first.subject.id,
            agent=first.agent,
            kinds=(first.kind,),
            limit=min(MOST_COMPARED, left // (len(groups) - done)),
        )
        left -= len(known)
        # Opening thousands of vectors takes a while; others are served meanwhile.
        ranked.update(await asyncio.to_thread(_rank, members, known, model))
    return ranked


def _rank(members: Sequence[tuple[int, Sought]], known: Iterable[Kept], model: str) -> dict[int, list[UUID]]:
    """Of one group."""
    with_vector = list(_vectors(members[0][1].subject, known, model))
    if not with_vector:
        return {}
    matrix, ranked = np.stack([vector for _, vector in with_vector]), {}
    for number, one in members:
        cosines = matrix @ np.asarray(one.vector, dtype=np.float32)
        near = (with_vector[place][0] for place in np.argsort(-cosines) if cosines[place] >= NEAR)
        held = (kept for kept in near if overlap(kept.valid_from, kept.valid_to, one.valid_from, one.valid_to))
        ranked[number] = [kept.id for kept in islice(held, CANDIDATES)]
    return ranked


def _vectors(subject: OpenedSubject, known: Iterable[Kept], model: str) -> Iterator[tuple[Kept, Vector]]:
    for kept in known:
        # What doesn't open is nobody's duplicate: the vault has logged it, and who remembers need not wait for its end.
        with contextlib.suppress(UnsealingFailed):
            vector = vector_of(subject, kept, model)
            if vector is not None:
                yield kept, vector
