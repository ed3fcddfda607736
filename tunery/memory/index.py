"""Writing the index that recall searches. Each function takes the store that `lock_store` gave in this transaction."""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from pgvector import SparseVector
from sqlalchemy import ColumnElement, CursorResult, Delete, Result, Update, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput
from tunery.memory.models import EMBEDDING_MODEL_SHAPE, TERM_NUMBERS, IndexedMemory, Memory, MemoryStore, MemoryTerm

SHARED_SHELF: Final = 0
NO_MODEL: Final = ""
MAX_DIMENSIONS: Final = 4000
"""What HNSW takes of half-precision numbers."""
MAX_TERMS: Final = 900
"""Of a memory: with an embedding of 4,000 numbers more would not fit into a row. The first ones count."""
NARROW_BYTES: Final = 2704
"""What an entry of a b-tree has room for (PostgreSQL's BTMaxItemSize)."""
_FIXED_BYTES: Final = 256
"""Of such an entry: its header, uuids, times, the lengths of its texts and vectors, and what aligns them."""


@dataclass(frozen=True)
class IndexEntry:
    """What search may know of a memory."""

    memory_id: UUID
    subject_id: UUID
    agent: str
    kind: str
    valid_from: datetime
    created_at: datetime
    valid_to: datetime | None = None
    expires_at: datetime | None = None
    embedding: Sequence[float] | None = None
    terms: Sequence[int] = ()


async def add_to_index(
    uow: UnitOfWork, store: MemoryStore, entries: Sequence[IndexEntry], *, embedding_model: str | None
) -> None:
    """Adds the memories' rows for that model, or replaces them. Without an embedding they are found by their terms and
    their age.

    Raises:
        InvalidInput: an embedding is of another length than the model's others, or zero; or the model's name can't be.
    """
    if not entries:
        return
    model, dimensions = embedding_model or NO_MODEL, _dimensions_of(store, entries, embedding_model)
    numbers = {entry.memory_id: term_numbers(entry.terms)[:MAX_TERMS] for entry in entries}
    rows = [
        {
            "shelf": store.shelf,
            "memory_id": entry.memory_id,
            "embedding_model": model,
            "subject_id": entry.subject_id,
            "agent": entry.agent,
            "kind": entry.kind,
            "dimensions": None if entry.embedding is None else dimensions,
            "embedding": None if entry.embedding is None else unit_length(entry.embedding),
            "terms": SparseVector(dict.fromkeys(numbers[entry.memory_id], 1.0), TERM_NUMBERS),
            "narrow": _is_narrow(entry, model, len(numbers[entry.memory_id])),
            "valid_from": entry.valid_from,
            "valid_to": entry.valid_to,
            "expires_at": entry.expires_at,
            "created_at": entry.created_at,
        }
        for entry in entries
    ]
    if store.moving:
        await uow.session.execute(
            delete(IndexedMemory).where(
                IndexedMemory.shelf == SHARED_SHELF,
                IndexedMemory.tenant_id == uow.tenant_id,
                IndexedMemory.memory_id.in_([entry.memory_id for entry in entries]),
                IndexedMemory.embedding_model == model,
            )
        )
    added = insert(IndexedMemory)
    key = [column.name for column in IndexedMemory.__table__.primary_key]
    replaced = {name: added.excluded[name] for name in rows[0] if name not in key}
    await uow.session.execute(added.on_conflict_do_update(index_elements=key, set_=replaced), rows)
    if store.shelf != SHARED_SHELF:
        await uow.session.execute(delete(MemoryTerm).where(MemoryTerm.memory_id.in_(numbers)))
        await list_terms(uow, numbers)


async def revise_in_index(
    uow: UnitOfWork,
    store: MemoryStore,
    memory_ids: Collection[UUID],
    *,
    valid_from: datetime | None = None,
    valid_to: datetime | None,
    expires_at: datetime | None,
) -> int:
    """Sets from when and until when these memories hold and when they expire; how many rows there were of them. Without
    `valid_from` they begin as they did.
    """
    changed = update(IndexedMemory).values(valid_to=valid_to, expires_at=expires_at)
    if valid_from is not None:
        changed = changed.values(valid_from=valid_from)
    return await _change(uow, store, changed, IndexedMemory.memory_id.in_(memory_ids))


async def remove_from_index(
    uow: UnitOfWork, store: MemoryStore, memory_ids: Collection[UUID], *, embedding_model: str | None = None
) -> int:
    """Removes these memories' rows, of one model or of all; how many."""
    removed = delete(IndexedMemory).where(IndexedMemory.memory_id.in_(memory_ids))
    if embedding_model is not None:
        removed = removed.where(IndexedMemory.embedding_model == embedding_model)
    count = await _change(uow, store, removed)
    if store.shelf != SHARED_SHELF:  # the terms are those of its rows for other models, too
        here = IndexedMemory.shelf.in_(shelves_of(store)), IndexedMemory.memory_id == MemoryTerm.memory_id
        left = select(IndexedMemory.memory_id).where(*here).exists()
        await _delete_terms(uow, MemoryTerm.memory_id.in_(memory_ids), ~left)
    return count


