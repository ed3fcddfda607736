"""A tenant's memory store: how its memories are kept, and on which shelf of the index they lie.

Rows may be on their way to another shelf while they are searched and written. Readers take no lock: search looks again
when its answer was made of another shelf's rows. Writers of the index hold a shared lock until they commit, so that a
move waits for them, and they for one batch of it.
"""

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from tunery.core.database import UnitOfWork
from tunery.memory.models import MemoryStore

_KEY = "hashtextextended('memory index of ' || :tenant_id, 0)"


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
    """Waits for the tenant's writers, and keeps them waiting until this commits. Raises DBAPIError when they take
    longer than that.
    """
    await uow.set_local("lock_timeout", f"{int(1000 * seconds)}ms")
    await uow.session.execute(text(f"SELECT pg_advisory_xact_lock({_KEY})"), {"tenant_id": tenant_id})
