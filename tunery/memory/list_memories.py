"""A subject's memories, page by page: closed and merged ones included."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import func, select

from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput
from tunery.core.slugs import check_slug
from tunery.memory.conditions import is_listed
from tunery.memory.models import Conversation, Memory, MemoryStore, Subject
from tunery.memory.new_memory import chosen_kinds
from tunery.memory.opened import OpenedMemory, open_memory
from tunery.memory.stores import open_store
from tunery.memory.subjects import open_subject
from tunery.vault.keyring import Keyring

MOST_PER_PAGE: Final = 100


async def list_memories(
    uow: UnitOfWork,
    keyring: Keyring,
    subject: str,
    *,
    agent: str | None = None,
    kinds: Sequence[str] | None = None,
    first: int = 20,
    after: UUID | None = None,
) -> tuple[list[OpenedMemory], bool]:
    """The newest first, behind the one with the id `after`; and whether there are more. Raises NotFound,
    UnsealingFailed.
    """
    check_page(first)
    opened = await open_subject(uow, keyring, subject)
    query = select(Memory).where(Memory.subject_id == opened.id, is_listed(uow.now()))
    if agent is not None:
        query = query.where(Memory.agent == check_slug(agent, field="agent"))
    if kinds := chosen_kinds(kinds):
        query = query.where(Memory.kind.in_(kinds))
    if after is not None:
        query = query.where(Memory.id < after)
    found = (await uow.session.scalars(query.order_by(Memory.id.desc()).limit(first + 1))).all()
    return [open_memory(opened, memory) for memory in found[:first]], len(found) > first


def check_page(first: int) -> None:
    """Raises InvalidInput."""
    if not 1 <= first <= MOST_PER_PAGE:
        raise InvalidInput(f"a page has 1 to {MOST_PER_PAGE} entries, not {first:,}", field="first")


@dataclass(frozen=True)
class StoreSize:
    """A store, and what is in it."""

    store: MemoryStore
    subjects: int
    memories: int
    conversations: int


async def measure_store(uow: UnitOfWork) -> StoreSize:
    """Merged and closed memories count, erased subjects don't."""
    counts = [
        await uow.session.scalar(query)
        for query in (
            select(func.count()).select_from(Subject).where(Subject.erased_at.is_(None)),
            select(func.count()).select_from(Memory),
            select(func.count()).select_from(Conversation),
        )
    ]
    return StoreSize(await open_store(uow), *(count or 0 for count in counts))
