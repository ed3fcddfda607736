"""Writing memories down: what is known already is reinforced, what a newer fact replaces is closed, the rest is new.

All of it under the locks of the store and of the subjects: two who remember the same at the same time do it one after
the other.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from sqlalchemy import select, update

from tunery.core import ids
from tunery.core.clock import Clock
from tunery.core.database import UnitOfWork
from tunery.core.errors import NotFound
from tunery.core.logs import get_logger
from tunery.memory.batch import Batch, Embedded, Remembered, read_texts
from tunery.memory.index import check_dimensions
from tunery.memory.models import Conversation, MemoryStore
from tunery.memory.new_memory import CheckedMemory
from tunery.memory.stores import lock_store, open_store
from tunery.memory.subjects import OpenedSubject, find_or_make_subjects, new_ids
from tunery.vault.keyring import Keyring

log = get_logger(__name__)


async def keep(
    uow: UnitOfWork,
    keyring: Keyring,
    clock: Clock,
    items: Sequence[CheckedMemory],
    embedded: Embedded | None,
    began_with: Mapping[str, UUID] | None = None,
    locked: Mapping[str, OpenedSubject] | None = None,
) -> list[Remembered]:
    """Write the memories down, in their order. `embedded` is None when no model could be asked: then the sweep does it.

    "From now on" is from when the locks are held: of two who say it at the same time, the later one came later.

    `began_with` is what `last_erased` said when the call began, `locked` the subjects where they are locked already.
    Raises Conflict when one of them was erased since, NotFound for a conversation that isn't the subject's,
    InvalidInput for a wrong dimension, UnsealingFailed.
    """
    # What needs no lock is done before there is one; and all that takes long in a thread: others are served meanwhile.
    read = await asyncio.to_thread(read_texts, [item.text for item in items], to_compare=embedded is not None)
    store = await lock_store(uow)
    # Whoever writes the store's row does so before the subjects are locked: so nobody waits in a circle.
    embedded = await _fitting(uow, store, embedded)
    if embedded is None and not store.incomplete:
        store.incomplete = True
        await uow.session.flush()
    subjects = locked
    if subjects is None:
        subjects = await find_or_make_subjects(uow, keyring, {item.subject for item in items}, began_with)
    await _check_conversations(uow, items, subjects)
    now = clock.now()
    batch = Batch(uow, store, [item.beginning(now) for item in items], subjects, embedded, read)
    await batch.look()
    for number, identifier in enumerate(await new_ids(uow, len(items))):
        batch.take(number, identifier)
    await batch.write(keyring)
    return batch.remembered


async def _fitting(uow: UnitOfWork, store: MemoryStore, embedded: Embedded | None) -> Embedded | None:
    """The vectors, if they are of the store's model. The first ones decide which one that is."""
    if embedded is None:
        return None
    await adopt_model(uow, store, embedded)
    if store.embedding_model != embedded.model:
        log.info("the store has moved to another model meanwhile", model=embedded.model, now=store.embedding_model)
        return None
    return embedded


async def adopt_model(uow: UnitOfWork, store: MemoryStore, embedded: Embedded) -> None:
    """The first vectors decide which model is the store's, and how long its vectors are. Raises InvalidInput for a
    wrong dimension.
    """
    dimensions = next((len(vector) for vector in embedded.vectors if vector is not None), None)
    is_new = store.embedding_model is None
    if is_new or (store.embedding_model == embedded.model and store.dimensions is None and dimensions is not None):
        same = MemoryStore.embedding_model.is_(None) if is_new else MemoryStore.dimensions.is_(None)
        first = update(MemoryStore).where(MemoryStore.tenant_id == uow.tenant_id, same)
        await uow.session.execute(first.values(embedding_model=embedded.model, dimensions=dimensions))
        await open_store(uow)
    if dimensions is not None:
        check_dimensions(store, embedded.model, dimensions)


async def _check_conversations(
    uow: UnitOfWork, items: Iterable[CheckedMemory], subjects: Mapping[str, OpenedSubject]
) -> None:
    wanted = {item.conversation_id for item in items} - {None}
    if not wanted:
        return
    rows = await uow.session.execute(
        select(Conversation.id, Conversation.subject_id).where(Conversation.id.in_(wanted))
    )
    owners = {row.id: row.subject_id for row in rows}
    for item in items:
        if item.conversation_id is not None and owners.get(item.conversation_id) != subjects[item.subject].id:
            at = f"{item.path}." if item.path else ""
            raise NotFound(
                "conversation", ids.encode("conversation", item.conversation_id), field=f"{at}conversationId"
            )
