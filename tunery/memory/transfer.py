"""Importing and exporting memories and conversations, in the clear for their owner: an export can be imported again."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Final, TypeVar
from uuid import UUID

import msgspec
from sqlalchemy import Select, select
from sqlalchemy.orm import InstrumentedAttribute

from tunery.core import ids
from tunery.core.clock import Clock
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import NotFound
from tunery.core.outbox import enqueue
from tunery.core.services import Services
from tunery.core.slugs import check_slug
from tunery.memory.batch import Remembered
from tunery.memory.conditions import is_listed
from tunery.memory.conversations import keep_conversations, open_conversation
from tunery.memory.import_lines import (
    ConversationLine,
    ImportedConversation,
    ImportedMemory,
    ImportReader,
    MemoryLine,
)
from tunery.memory.keep import keep
from tunery.memory.models import Conversation, Memory, Subject
from tunery.memory.new_memory import CheckedMemory
from tunery.memory.opened import open_memory
from tunery.memory.reembed import EMBED
from tunery.memory.stores import lock_store
from tunery.memory.subjects import (
    NAMES_PURPOSE,
    OpenedSubject,
    find_or_make_subjects,
    find_subject,
    last_erased,
    open_subjects,
)
from tunery.memory.terms import TERMS_PURPOSE
from tunery.vault.keyring import Keyring

AT_ONCE: Final = 500
_SUBJECTS_AT_ONCE: Final = 100
_CONVERSATIONS_AT_ONCE: Final = 50


@dataclass(frozen=True)
class Imported:
    """What came of an import's lines. `seen` were known already, `expired` are left out."""

    stored: int = 0
    seen: int = 0
    merged: int = 0
    conversations: int = 0
    expired: int = 0


async def import_memories(services: Services, tenant_id: UUID, reader: ImportReader) -> Imported:
    """Keep all that the reader has read, or nothing; a worker embeds it afterwards, and until then it is found by its
    words and its age. Raises NotFound, UnsealingFailed, and Conflict when a subject is erased meanwhile.
    """
    keyring, clock = services.get(Keyring), services.get(Clock)
    names = {one.item.subject for one in reader.memories} | {one.item.subject for one in reader.conversations}
    began_with = await _make_ready(services, tenant_id, names)
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        store = await lock_store(uow)
        if not store.incomplete:  # made whole by a sweep just now
            store.incomplete = True
            await uow.session.flush()
        # All at once: who locks some now and some later may wait for somebody who waits for it.
        subjects = await find_or_make_subjects(uow, keyring, names, began_with)
        conversations, new = await _import_conversations(uow, reader.conversations, subjects)
        named: dict[str, UUID] = {}
        remembered = []
        standing = [imported for imported in reader.memories if imported.merged_into is None]
        behind = [imported for imported in reader.memories if imported.merged_into is not None]
        for part in (standing, behind):
            for some in _parts(part):
                items = [_linked(one, named, conversations) for one in some]
                kept = await keep(uow, keyring, clock, items, None, locked=subjects)
                for one, result in zip(some, kept, strict=True):
                    if one.id is not None:
                        named[one.id] = result.merged_into or result.id
                remembered += kept
        enqueue(uow, EMBED, tenant_id=str(tenant_id))
    return _counted(remembered, conversations=new, expired=reader.expired)


async def _make_ready(services: Services, tenant_id: UUID, names: Collection[str]) -> dict[str, UUID]:
    """What others need too is written in a transaction of its own: they would wait for the end of a long import. Who of
    the names was erased last, at its beginning.
    """
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        store = await lock_store(uow)
        store.incomplete = True
        for purpose in (NAMES_PURPOSE, TERMS_PURPOSE):
            await services.get(Keyring).purpose_key(uow, purpose)
        return await last_erased(uow, services.get(Keyring), names)


def _linked(imported: ImportedMemory, named: dict[str, UUID], conversations: dict[str, UUID]) -> CheckedMemory:
    """The memory with the ids that what it refers to has here."""
    return replace(
        imported.item,
        merged_into=None if imported.merged_into is None else named[imported.merged_into],
        conversation_id=None if imported.conversation is None else conversations[imported.conversation],
    )


async def _import_conversations(
    uow: UnitOfWork, imported: Sequence[ImportedConversation], subjects: Mapping[str, OpenedSubject]
) -> tuple[dict[str, UUID], int]:
    """Their ids by what the file calls them, and how many were new: one that is here already is not made again."""
    known = await _known_conversations(uow, [one.id for one in imported if one.id is not None])
    new = [one for one in imported if one.id not in known]
    for some in _parts(new):
        made = await keep_conversations(uow, [one.item for one in some], subjects)
        known.update((one.id, identifier) for one, identifier in zip(some, made, strict=True) if one.id is not None)
    return known, len(new)


async def _known_conversations(uow: UnitOfWork, names: Sequence[str]) -> dict[str, UUID]:
    identifiers = {}
    for name in names:
        with contextlib.suppress(NotFound):
            identifiers[ids.decode("conversation", name)] = name
    rows = await uow.session.scalars(select(Conversation.id).where(Conversation.id.in_(identifiers)))
    return {identifiers[identifier]: identifier for identifier in rows}


