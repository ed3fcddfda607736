"""Shelves of one's own, for tenants that are too large to be searched by looking at all of their rows.

A move to one is batches of a few rows, each of which is on either shelf for whoever looks. Readers wait for nothing,
writers of that tenant for a batch. Progress is the rows: whoever is killed in between goes on where they end.
"""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, literal_column, select, text, tuple_, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from tunery.core.database import LOCK_NOT_AVAILABLE, Database, UnitOfWork, sqlstate_of
from tunery.core.logs import get_logger
from tunery.core.services import Services
from tunery.memory.index import SHARED_SHELF, check_embedding_model, list_terms
from tunery.memory.models import IndexedMemory, MemoryStore
from tunery.memory.stores import StoreBusy, lock_store_for_move, open_store

BATCH: Final = 50
_WAIT_SECONDS: Final = 2.0
"""For the tenant's writers to commit; after that the next sweep tries."""

log = get_logger(__name__)


@dataclass(frozen=True)
class ShelfRows:
    """How many rows a tenant may have on the shared shelf."""

    most: int


async def move_large_tenants(services: Services) -> int:
    """Give tenants that have grown large a shelf of their own and move their rows there; go on with moves that were
    begun. How many rows were moved. Safe to run at any time, several at once.
    """
    database = services.get(Database)
    async with database.dispatch() as uow:
        unindexed = (await uow.session.execute(_UNINDEXED)).all()
        begun = (await uow.session.scalars(select(MemoryStore.tenant_id).where(MemoryStore.moving))).all()
        large = (await uow.session.scalars(_large_tenants(services.get(ShelfRows).most))).all()
    for row in unindexed:
        await _index_late(database, row.tenant_id, row.shelf, row.embedding_model, row.dimensions)
    moved = 0
    for tenant_id in [*begun, *large]:
        try:
            if tenant_id in large:
                await _begin(database, tenant_id)
            while rows := await _move_batch(database, tenant_id):
                moved += rows
        except IntegrityError as error:
            log.info("another worker took that shelf; later", tenant_id=str(tenant_id), error=str(error))
        except StoreBusy:
            log.info("a tenant's memories are written to all the time; later", tenant_id=str(tenant_id))
        except DBAPIError as error:
            if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
                raise
            log.info("a tenant's shelf is used all the time; later", tenant_id=str(tenant_id))
    return moved


_UNINDEXED: Final = text(
    "SELECT tenant_id, shelf, embedding_model, dimensions FROM memory_stores"
    " WHERE shelf > 0 AND search = 'open' AND dimensions IS NOT NULL AND to_regclass("
    "format('memory_shelves.shelf_%s_%s_%s', shelf, dimensions, md5(embedding_model))) IS NULL"
)
"""Stores whose model was found out after they had their shelf."""


async def _index_late(database: Database, tenant_id: UUID, shelf: int, model: str, dimensions: int) -> None:
    try:
        async with database.dispatch() as uow:
            await _index_embeddings(uow, shelf, model, dimensions)
    except DBAPIError as error:
        if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
            raise
        log.info("a tenant's shelf is used all the time; later", tenant_id=str(tenant_id))


async def prepare_embedding_model(services: Services, tenant_id: UUID, model: str, dimensions: int) -> None:
    """Before rows of another model come: a shelf of one's own has an index for each. Made later, it would keep the
    tenant's writers waiting. Raises InvalidInput for what can't be a model's name.
    """
    check_embedding_model(model)
    async with services.get(Database).dispatch() as uow:
        shelf = await uow.session.scalar(select(MemoryStore.shelf).where(MemoryStore.tenant_id == tenant_id))
        if shelf is not None and shelf != SHARED_SHELF:
            await _index_embeddings(uow, shelf, model, dimensions)


def _is_shared() -> ColumnElement[bool]:
    """As a literal: the planner then leaves the other shelves out."""
    return IndexedMemory.shelf == literal_column(str(SHARED_SHELF))


