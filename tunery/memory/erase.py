"""Erasing: a person's key is destroyed, everything of theirs is deleted, and the certificate says so."""

from typing import Final, cast
from uuid import UUID

from sqlalchemy import CursorResult, Delete, delete

from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.memory.index import clear_index, remove_subject_from_index, remove_terms
from tunery.memory.models import Conversation, Memory, MemoryStore, Subject
from tunery.memory.stores import lock_store, lock_store_for_move, open_store
from tunery.memory.subjects import find_subject
from tunery.tenants.erase import TenantErased, TenantErasureBegins
from tunery.vault.erasures import certify_erasure
from tunery.vault.keyring import KeyDestroyed, Keyring
from tunery.vault.models import Erasure

_WRITERS_SECONDS: Final = 20


async def erase_subject(uow: UnitOfWork, keyring: Keyring, subject: str, *, requested_by: str) -> Erasure:
    """Erase the person whom the caller calls so: the certificate, which names them by their id alone.

    The name may be used again; it is a new person then. Raises NotFound for an unknown subject, and Unavailable while
    the root key can't be used to sign.
    """
    store = await lock_store(uow)
    row = await find_subject(uow, keyring, subject, lock=True)
    try:
        destroyed = [await keyring.destroy_data_key(uow, row.data_key_id)]
    except KeyDestroyed:  # a restored backup brought back the rows, not the key
        destroyed = []
    row.erased_digest = row.digest
    deleted = await delete_everything_of(uow, store, row)
    return await certify_erasure(
        uow,
        keyring,
        scope="subject",
        subject=ids.encode("subject", row.id),
        requested_by=requested_by,
        destroyed=destroyed,
        deleted=deleted,
    )


async def delete_everything_of(uow: UnitOfWork, store: MemoryStore, subject: Subject) -> dict[str, int]:
    """Rows deleted, by table. What stays of the subject is an id and a destroyed key. Store and subject are locked."""
    deleted = {
        "memory_terms": await remove_terms(uow, store, subject.id),
        "memory_index": await remove_subject_from_index(uow, store, subject.id),
        "memories": await _count(uow, delete(Memory).where(Memory.subject_id == subject.id)),
        "conversations": await _count(uow, delete(Conversation).where(Conversation.subject_id == subject.id)),
    }
    subject.digest = subject.sealed_name = None
    subject.erased_at = uow.now()
    await uow.session.flush()
    return deleted


async def on_tenant_erasure_begins(uow: UnitOfWork, _event: TenantErasureBegins) -> None:
    """Who remembers at this moment is waited for; who comes later finds no key to seal with."""
    await lock_store_for_move(uow, str(uow.tenant_id), _WRITERS_SECONDS)


async def on_tenant_erased(uow: UnitOfWork, event: TenantErased) -> None:
    """Nothing of this room stays; the keys are destroyed with the tenant's."""
    store = await open_store(uow)
    event.deleted["memory_terms"] += await remove_terms(uow, store)
    event.deleted["memory_index"] += await clear_index(uow, store)
    for table in (Memory, Conversation, Subject, MemoryStore):
        event.deleted[table.__tablename__] += await _count(uow, delete(table))


async def finish_erasure(uow: UnitOfWork, keyring: Keyring, subject_id: UUID) -> bool:
    """Delete what a restored backup brought back of a person whose key is destroyed; whether there was anything."""
    store = await lock_store(uow)
    subject = await uow.session.get(Subject, subject_id, with_for_update=True)
    if subject is None or subject.erased_at is not None:
        return False
    try:
        await keyring.open_data_key(uow, subject.data_key_id)
    except KeyDestroyed:
        await delete_everything_of(uow, store, subject)
        return True
    return False


async def _count(uow: UnitOfWork, statement: Delete) -> int:
    result = await uow.session.execute(statement.execution_options(synchronize_session=False))
    return cast("CursorResult[tuple[()]]", result).rowcount