def _counted(remembered: Sequence[Remembered], *, conversations: int, expired: int) -> Imported:
    outcomes = Counter(one.outcome for one in remembered)
    return Imported(outcomes["stored"], outcomes["seen"], outcomes["merged"], conversations, expired)


T = TypeVar("T")
Row = TypeVar("Row", Conversation, Memory)


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


async def export_memories(
    services: Services, tenant_id: UUID, *, subject: str | None = None, agent: str | None = None
) -> AsyncIterator[bytes]:
    """NDJSON: for each subject its conversations, then its memories, the oldest first; or those of one subject, of one
    agent. Each part is read in a transaction of its own: what is remembered meanwhile may be in it. `subject` is the
    caller's name or an id.

    Raises NotFound for an unknown subject before the first line, and UnsealingFailed, which ends the stream.
    """
    if agent is not None:
        check_slug(agent, field="agent")
    database, keyring = services.get(Database), services.get(Keyring)
    after: UUID | None = None
    while True:
        async with database.unit_of_work(tenant_id) as uow:
            some = await _subjects(uow, after) if subject is None else [await _subject(uow, keyring, subject)]
            opened = await open_subjects(uow, keyring, some)
        for identifier in some:
            if identifier in opened:
                exported = _Exported(services, tenant_id, opened[identifier])
                async for lines in exported.conversations(agent):
                    yield lines
                async for lines in exported.memories(agent):
                    yield lines
        if subject is not None or len(some) < _SUBJECTS_AT_ONCE:
            return
        after = some[-1]


async def _subject(uow: UnitOfWork, keyring: Keyring, given: str) -> UUID:
    """By the caller's name or by id: what is asked for stands in a URL, which many a proxy writes down."""
    with contextlib.suppress(NotFound):
        identifier = ids.decode("subject", given)
        known = await uow.session.scalar(select(Subject.id).where(Subject.id == identifier))
        if known is not None:
            return known
    return (await find_subject(uow, keyring, given)).id


async def _subjects(uow: UnitOfWork, after: UUID | None) -> Sequence[UUID]:
    query = select(Subject.id).where(Subject.erased_at.is_(None)).order_by(Subject.id).limit(_SUBJECTS_AT_ONCE)
    return (await uow.session.scalars(query if after is None else query.where(Subject.id > after))).all()


@dataclass(frozen=True)
class _Exported:
    """One subject of an export."""

    services: Services
    tenant_id: UUID
    subject: OpenedSubject
    _written: set[UUID] = field(default_factory=set)
    """Conversations: a memory names no other, since what it names must be in the file."""

    async def conversations(self, agent: str | None) -> AsyncIterator[bytes]:
        query = select(Conversation).where(Conversation.subject_id == self.subject.id)
        if agent is not None:
            query = query.where(Conversation.agent == agent)
        async for rows in self._pages(query, Conversation.id, _CONVERSATIONS_AT_ONCE):
            self._written.update(row.id for row in rows)
            yield _encoded([self._conversation_line(row) for row in rows])

    async def memories(self, agent: str | None) -> AsyncIterator[bytes]:
        query = select(Memory).where(Memory.subject_id == self.subject.id, is_listed(self.services.get(Clock).now()))
        if agent is not None:
            query = query.where(Memory.agent == agent)
        async for rows in self._pages(query, Memory.id, AT_ONCE):
            yield _encoded([self._memory_line(row) for row in rows])

    async def _pages(
        self, query: Select[Row], identifier: InstrumentedAttribute[UUID], size: int
    ) -> AsyncIterator[Sequence[Row]]:
        after: UUID | None = None
        while True:
            page = query if after is None else query.where(identifier > after)
            async with self.services.get(Database).unit_of_work(self.tenant_id) as uow:
                rows = (await uow.session.scalars(page.order_by(identifier).limit(size))).all()
            if rows:
                yield rows
            if len(rows) < size:
                return
            after = rows[-1].id

    def _conversation_line(self, row: Conversation) -> ConversationLine:
        conversation = open_conversation(self.subject, row)
        return ConversationLine(
            type="conversation",
            id=ids.encode("conversation", row.id),
            subject=self.subject.name,
            agent=row.agent,
            messages=list(conversation.messages),
            created_at=row.created_at.astimezone(UTC),
        )

    def _memory_line(self, row: Memory) -> MemoryLine:
        memory = open_memory(self.subject, row)
        return MemoryLine(
            id=ids.encode("memory", memory.id),
            subject=self.subject.name,
            agent=memory.agent,
            kind=memory.kind,
            text=memory.text,
            key=memory.key,
            provenance=memory.provenance,
            source=memory.source,
            importance=memory.importance,
            valid_from=memory.valid_from,
            # Where a fact ends another one, that follows from the two when they come in again.
            valid_to=memory.valid_to if memory.key is None else row.told_valid_to,
            expires_at=memory.expires_at,
            created_at=memory.created_at,
            last_seen_at=memory.last_seen_at,
            seen=memory.seen,
            merged_into=_name_of("memory", memory.merged_into),
            conversation=_name_of(
                "conversation", memory.conversation_id if memory.conversation_id in self._written else None
            ),
        )


def _name_of(kind: str, identifier: UUID | None) -> str | None:
    return None if identifier is None else ids.encode(kind, identifier)


def _encoded(lines: Sequence[msgspec.Struct]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
