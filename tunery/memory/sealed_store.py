"""Memories of a store whose embeddings are sealed: opened in this process, compared here, and forgotten again.

While a store switches from one way to the other, some memories lie sealed and some in the index; both are read.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Select, and_, null, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from tunery.core.database import UnitOfWork
from tunery.memory.conditions import is_of_tenant, is_unexpired
from tunery.memory.contents import open_embedding
from tunery.memory.models import IndexedMemory, Memory, MemoryStore
from tunery.memory.subjects import OpenedSubject

MOST_COMPARED: Final = 5_000
"""Of a subject's memories, with a new one: the newest."""

Vector = npt.NDArray[np.float32]


class Kept(NamedTuple):
    """What of a memory is opened to be compared."""

    id: UUID
    created_at: datetime
    valid_from: datetime
    valid_to: datetime | None
    sealed_embedding: bytes | None
    embedding_model: str | None
    sealed_content: bytes | None
    """None where the text is not asked for."""
    indexed: list[float] | None
    """The embedding that the index has, if it is there, and its model."""
    indexed_model: str | None


def keeps_sealed(store: MemoryStore) -> bool:
    """Whether its memories are to be opened to be compared: all of them, or those that are not moved yet."""
    return store.search == "sealed" or store.switching


async def load_living(
    uow: UnitOfWork,
    store: MemoryStore,
    *,
    subject_id: UUID,
    agent: str | None,
    kinds: Collection[str],
    as_of: datetime | None = None,
    before: Kept | None = None,
    limit: int = MOST_COMPARED,
    contents: bool = False,
) -> list[Kept]:
    """A subject's memories that are neither merged nor expired, the newest first; with `as_of` those that held then,
    with `before` those that follow it.
    """
    query = _chosen(uow, store, contents=contents).where(Memory.subject_id == subject_id, Memory.merged_into.is_(None))
    query = query.where(is_unexpired(uow.now()))
    if agent is not None:
        query = query.where(Memory.agent == agent)
    if kinds:
        query = query.where(Memory.kind.in_(kinds))
    if as_of is not None:
        query = query.where(Memory.valid_from <= as_of, or_(Memory.valid_to.is_(None), Memory.valid_to > as_of))
    if before is not None:
        query = query.where(tuple_(Memory.created_at, Memory.id) < (before.created_at, before.id))
    rows = await uow.session.execute(query.order_by(Memory.created_at.desc(), Memory.id.desc()).limit(limit))
    return [Kept(*row) for row in rows]


def vector_of(subject: OpenedSubject, kept: Kept, model: str) -> Vector | None:
    """The memory's vector of that model, of unit length. Raises UnsealingFailed."""
    if kept.sealed_embedding is not None and kept.embedding_model == model:
        opened = half_floats(open_embedding(subject, kept.id, kept.sealed_embedding))
        return opened if len(opened) else None
    if kept.indexed is not None and kept.indexed_model == model:
        return np.asarray(kept.indexed, dtype=np.float32)
    return None


def half_floats(packed: bytes) -> Vector:
    return np.frombuffer(packed, dtype="<f2").astype(np.float32)


def _chosen(uow: UnitOfWork, store: MemoryStore, *, contents: bool) -> Select[Any]:
    """The columns of Kept."""
    columns: list[ColumnElement[Any] | InstrumentedAttribute[Any]] = [
        Memory.id,
        Memory.created_at,
        Memory.valid_from,
        Memory.valid_to,
        Memory.sealed_embedding,
        Memory.embedding_model,
        Memory.sealed_content if contents else null(),
    ]
    if not store.switching:
        return select(*columns, null(), null())
    indexed = and_(
        is_of_tenant(uow, store),
        IndexedMemory.memory_id == Memory.id,
        IndexedMemory.embedding_model == store.embedding_model,
    )
    columns += [IndexedMemory.embedding, IndexedMemory.embedding_model]
    return select(*columns).outerjoin_from(Memory, IndexedMemory, indexed)