def _large_tenants(most: int) -> Select[UUID]:
    rows = select(IndexedMemory.tenant_id).where(_is_shared(), IndexedMemory.tenant_id == MemoryStore.tenant_id)
    # It is enough to know that there are more.
    counted = select(func.count()).select_from(rows.limit(most + 1).correlate(MemoryStore).subquery())
    return select(MemoryStore.tenant_id).where(
        MemoryStore.shelf == SHARED_SHELF, MemoryStore.search == "open", counted.scalar_subquery() > most
    )


async def _begin(database: Database, tenant_id: UUID) -> None:
    async with database.dispatch() as uow:
        await lock_store_for_move(uow, str(tenant_id), _WAIT_SECONDS)
        store = await uow.session.get_one(MemoryStore, tenant_id, populate_existing=True)
        if store.shelf != SHARED_SHELF:
            return
        shelf = await _free_shelf(uow)
        if shelf is not None:
            # Deleted rows stay in their pages for a while. Should somebody else take it just now, this is undone.
            await uow.session.execute(text("SELECT memory_shelves.empty(:shelf)"), {"shelf": shelf})
        else:
            shelf = int((await uow.session.execute(text("SELECT memory_shelves.open()"))).scalar_one())
        models = select(IndexedMemory.embedding_model, IndexedMemory.dimensions).where(
            _is_shared(), IndexedMemory.tenant_id == tenant_id
        )
        for model, dimensions in await uow.session.execute(models.distinct()):
            if dimensions is not None:
                await _index_embeddings(uow, shelf, model, dimensions)
        await uow.session.execute(
            update(MemoryStore).where(MemoryStore.tenant_id == tenant_id).values(shelf=shelf, moving=True)
        )
    log.info("a tenant's memories move to a shelf of their own", tenant_id=str(tenant_id), shelf=shelf)


async def _free_shelf(uow: UnitOfWork) -> int | None:
    """One that an erased tenant left empty."""
    made = await uow.session.scalars(
        text(
            "SELECT substring(relname FROM '[0-9]+$')::integer FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid"
            " WHERE inhparent = 'memory_index'::regclass"
        )
    )
    numbers: set[int] = set(made)
    taken = set(await uow.session.scalars(select(MemoryStore.shelf))) | {SHARED_SHELF}
    for shelf in sorted(numbers - taken):
        rows = select(IndexedMemory.shelf).where(IndexedMemory.shelf == literal_column(str(shelf))).limit(1)
        if await uow.session.scalar(rows) is None:
            return shelf
    return None


async def _index_embeddings(uow: UnitOfWork, shelf: int, model: str, dimensions: int) -> None:
    await uow.session.execute(
        # Asked to make one that is there, PostgreSQL waits for the shelf's writers all the same.
        text(
            "SELECT memory_shelves.index_embeddings(:shelf, :model, :dimensions) WHERE to_regclass("
            "format('memory_shelves.shelf_%s_%s_%s', :shelf ::integer, :dimensions ::integer, md5(:model))) IS NULL"
        ),
        {"shelf": shelf, "model": model, "dimensions": dimensions},
    )


async def _move_batch(database: Database, tenant_id: UUID) -> int:
    async with database.unit_of_work(tenant_id) as uow:
        await lock_store_for_move(uow, str(tenant_id), _WAIT_SECONDS)
        store = await open_store(uow)
        if not store.moving:
            return 0
        some = select(IndexedMemory.memory_id, IndexedMemory.embedding_model).where(
            _is_shared(), IndexedMemory.tenant_id == uow.tenant_id
        )
        moved = (
            update(IndexedMemory)
            .where(
                _is_shared(),
                tuple_(IndexedMemory.memory_id, IndexedMemory.embedding_model).in_(some.limit(BATCH)),
            )
            .values(shelf=store.shelf)
            .returning(IndexedMemory.memory_id, IndexedMemory.terms)
            .execution_options(synchronize_session=False)
        )
        rows = (await uow.session.execute(moved)).all()
        if rows:
            await list_terms(uow, {row.memory_id: row.terms.indices() for row in rows})
        else:
            store.moving = False
        return len(rows)
