"""Forgetting: rows and what the index knows of them are deleted, in one transaction.

What was merged into a memory says the same, and goes with it.
"""

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import aliased

from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput, NotFound
from tunery.core.slugs import check_slug
from tunery.memory.conditions import is_unexpired
from tunery.memory.index import remove_from_index, revise_in_index
from tunery.memory.models import Conversation, Memory, MemoryStore
from tunery.memory.new_memory import check_time, chosen_kinds
from tunery.memory.stores import lock_store
from tunery.memory.subjects import find_subject, lock_subjects
from tunery.vault.keyring import Keyring

T = TypeVar("T")

MOST_IDS: Final = 1_000
_AT_ONCE: Final = 5_000
"""Ids in one statement."""


async def forget_by_ids(uow: UnitOfWork, memory_ids: Collection[UUID], conversation_ids: Collection[UUID] = ()) -> int:
    """Delete these memories and conversations; how many memories, merged ones included, and conversations there were.

    Raises NotFound for an id that there isn't, and deletes nothing then.
    """
    given = len(memory_ids) + len(conversation_ids)
    if not 1 <= given <= MOST_IDS:
        raise InvalidInput(f"forget takes 1 to {MOST_IDS:,} ids at once, not {given:,}", field="ids")
    store = await lock_store(uow)
    wanted = set(memory_ids)
    known = await uow.session.execute(select(Memory.id, Memory.subject_id).where(Memory.id.in_(wanted)))
    of_memories = {row.id: row.subject_id for row in known}
    known = await uow.session.execute(
        select(Conversation.id, Conversation.subject_id).where(Conversation.id.in_(set(conversation_ids)))
    )
    of_conversations = {row.id: row.subject_id for row in known}
    await lock_subjects(uow, {*of_memories.values(), *of_conversations.values()})
    deleted = await delete_memories(uow, store, wanted)
    if missing := wanted - deleted:
        raise NotFound("memory", ids.encode("memory", min(missing)), field="ids")
    gone = await _delete_conversations(uow, set(conversation_ids))
    if missing := set(conversation_ids) - gone:
        raise NotFound("conversation", ids.encode("conversation", min(missing)), field="ids")
    return len(deleted) + len(gone)


async def forget_of_subject(
    uow: UnitOfWork,
    keyring: Keyring,
    subject: str,
    *,
    agent: str | None = None,
    kinds: Sequence[str] | None = None,
    before: datetime | None = None,
) -> int:
    """Delete a subject's memories, or those of one agent, of some kinds, last said before a time; how many. Without
    `kinds` its conversations, too. The subject stays. Raises NotFound for an unknown one.
    """
    if agent is not None:
        check_slug(agent, field="agent")
    kinds = chosen_kinds(kinds)
    if before is not None:
        before = check_time(before, field="before")
    store = await lock_store(uow)
    row = await find_subject(uow, keyring, subject, lock=True)
    chosen = select(Memory.id).where(Memory.subject_id == row.id)
    conversations = select(Conversation.id).where(Conversation.subject_id == row.id)
    if agent is not None:
        chosen = chosen.where(Memory.agent == agent)
        conversations = conversations.where(Conversation.agent == agent)
    if before is not None:
        # What was said again since stays, and so does what was merged into it, whenever that was said.
        keeper = aliased(Memory)
        of_keeper = select(keeper.last_seen_at).where(keeper.id == Memory.merged_into).scalar_subquery()
        chosen = chosen.where(func.coalesce(of_keeper, Memory.last_seen_at) < before)
        conversations = conversations.where(Conversation.created_at < before)
    if kinds:
        chosen = chosen.where(Memory.kind.in_(kinds))
    deleted = await delete_memories(uow, store, (await uow.session.scalars(chosen)).all())
    gone = set() if kinds else await _delete_conversations(uow, (await uow.session.scalars(conversations)).all())
    return len(deleted) + len(gone)


async def delete_memories(uow: UnitOfWork, store: MemoryStore, memory_ids: Collection[UUID]) -> set[UUID]:
    """Delete these, those that were merged into them, and what the index has of either; what was deleted. What a fact
    ended holds again, until its own end or the next fact. The store is locked, and so are the subjects.
    """
    deleted: set[UUID] = set()
    facts: dict[bytes, UUID] = {}
    for some in _parts(memory_ids):
        gone = (
            delete(Memory)
            .where(or_(Memory.id.in_(some), Memory.merged_into.in_(some)))
            .returning(Memory.id, Memory.subject_id, Memory.fact_digest)
        )
        for row in await uow.session.execute(gone.execution_options(synchronize_session=False)):
            deleted.add(row.id)
            if row.fact_digest is not None:
                facts[row.fact_digest] = row.subject_id
        await remove_from_index(uow, store, some)
    for digests in _parts(facts):
        await _reopen(uow, store, digests, {facts[digest] for digest in digests})
    return deleted


async def _reopen(uow: UnitOfWork, store: MemoryStore, digests: Collection[bytes], subject_ids: set[UUID]) -> None:
    """Each fact of these keys ends where it was told to, or where the next one begins: of several that begin together,
    the one that was told last holds.
    """
    next_one = func.lead(Memory.valid_from).over(
        partition_by=Memory.fact_digest, order_by=(Memory.valid_from, Memory.id)
    )
    ends = (
        # The least is of those that are not null.
        select(Memory.id, func.least(Memory.told_valid_to, next_one).label("valid_to"))
        .where(Memory.subject_id.in_(subject_ids), Memory.fact_digest.in_(digests), is_unexpired(uow.now()))
        .subquery()
    )
    changed = (
        update(Memory)
        .values(valid_to=ends.c.valid_to)
        .where(Memory.id == ends.c.id, Memory.valid_to.is_distinct_from(ends.c.valid_to))
        .returning(Memory.id, Memory.valid_to, Memory.expires_at)
    )
    for row in (await uow.session.execute(changed.execution_options(synchronize_session=False))).all():
        await revise_in_index(uow, store, [row.id], valid_to=row.valid_to, expires_at=row.expires_at)


async def _delete_conversations(uow: UnitOfWork, conversation_ids: Collection[UUID]) -> set[UUID]:
    deleted: set[UUID] = set()
    for some in _parts(conversation_ids):
        outlived = update(Memory).where(Memory.conversation_id.in_(some)).values(conversation_id=None)
        await uow.session.execute(outlived.execution_options(synchronize_session=False))
        gone = delete(Conversation).where(Conversation.id.in_(some)).returning(Conversation.id)
        deleted.update(await uow.session.scalars(gone.execution_options(synchronize_session=False)))
    return deleted


def _parts(identifiers: Collection[T]) -> Iterator[list[T]]:
    listed = list(identifiers)
    for start in range(0, len(listed), _AT_ONCE):
        yield listed[start : start + _AT_ONCE]