async def remove_subject_from_index(uow: UnitOfWork, store: MemoryStore, subject_id: UUID) -> int:
    """Removes all rows of one person, and the terms of their memories; how many rows."""
    await remove_terms(uow, store, subject_id)
    return await _change(uow, store, delete(IndexedMemory), IndexedMemory.subject_id == subject_id)


async def clear_index(uow: UnitOfWork, store: MemoryStore) -> int:
    """Removes all of the tenant's rows and terms; how many rows."""
    await remove_terms(uow, store)
    return await _change(uow, store, delete(IndexedMemory))


async def remove_terms(uow: UnitOfWork, store: MemoryStore, subject_id: UUID | None = None) -> int:
    """Removes the listed terms of one person's memories, or of all; how many. Before the memories are deleted: of
    some the index may have no row any more.
    """
    if subject_id is None:
        return await _delete_terms(uow)
    indexed = select(IndexedMemory.memory_id).where(
        IndexedMemory.shelf.in_(shelves_of(store)), IndexedMemory.subject_id == subject_id
    )
    kept = select(Memory.id).where(Memory.subject_id == subject_id)
    return await _delete_terms(uow, MemoryTerm.memory_id.in_(kept.union_all(indexed)))


def shelves_of(store: MemoryStore) -> list[int]:
    """Where the tenant's rows lie: while they move, on two shelves."""
    return [SHARED_SHELF, store.shelf] if store.moving else [store.shelf]


def term_numbers(terms: Iterable[int]) -> list[int]:
    """The hashes as places in a sparse vector, each once."""
    return list(dict.fromkeys(term % TERM_NUMBERS for term in terms))


async def list_terms(uow: UnitOfWork, numbers: Mapping[UUID, Iterable[int]]) -> None:
    """Lists the terms of memories on a shelf of one's own."""
    rows = [{"term": term, "memory_id": memory_id} for memory_id, terms in numbers.items() for term in terms]
    if rows:
        await uow.session.execute(insert(MemoryTerm).on_conflict_do_nothing(), rows)


def check_embedding_model(name: str) -> None:
    """Raises InvalidInput for what cannot be the name of an embedding model."""
    if re.fullmatch(EMBEDDING_MODEL_SHAPE, name) is None:
        raise InvalidInput(
            "the name of an embedding model is at most 100 letters, digits and . _ / : -", field="embeddingModel"
        )


def check_dimensions(store: MemoryStore, embedding_model: str, dimensions: int) -> None:
    """Raises InvalidInput when an embedding of that model has another length than the store's others."""
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise InvalidInput(f"an embedding has 1 to {MAX_DIMENSIONS} dimensions, not {dimensions}", field="embedding")
    if embedding_model == store.embedding_model and store.dimensions not in {None, dimensions}:
        raise InvalidInput(
            f"wrong dimension: embeddings of {embedding_model} have {store.dimensions} numbers here,"
            f" this one has {dimensions}",
            field="embedding",
        )


def unit_length(embedding: Sequence[float]) -> list[float]:
    """The same direction with length 1: then the inner product is the cosine. Raises InvalidInput for one without a
    direction.
    """
    length = math.hypot(*embedding)
    if not 0 < length < math.inf:
        raise InvalidInput("an embedding of zeros, or of numbers that are none, has no direction", field="embedding")
    return [number / length for number in embedding]


def _dimensions_of(store: MemoryStore, entries: Sequence[IndexEntry], embedding_model: str | None) -> int | None:
    lengths = {len(entry.embedding) for entry in entries if entry.embedding is not None}
    if embedding_model is not None:
        check_embedding_model(embedding_model)
    elif lengths:
        raise InvalidInput("an embedding without the name of its model", field="embeddingModel")
    for dimensions in lengths:
        check_dimensions(store, embedding_model or NO_MODEL, dimensions)
    if len(lengths) > 1:
        raise InvalidInput(f"wrong dimension: embeddings of {sorted(lengths)} numbers together", field="embedding")
    return next(iter(lengths), None)


def _is_narrow(entry: IndexEntry, embedding_model: str, terms: int) -> bool:
    texts = sum(len(text.encode()) for text in (embedding_model, entry.agent, entry.kind))
    return _FIXED_BYTES + texts + 8 * terms + 2 * len(entry.embedding or ()) <= NARROW_BYTES


async def _delete_terms(uow: UnitOfWork, *conditions: ColumnElement[bool]) -> int:
    gone = delete(MemoryTerm).where(MemoryTerm.tenant_id == uow.tenant_id, *conditions)
    return _rows_of(await uow.session.execute(gone.execution_options(synchronize_session=False)))


async def _change(
    uow: UnitOfWork, store: MemoryStore, change: Delete | Update, *conditions: ColumnElement[bool]
) -> int:
    own = (IndexedMemory.shelf.in_(shelves_of(store)), IndexedMemory.tenant_id == uow.tenant_id)
    statement = change.where(*own, *conditions).execution_options(synchronize_session=False)
    return _rows_of(await uow.session.execute(statement))


def _rows_of(result: Result[Any]) -> int:
    assert isinstance(result, CursorResult)  # noqa: S101 - for the type checker
    return result.rowcount
