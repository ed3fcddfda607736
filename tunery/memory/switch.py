"""Switching a store between open and sealed search. Its rows move in the background, batch by batch; until the last one
has, recall reads both, so it is right at every moment. Progress is the rows: whoever is killed goes on where they end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import Select, select

from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import InvalidInput
from tunery.core.logs import get_logger
from tunery.core.outbox import enqueue
from tunery.core.services import Services
from tunery.memory.batch import entry_of
from tunery.memory.conditions import is_indexed, is_none_of, is_of_tenant, is_searchable
from tunery.memory.contents import open_content, open_embedding, seal_embedding
from tunery.memory.index import NO_MODEL, IndexEntry, add_to_index, remove_from_index
from tunery.memory.models import IndexedMemory, Memory, MemoryStore
from tunery.memory.sealed_store import half_floats
from tunery.memory.stores import lock_store, lock_store_for_move, open_store, sum_of_tenants
from tunery.memory.subjects import OpenedSubject, lock_subjects, open_those_that_open
from tunery.memory.terms import TERMS_PURPOSE, hash_terms, terms_of
from tunery.vault.keyring import Keyring
from tunery.vault.sealing import UnsealingFailed

SEARCHES: Final = ("open", "sealed")
MOVE_MEMORIES: Final = "memory.move"
BATCH: Final = 200
_WRITERS_SECONDS: Final = 5

log = get_logger(__name__)


async def set_search(uow: UnitOfWork, search: str) -> MemoryStore:
    """Keep what is remembered from now on in that way, and move what is there. Doing it twice changes nothing.

    From the commit on, a sealed store writes neither embeddings nor words in the clear. Raises InvalidInput, and
    Conflict while others write all the time.
    """
    if search not in SEARCHES:
        raise InvalidInput(f"{search!r:.100} is none of {', '.join(SEARCHES)}", field="search")
    await open_store(uow)
    # Who writes meanwhile is waited for: what they write is moved, too.
    await lock_store_for_move(uow, str(uow.tenant_id), _WRITERS_SECONDS)
    store = await open_store(uow)
    if store.search != search:
        store.search = search
        store.switching = True
        store.incomplete = True  # what is missing in either way is looked for afterwards
        await uow.session.flush()
    if store.switching:
        enqueue(uow, MOVE_MEMORIES, tenant_id=str(uow.tenant_id))
    return store


async def move_memories(services: Services, tenant_id: UUID) -> int:
    """Bring all of a store's memories into the way that it says; how many moved. Safe to run twice, and at once.

    Memories of a subject whose key does not open leave the index, and wait for the key: then the sweep embeds them.
    """
    database, moved, here = services.get(Database), 0, _Pass()
    while True:
        async with database.unit_of_work(tenant_id) as uow:
            store = await lock_store(uow)
            if not store.switching:
                return moved
            move = _seal_batch if store.search == "sealed" else _open_batch
            batch = await move(uow, services, store, here)
        moved += len(batch)
        if batch:
            here.after = batch[-1]
            continue
        async with database.unit_of_work(tenant_id) as uow:
            await lock_store_for_move(uow, str(tenant_id), _WRITERS_SECONDS)
            store = await open_store(uow)
            if not await _is_left(uow, store, here):
                store.switching = False
                return moved
        here = _Pass()


@dataclass
class _Pass:
    """One time through all that is to be moved."""

    after: UUID | None = None
    waiting: set[UUID] = field(default_factory=set)
    """Subjects whose key does not open."""


async def move_unfinished(services: Services) -> int:
    """The sweep: go on with stores whose task was lost."""
    async with services.get(Database).dispatch() as uow:
        tenants = (await uow.session.scalars(select(MemoryStore.tenant_id).where(MemoryStore.switching))).all()
    return await sum_of_tenants(tenants, partial(move_memories, services))


async def _is_left(uow: UnitOfWork, store: MemoryStore, here: _Pass) -> bool:
    query = _indexed(uow, store) if store.search == "sealed" else _unindexed(uow, store, here)
    return await uow.session.scalar(query.limit(1)) is not None


async def _seal_batch(uow: UnitOfWork, services: Services, store: MemoryStore, _here: _Pass) -> Sequence[UUID]:
    memory_ids = (await uow.session.scalars(_indexed(uow, store).limit(BATCH))).all()
    memories, subjects = await _lock(uow, services, memory_ids)
    rows = await uow.session.execute(
        select(IndexedMemory.memory_id, IndexedMemory.embedding).where(
            is_of_tenant(uow, store),
            IndexedMemory.memory_id.in_(memory_ids),
            IndexedMemory.embedding_model == (store.embedding_model or NO_MODEL),
        )
    )
    for memory_id, embedding in rows:
        memory = memories.get(memory_id)
        if memory is not None and memory.subject_id in subjects and store.embedding_model:
            subject = subjects[memory.subject_id]
            memory.sealed_embedding = seal_embedding(subject, memory.id, embedding or ())
            memory.embedding_model = store.embedding_model
    await uow.session.flush()
    await remove_from_index(uow, store, memory_ids)
    return memory_ids


async def _open_batch(uow: UnitOfWork, services: Services, store: MemoryStore, here: _Pass) -> Sequence[UUID]:
    query = _unindexed(uow, store, here)
    if here.after is not None:
        query = query.where(Memory.id > here.after)
    memory_ids = (await uow.session.scalars(query.limit(BATCH))).all()
    memories, subjects = await _lock(uow, services, memory_ids)
    key = (await services.get(Keyring).purpose_key(uow, TERMS_PURPOSE)).key
    with_vector: list[IndexEntry] = []
    without: list[IndexEntry] = []
    for memory in memories.values():
        subject = subjects.get(memory.subject_id)
        if subject is None:
            here.waiting.add(memory.subject_id)
            continue
        terms, embedding = _index_of(subject, memory, store, key)
        entry = entry_of(memory, embedding or None, terms)
        (without if embedding is None else with_vector).append(entry)
        memory.sealed_embedding = memory.embedding_model = None
    await uow.session.flush()
    await add_to_index(uow, store, with_vector, embedding_model=store.embedding_model)
    await add_to_index(uow, store, without, embedding_model=None)
    return memory_ids


def _index_of(
    subject: OpenedSubject, memory: Memory, store: MemoryStore, key: bytes
) -> tuple[list[int], list[float] | None]:
    """Its hashed words, and its vector: None where it has none of the store's model, empty where the model does not
    take the text. What does not open is indexed without either, so that recall comes upon it and says so.
    """
    try:
        content = open_content(subject, memory.id, memory.sealed_content)
        terms = hash_terms(key, terms_of(content.text))
        if memory.sealed_embedding is None or memory.embedding_model != store.embedding_model:
            return terms, None
        return terms, half_floats(open_embedding(subject, memory.id, memory.sealed_embedding)).tolist()
    except UnsealingFailed as error:
        log.error("a memory is indexed without its text", error=error.message)  # noqa: TRY400 - the vault logged it
        return [], []


async def _lock(
    uow: UnitOfWork, services: Services, memory_ids: Sequence[UUID]
) -> tuple[dict[UUID, Memory], dict[UUID, OpenedSubject]]:
    """The memories as nobody can change them now, and their subjects, without those whose key does not open."""
    chosen = select(Memory).where(Memory.id.in_(memory_ids))
    subject_ids = {memory.subject_id for memory in await uow.session.scalars(chosen)}
    await lock_subjects(uow, subject_ids)
    again = await uow.session.scalars(chosen.execution_options(populate_existing=True))
    opened = await open_those_that_open(uow, services.get(Keyring), subject_ids)
    return {memory.id: memory for memory in again}, opened


def _indexed(uow: UnitOfWork, store: MemoryStore) -> Select[UUID]:
    return select(IndexedMemory.memory_id).where(is_of_tenant(uow, store))


def _unindexed(uow: UnitOfWork, store: MemoryStore, here: _Pass) -> Select[UUID]:
    able = is_none_of(Memory.subject_id, here.waiting)
    return select(Memory.id).where(is_searchable(uow.now()), ~is_indexed(store), able).order_by(Memory.id)
