"""Embedding what has no vector of the newest model: memories that came while no model could be asked, imported ones,
those of a restored backup, and all of a store whose model is no longer the newest.

A store moves to another model while it is used. The new vectors are written beside the old ones; when none is missing,
recall asks for the new ones, and the old ones are deleted. Progress is the rows: whoever is killed in between goes on
where the rows end.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Update, and_, func, or_, select, update
from sqlalchemy.exc import DBAPIError

from tunery.core.database import LOCK_NOT_AVAILABLE, Database, UnitOfWork, sqlstate_of
from tunery.core.errors import DomainError, Unavailable
from tunery.core.logs import get_logger
from tunery.core.services import Services
from tunery.memory.batch import Embedded, entry_of, reinforce, revise
from tunery.memory.conditions import is_indexed, is_none_of, is_of_tenant, is_searchable
from tunery.memory.contents import open_content, seal_embedding
from tunery.memory.embedding import Embedder, Embedders, embed_around_failures
from tunery.memory.index import NO_MODEL, add_to_index, remove_from_index
from tunery.memory.keep import adopt_model
from tunery.memory.merging import says_the_same
from tunery.memory.models import IndexedMemory, Memory, MemoryStore
from tunery.memory.nearest import Sought, find_nearest, near_pairs
from tunery.memory.shelves import prepare_embedding_model
from tunery.memory.stores import StoreBusy, lock_store, lock_store_for_move, open_store
from tunery.memory.subjects import OpenedSubject, lock_subjects, open_those_that_open
from tunery.memory.terms import TERMS_PURPOSE, hash_terms, terms_of
from tunery.vault.keyring import Keyring
from tunery.vault.sealing import UnsealingFailed

EMBED: Final = "memory.embed"
BATCH: Final = 64
TURN: Final = 50
"""Batches of one store, before the others have their turn."""
CLAIM: Final = timedelta(minutes=2)
"""For a worker to mend a store, renewed with every batch."""
_WRITERS_SECONDS: Final = 5
_DELETE_AT_ONCE: Final = 5_000
_MOST_IN_A_ROW: Final = 3
"""Stores for which no model answers, before the rest need not be tried."""

log = get_logger(__name__)


async def embed_missing(services: Services) -> int:
    """Embed what is missing in all stores, in turns; how many memories got a vector. Raises Unavailable when no model
    answers.
    """
    embedded = 0
    while count := await _give_each_a_turn(services):
        embedded += count
    return embedded


async def _give_each_a_turn(services: Services) -> int:
    current = services.get(Embedders).current.model
    async with services.get(Database).dispatch() as uow:
        tenants = (await uow.session.scalars(_stores_to_mend(uow, current))).all()
    embedded = in_a_row = 0
    unanswered: Unavailable | None = None
    for tenant_id in tenants:
        try:
            embedded += await mend_store(services, tenant_id)
            in_a_row = 0
        except Unavailable as error:
            unanswered, in_a_row = error, in_a_row + 1
            if in_a_row == _MOST_IN_A_ROW:  # the others would be told the same
                break
        except StoreBusy:
            log.info("a memory store is written to all the time; later", tenant_id=str(tenant_id))
        except DomainError as error:
            log.error("a memory store can't be mended", tenant_id=str(tenant_id), error=error.message)  # noqa: TRY400
        except DBAPIError as error:  # its message holds what the statement was given
            if sqlstate_of(error) == LOCK_NOT_AVAILABLE:
                log.info("a memory store's shelf is used all the time; later", tenant_id=str(tenant_id))
            else:
                log.error("a memory store can't be mended", tenant_id=str(tenant_id), sqlstate=sqlstate_of(error))  # noqa: TRY400
    if unanswered is not None:
        raise unanswered
    return embedded


def _stores_to_mend(uow: UnitOfWork, current: str) -> Select[UUID]:
    free = or_(MemoryStore.claimed_until.is_(None), MemoryStore.claimed_until <= uow.now())
    # Backups leave the index out: after one was restored, there are memories, and nothing of them in it.
    of_tenant = IndexedMemory.tenant_id == MemoryStore.tenant_id
    lost = and_(
        MemoryStore.search == "open",
        select(Memory.tenant_id).where(Memory.tenant_id == MemoryStore.tenant_id).exists(),
        ~select(IndexedMemory.tenant_id).where(of_tenant).exists(),
    )
    outdated = and_(MemoryStore.embedding_model.is_not(None), MemoryStore.embedding_model != current)
    return (
        select(MemoryStore.tenant_id)
        .where(free, ~MemoryStore.switching, or_(MemoryStore.incomplete, outdated, lost))
        .order_by(func.random())  # those for which no model answers must not always be the first
    )


async def mend_store(services: Services, tenant_id: UUID) -> int:
    """Embed what is missing in one store, unless somebody else does; how many memories got a vector. What is more than
    one turn's work is left to the next one.
    """
    claimed_until = await _claim(services, tenant_id)
    if claimed_until is None:
        return 0
    work = _Mending(services, tenant_id, services.get(Embedders).current, claimed_until)
    try:
        return await work.run()
    finally:
        async with services.get(Database).unit_of_work(tenant_id) as uow:
            await uow.session.execute(_claimed(uow, work.claimed_until).values(claimed_until=None))


async def _claim(services: Services, tenant_id: UUID) -> datetime | None:
    """Until when the store is ours, None when it is somebody else's."""
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        free = or_(MemoryStore.claimed_until.is_(None), MemoryStore.claimed_until <= uow.now())
        claim = _own(uow).where(free).values(claimed_until=uow.now() + CLAIM)
        return await uow.session.scalar(claim.returning(MemoryStore.claimed_until))


