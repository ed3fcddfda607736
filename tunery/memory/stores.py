"""A tenant's memory store: how its memories are kept, and on which shelf of the index they lie.

Rows may be on their way to another shelf while they are searched and written. Readers take no lock: they read the
store and its rows in one snapshot. Writers of the index hold a shared lock until they commit, so that a move waits for
them, and they for one batch of it.
"""

from collections.abc import Awaitable, Callable, Iterable
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from tunery.core.database import LOCK_NOT_AVAILABLE, UnitOfWork, sqlstate_of
from tunery.core.errors import Conflict, DomainError
from tunery.core.logs import get_logger
from tunery.memory.models import MemoryStore

"""PostgreSQL's SQLSTATE for a lock that did not come in time."""
_KEY = "hashtextextended('memory index of ' || :tenant_id, 0)"

log = get_logger(__name__)


class StoreBusy(Conflict):
    """Others hold what is needed, for now."""


async def open_store(uow: UnitOfWork) -> MemoryStore:
    """The tenant's store, made at first use. For reading: to write the index, `lock_store`."""
    found = select(MemoryStore).where(MemoryStore.tenant_id == uow.tenant_id).execution_options(populate_existing=True)
    store = await uow.session.scalar(found)
    if store is None:
        await uow.session.execute(insert(MemoryStore).values(tenant_id=uow.tenant_id).on_conflict_do_nothing())
        store = await uow.session.scalar(found)
        assert store is not None  # noqa: S101 - nothing deletes it in between but the tenant's own erasure
    return store


async def lock_store(uow: UnitOfWork) -> MemoryStore:
    """The tenant's store as it will be until this commits: for whoever writes the index. Writers don't wait for each
    other.
    """
    await uow.session.execute(text(f"SELECT pg_advisory_xact_lock_shared({_KEY})"), {"tenant_id": str(uow.tenant_id)})
    return await open_store(uow)


async def lock_store_for_move(uow: UnitOfWork, tenant_id: str, seconds: float) -> None:
    """Waits for the tenant's writers, and keeps them waiting until this commits. Raises StoreBusy when they take longer
    than that.
    """
    await uow.set_local("lock_timeout", f"{int(1000 * seconds)}ms")
    try:
        await uow.session.execute(text(f"SELECT pg_advisory_xact_lock({_KEY})"), {"tenant_id": tenant_id})
    except DBAPIError as error:
        if sqlstate_of(error) != LOCK_NOT_AVAILABLE:
            raise
        raise StoreBusy("memories are being written to all the time; try again in a moment") from error


async def sum_of_tenants(tenants: Iterable[UUID], work: Callable[[UUID], Awaitable[int]]) -> int:
    """What a sweep does for each tenant, added up. One with which something is wrong keeps no other from its turn."""
    done = 0
    for tenant_id in tenants:
        try:
            done += await work(tenant_id)
        except StoreBusy:
            log.info("a memory store is written to all the time; later", tenant_id=str(tenant_id))
        except DomainError as error:
            log.error("a sweep fails for a memory store", tenant_id=str(tenant_id), error=error.message)  # noqa: TRY400
        except DBAPIError as error:  # its message holds what the statement was given
            log.error("a sweep fails for a memory store", tenant_id=str(tenant_id), sqlstate=sqlstate_of(error))  # noqa: TRY400
    return done
