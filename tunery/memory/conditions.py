"""What holds for some memories, as SQL."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Uuid, all_, and_, exists, literal, or_
from sqlalchemy.orm import InstrumentedAttribute, aliased

from tunery.core.database import UnitOfWork
from tunery.memory.index import shelves_of
from tunery.memory.models import IndexedMemory, Memory, MemoryStore, Subject
from tunery.vault.models import DataKey


def is_unexpired(now: datetime) -> ColumnElement[bool]:
    return or_(Memory.expires_at.is_(None), Memory.expires_at > now)


def is_listed(now: datetime) -> ColumnElement[bool]:
    """Whether its owner may see it: neither it is expired, nor the one that it stands behind, with which it goes."""
    keeper = aliased(Memory)
    expired = exists().where(keeper.id == Memory.merged_into, keeper.expires_at <= now)
    return and_(is_unexpired(now), ~expired)


def is_searchable(now: datetime) -> ColumnElement[bool]:
    """Whether recall may find it: it stands behind no other, is not expired, and its subject's key is there."""
    key_is_there = exists().where(
        Subject.id == Memory.subject_id, DataKey.id == Subject.data_key_id, DataKey.destroyed_at.is_(None)
    )
    return and_(Memory.merged_into.is_(None), is_unexpired(now), key_is_there)


def is_indexed(store: MemoryStore, embedding_model: str | None = None) -> ColumnElement[bool]:
    """Whether the index has it at all, or for that model."""
    there = exists().where(IndexedMemory.shelf.in_(shelves_of(store)), IndexedMemory.memory_id == Memory.id)
    return there if embedding_model is None else there.where(IndexedMemory.embedding_model == embedding_model)


def is_of_tenant(uow: UnitOfWork, store: MemoryStore) -> ColumnElement[bool]:
    """Whether a row of the index is the tenant's."""
    return and_(IndexedMemory.shelf.in_(shelves_of(store)), IndexedMemory.tenant_id == uow.tenant_id)


def is_none_of(column: InstrumentedAttribute[UUID], identifiers: Iterable[UUID]) -> ColumnElement[bool]:
    """Given as one array: of single parameters PostgreSQL takes no more than 32,767."""
    return column != all_(literal(list(identifiers), ARRAY(Uuid)))