@dataclass
class _Text:
    """A memory to embed. `text` is None for one that does not open: it is written down that it was tried, and recall
    will say so when it comes upon it.
    """

    memory_id: UUID
    subject_id: UUID
    text: str | None


@dataclass(frozen=True)
class _WithVector:
    """A memory and its new vector: None where the model does not take the text."""

    memory: Memory
    subject: OpenedSubject
    text: str | None
    vector: Sequence[float] | None

    def sought(self) -> Sought | None:
        memory = self.memory
        if self.vector is None or not memory.to_compare:
            return None
        return Sought(self.subject, memory.agent, memory.kind, memory.valid_from, memory.valid_to, self.vector)

    def may_repeat(self, other: "_WithVector") -> bool:
        one, another = self.memory, other.memory
        is_like = (one.subject_id, one.agent, one.kind) == (another.subject_id, another.agent, another.kind)
        return is_like and another.holds_within(one.valid_from, one.valid_to)


@dataclass
class _Mending:
    services: Services
    tenant_id: UUID
    embedder: Embedder
    claimed_until: datetime
    """By this: another claim ends at another moment."""
    _left: int = field(default_factory=lambda: TURN)
    """Of the turn, in batches."""
    _prepared: bool = False
    _kept: int = 0
    """Memories that the last pass mended."""
    _deleted: int = 0
    """Outdated rows that it deleted."""
    _waiting: set[UUID] = field(default_factory=set)
    """Subjects whose key does not open: their memories wait for it, and keep the store from nothing."""

    async def run(self) -> int:
        database, embedded = self.services.get(Database), 0
        while True:
            after: UUID | None = None
            self._kept = 0
            self._waiting.clear()
            while True:
                if self._left <= 0:
                    return embedded
                texts, after = await self._read(after)
                if after is None:
                    break
                if not texts:
                    continue
                opened = [one.text for one in texts if one.text is not None]
                vectors = await embed_around_failures(self.embedder, opened)
                await self._prepare(next((len(vector) for vector in vectors if vector is not None), None))
                given = iter(vectors)
                embedded += await self._write(texts, [None if one.text is None else next(given) for one in texts])
            async with database.unit_of_work(self.tenant_id) as uow:
                await lock_store_for_move(uow, str(self.tenant_id), _WRITERS_SECONDS)
                is_whole = await self._finish(uow)
            self._left -= 1
            if is_whole or not (self._kept or self._deleted):  # what is left, this pass could not mend
                return embedded

    async def _prepare(self, dimensions: int | None) -> None:
        """Before the first vectors of a model that is new to the store."""
        if dimensions is None or self._prepared:
            return
        self._prepared = True
        async with self.services.get(Database).unit_of_work(self.tenant_id) as uow:
            store = await open_store(uow)
        if store.search == "open":
            await prepare_embedding_model(self.services, self.tenant_id, self.embedder.model, dimensions)

    async def _read(self, after: UUID | None) -> tuple[list[_Text], UUID | None]:
        """The next texts without a vector, opened, and the last memory that was looked at; None when there is none."""
        async with self.services.get(Database).unit_of_work(self.tenant_id) as uow:
            store = await open_store(uow)
            if store.switching:
                return [], None
            query = select(Memory).where(_is_missing(uow, store, self.embedder.model))
            if after is not None:
                query = query.where(Memory.id > after)
            memories = (await uow.session.scalars(query.order_by(Memory.id).limit(BATCH))).all()
            subjects = await self._open(uow, {one.subject_id for one in memories})
            texts = [
                _Text(memory.id, memory.subject_id, _text_of(subjects[memory.subject_id], memory))
                for memory in memories
                if memory.subject_id in subjects
            ]
            return texts, memories[-1].id if memories else None

    async def _write(self, texts: Sequence[_Text], vectors: Sequence[Sequence[float] | None]) -> int:
        self._left -= 1
        async with self.services.get(Database).unit_of_work(self.tenant_id) as uow:
            store = await lock_store(uow)
            if store.switching:
                return 0
            renewed = await self._renew_claim(uow)
            await adopt_model(uow, store, Embedded(self.embedder.model, vectors))
            await lock_subjects(uow, {one.subject_id for one in texts})
            wanted = [one.memory_id for one in texts]
            missing = select(Memory).where(Memory.id.in_(wanted), _is_missing(uow, store, self.embedder.model))
            memories = {memory.id: memory for memory in await uow.session.scalars(missing)}
            subjects = await self._open(uow, {one.subject_id for one in texts})
            batch = [
                _WithVector(memories[one.memory_id], subjects[one.subject_id], one.text, vector)
                for one, vector in zip(texts, vectors, strict=True)
                if one.memory_id in memories and one.subject_id in subjects  # neither forgotten nor erased meanwhile
            ]
            near = await self._find_near(uow, store, batch)
            for one, others in zip(batch, near, strict=True):
                await self._keep(uow, store, one, others)
        if renewed is None:  # a batch took longer than that, and somebody else goes on
            self._left = 0
        else:
            self.claimed_until = renewed
        self._kept += len(batch)
        return sum(one.vector is not None for one in batch)

    async def _find_near(self, uow: UnitOfWork, store: MemoryStore, batch: Sequence[_WithVector]) -> list[list[Memory]]:
        """For each that is still to be compared, those that its vector lies near, of the batch itself, too."""
        found = await find_nearest(uow, store, self.embedder.model, [one.sought() for one in batch])
        pairs = near_pairs([one.vector for one in batch])
        for number, one in enumerate(batch):
            found[number] += [batch[other].memory for other in pairs.get(number, ()) if one.may_repeat(batch[other])]
        return found

    async def _renew_claim(self, uow: UnitOfWork) -> datetime | None:
        renewed = _claimed(uow, self.claimed_until).values(claimed_until=uow.now() + CLAIM)
        return await uow.session.scalar(renewed.returning(MemoryStore.claimed_until))

    async def _open(self, uow: UnitOfWork, subject_ids: set[UUID]) -> dict[UUID, OpenedSubject]:
        opened = await open_those_that_open(uow, self.services.get(Keyring), subject_ids)
        self._waiting |= subject_ids - opened.keys()
        return opened

    async def _keep(self, uow: UnitOfWork, store: MemoryStore, one: _WithVector, near: Iterable[Memory]) -> None:
        memory, subject, text, vector = one.memory, one.subject, one.text, one.vector
        if memory.to_compare:
            memory.to_compare = False
            if text is not None and await self._merge(uow, store, subject, memory, text, near):
                return
        if store.search == "sealed":
            memory.sealed_embedding = seal_embedding(subject, memory.id, vector or ())
            memory.embedding_model = self.embedder.model
            await uow.session.flush()
            return
        key = (await self.services.get(Keyring).purpose_key(uow, TERMS_PURPOSE)).key
        terms = hash_terms(key, terms_of(text)) if text is not None else []
        await add_to_index(uow, store, [entry_of(memory, vector, terms)], embedding_model=self.embedder.model)
        if store.embedding_model == self.embedder.model:
            await remove_from_index(uow, store, [memory.id], embedding_model=NO_MODEL)

    async def _merge(
        self,
        uow: UnitOfWork,
        store: MemoryStore,
        subject: OpenedSubject,
        memory: Memory,
        text: str,
        near: Iterable[Memory],
    ) -> bool:
        """Whether an older memory says the same: then this one stands behind it."""
        for other in near:
            if other.id >= memory.id or other.fact_digest is not None or other.merged_into is not None:
                continue
            try:
                said = open_content(subject, other.id, other.sealed_content).text
            except UnsealingFailed:  # the vault has logged it; what doesn't open is nobody's duplicate
                continue
            if says_the_same(text, said):
                if reinforce(other, memory):
                    await revise(uow, store, other)
                memory.merged_into = other.id
                behind = update(Memory).where(Memory.merged_into == memory.id).values(merged_into=other.id)
                await uow.session.execute(behind)
                await uow.session.flush()
                await remove_from_index(uow, store, [memory.id])
                return True
        return False

    async def _finish(self, uow: UnitOfWork) -> bool:
        """Whether the store is whole: nothing is missing, and nothing of another model is left. The store is locked,
        nobody writes.

        Who waits for their key keeps it from being whole, and nobody else's memories from moving.
        """
        store, model = await open_store(uow), self.embedder.model
        self._deleted = 0
        if store.switching:
            return True
        missing = select(Memory.id).where(_is_missing(uow, store, model), is_none_of(Memory.subject_id, self._waiting))
        if await uow.session.scalar(missing.limit(1)) is not None:
            return False
        if store.embedding_model not in {None, model}:
            log.info("a store moves to another model", before=store.embedding_model, model=model)
            store.dimensions = await self._dimensions(uow, store)
            store.embedding_model = model
        others = select(IndexedMemory.memory_id, IndexedMemory.embedding_model).where(
            is_of_tenant(uow, store),
            IndexedMemory.embedding_model != (store.embedding_model or NO_MODEL),
            is_none_of(IndexedMemory.subject_id, self._waiting),
        )
        rows = (await uow.session.execute(others.limit(_DELETE_AT_ONCE))).all()
        self._deleted = len(rows)
        for other in {row.embedding_model for row in rows}:
            outdated = [row.memory_id for row in rows if row.embedding_model == other]
            await remove_from_index(uow, store, outdated, embedding_model=other)
        store.incomplete = len(rows) == _DELETE_AT_ONCE or bool(self._waiting)
        return not store.incomplete

    async def _dimensions(self, uow: UnitOfWork, store: MemoryStore) -> int | None:
        """Of the new model's vectors. None: they are sealed, or there are none."""
        known = select(IndexedMemory.dimensions).where(
            is_of_tenant(uow, store),
            IndexedMemory.embedding_model == self.embedder.model,
            IndexedMemory.dimensions.is_not(None),
        )
        return await uow.session.scalar(known.limit(1))


def _own(uow: UnitOfWork) -> Update:
    return update(MemoryStore).where(MemoryStore.tenant_id == uow.tenant_id)


def _claimed(uow: UnitOfWork, until: datetime) -> Update:
    return _own(uow).where(MemoryStore.claimed_until == until)


def _is_missing(uow: UnitOfWork, store: MemoryStore, model: str) -> ColumnElement[bool]:
    """Whether a memory was never embedded with that model. One that the model doesn't take was."""
    if store.search == "sealed":
        return and_(is_searchable(uow.now()), Memory.embedding_model.is_distinct_from(model))
    return and_(is_searchable(uow.now()), ~is_indexed(store, model))


def _text_of(subject: OpenedSubject, memory: Memory) -> str | None:
    try:
        return open_content(subject, memory.id, memory.sealed_content).text
    except UnsealingFailed as error:
        log.error("a memory is indexed without its text", error=error.message)  # noqa: TRY400 - the vault logged it
        return None
