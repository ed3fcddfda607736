"""The memories of one call on their way: what is known of their subjects, and what becomes of each."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import insert, or_, select

from tunery.core.database import UnitOfWork
from tunery.memory.conditions import is_unexpired
from tunery.memory.contents import (
    Content,
    fact_digest_of,
    fingerprint_of,
    open_content,
    seal_content,
    seal_embedding,
)
from tunery.memory.index import IndexEntry, add_to_index, revise_in_index
from tunery.memory.merging import statement_of
from tunery.memory.models import Memory, MemoryStore
from tunery.memory.nearest import Sought, find_nearest, near_pairs
from tunery.memory.new_memory import MOST_SEEN, DatedMemory
from tunery.memory.subjects import OpenedSubject
from tunery.memory.terms import TERMS_PURPOSE, hash_terms, terms_of
from tunery.vault.keyring import Keyring
from tunery.vault.sealing import UnsealingFailed

_COLUMNS: Final = [column.key for column in Memory.__table__.columns if column.key != "tenant_id"]

Outcome = Literal["stored", "seen", "merged"]
_Same: TypeAlias = tuple[UUID, str, str, bytes | None, bytes]
"""Subject, agent, kind, the fact's digest, the text's fingerprint."""


@dataclass(frozen=True)
class Embedded:
    """What a model made of some texts: a vector each, None for one that it does not take."""

    model: str
    vectors: Sequence[Sequence[float] | None]


@dataclass(frozen=True)
class Remembered:
    """What came of one memory. `id` is the one that stands for it now, `merged_into` the older one that recall shows in
    its place. `embedded`: whether it was compared by its meaning, and can be found by it.
    """

    id: UUID
    subject_id: UUID
    outcome: Outcome
    merged_into: UUID | None
    embedded: bool
    closed: tuple[UUID, ...] = ()
    """The facts whose validity it ended."""


class ReadText(NamedTuple):
    """What can be told of a text without any key."""

    terms: Sequence[str]
    statement: str
    """Only where they are to be compared."""


def read_texts(texts: Iterable[str], *, to_compare: bool) -> list[ReadText]:
    """Of a hundred long ones it takes a while."""
    return [ReadText(terms_of(text), statement_of(text) if to_compare else "") for text in texts]


@dataclass
class Batch:
    """The memories on their way, and what is known of their subjects."""

    uow: UnitOfWork
    store: MemoryStore
    items: Sequence[DatedMemory]
    subjects: Mapping[str, OpenedSubject]
    embedded: Embedded | None
    _read: Sequence[ReadText]
    remembered: list[Remembered] = field(default_factory=list)
    _same: dict[_Same, list[Memory]] = field(default_factory=lambda: defaultdict(list))
    _facts: dict[tuple[UUID, bytes], list[Memory]] = field(default_factory=lambda: defaultdict(list))
    _keepers: dict[UUID, Memory] = field(default_factory=dict)
    _near: list[list[tuple[Memory, str]]] = field(default_factory=list)
    """For each of the items, the memories that its vector lies near, and what they state."""
    _pairs: dict[int, list[int]] = field(default_factory=dict)
    """For each of the items, the earlier ones that its vector lies near."""
    _new: list[tuple[Memory, int]] = field(default_factory=list)
    _revised: dict[UUID, Memory] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._of = [self.subjects[item.subject] for item in self.items]

    async def look(self) -> None:
        """For what is known already."""
        await asyncio.to_thread(self._digest)
        session, now = self.uow.session, self.uow.now()
        subject_ids = {subject.id for subject in self._of}
        living = is_unexpired(now)
        same = select(Memory).where(Memory.subject_id.in_(subject_ids), Memory.fingerprint.in_(self._prints), living)
        for memory in await session.scalars(same.order_by(Memory.merged_into.is_not(None), Memory.id)):
            self._same[_same_as(memory)].append(memory)
        merged = {memory.merged_into for known in self._same.values() for memory in known} - {None}
        if merged:
            keepers = await session.scalars(select(Memory).where(Memory.id.in_(merged), living))
            self._keepers = {memory.id: memory for memory in keepers}
        digests = {digest for digest in self._digests if digest is not None}
        if digests:
            earliest = min(item.valid_from for item in self.items)
            open_then = or_(Memory.valid_to.is_(None), Memory.valid_to > earliest)
            facts = select(Memory).where(
                Memory.subject_id.in_(subject_ids), Memory.fact_digest.in_(digests), open_then, living
            )
            for memory in await session.scalars(facts.order_by(Memory.id)):
                assert memory.fact_digest is not None  # noqa: S101 - the condition says so
                self._facts[memory.subject_id, memory.fact_digest].append(memory)
        self._near = await self._look_near()

    def _digest(self) -> None:
        both = list(zip(self._of, self.items, strict=True))
        self._prints = [fingerprint_of(of, item.text) for of, item in both]
        self._digests = [fact_digest_of(of, item.agent, item.key) for of, item in both]

    async def _look_near(self) -> list[list[tuple[Memory, str]]]:
        if self.embedded is None:
            return [[] for _ in self.items]
        sought = [
            Sought(of, item.agent, item.kind, item.valid_from, item.valid_to, vector)
            if item.key is None and vector
            else None
            for of, item, vector in zip(self._of, self.items, self.embedded.vectors, strict=True)
        ]
        self._pairs = near_pairs([None if one is None else one.vector for one in sought])
        found = await find_nearest(self.uow, self.store, self.embedded.model, sought)
        # Hundreds of texts take a while; others are served meanwhile.
        return await asyncio.to_thread(self._read_statements, found)

    def _read_statements(self, found: Sequence[Sequence[Memory]]) -> list[list[tuple[Memory, str]]]:
        return [list(_statements_of(of, near)) for of, near in zip(self._of, found, strict=True)]

    def take(self, number: int, identifier: UUID) -> None:
        """Decide what becomes of one memory; a new one gets the identifier."""
        item, of = self.items[number], self._of[number]
        vector = self.embedded.vectors[number] if self.embedded else None
        known = self._find_same(number)
        if known is not None:
            self._see_again(known, item)
            self.remembered.append(Remembered(known.id, of.id, "seen", None, vector is not None))
            return
        near = None if item.merged_into else self._find_near(number)
        if near is not None:
            self._see_again(near, item)
        merged_into = near.id if near is not None else item.merged_into
        memory = self._make(number, identifier, merged_into)
        closed = () if merged_into else self._close_others(memory)
        self._new.append((memory, number))
        self._same[_same_as(memory)].append(memory)
        if merged_into is None and memory.fact_digest is not None:
            self._facts[memory.subject_id, memory.fact_digest].append(memory)
        self.remembered.append(
            Remembered(
                identifier, of.id, "merged" if merged_into else "stored", merged_into, vector is not None, closed
            )
        )

    def _find_same(self, number: int) -> Memory | None:
        item, of = self.items[number], self._of[number]
        sought = (of.id, item.agent, item.kind, self._digests[number], self._prints[number])
        for memory in self._same.get(sought, ()):
            keeper = self._keeper_of(memory)
            if keeper is None:
                continue
            # A fact that was true again after another one is another fact.
            until = item.valid_from if item.key is not None else item.valid_to
            told = (item.valid_from, item.valid_to)
            comes_back = item.imported and item.key is not None and told == (keeper.valid_from, keeper.told_valid_to)
            if comes_back or keeper.holds_within(item.valid_from, until):
                return keeper
        return None

    def _keeper_of(self, memory: Memory) -> Memory | None:
        if memory.merged_into is None:
            return memory
        new = (new for new, _ in self._new if new.id == memory.merged_into)
        return self._keepers.get(memory.merged_into) or next(new, None)

    def _find_near(self, number: int) -> Memory | None:
        near = [*self._near[number], *self._near_in_batch(number)]
        return next((memory for memory, statement in near if statement == self._read[number].statement), None)

    def _near_in_batch(self, number: int) -> Iterator[tuple[Memory, str]]:
        item, subject_id = self.items[number], self._of[number].id
        standing = {other: memory for memory, other in self._new if memory.merged_into is None}
        for other in self._pairs.get(number, ()):
            memory = standing.get(other)
            if memory is None or (memory.subject_id, memory.agent, memory.kind) != (subject_id, item.agent, item.kind):
                continue
            if memory.holds_within(item.valid_from, item.valid_to):
                yield memory, self._read[other].statement

    def _see_again(self, known: Memory, item: DatedMemory) -> None:
        end = known.valid_to
        changed = reinforce(known, item)
        if known.fact_digest is not None:  # it holds until what is said last, and no longer than to the next one
            known.valid_to = known.told_valid_to = item.valid_to
            for other in self._facts_like(known):
                if (other.valid_from, other.id) > (known.valid_from, known.id):
                    known.valid_to = _earlier(known.valid_to, other.valid_from)
        if changed or known.valid_to != end:
            self._revised[known.id] = known

    def _facts_like(self, fact: Memory) -> Sequence[Memory]:
        """Those of the same key, of its subject and agent."""
        return () if fact.fact_digest is None else self._facts.get((fact.subject_id, fact.fact_digest), ())

    def _make(self, number: int, identifier: UUID, merged_into: UUID | None) -> Memory:
        item, of = self.items[number], self._of[number]
        return Memory(
            id=identifier,
            subject_id=of.id,
            agent=item.agent,
            kind=item.kind,
            fingerprint=self._prints[number],
            fact_digest=self._digests[number],
            source=item.source,
            importance=item.importance,
            valid_from=item.valid_from,
            valid_to=item.valid_to,
            told_valid_to=None if item.key is None else item.valid_to,
            expires_at=item.expires_at,
            created_at=item.created_at,
            last_seen_at=item.last_seen_at,
            seen=item.seen,
            merged_into=merged_into,
            to_compare=self.embedded is None and item.key is None and merged_into is None,
            conversation_id=item.conversation_id,
        )

    def _close_others(self, new: Memory) -> tuple[UUID, ...]:
        """A fact ends the one before it, and where one begins after it, it ends there itself."""
        closed = []
        for other in self._facts_like(new):
            if other.valid_from > new.valid_from:
                new.valid_to = _earlier(new.valid_to, other.valid_from)
            elif other.valid_to is None or other.valid_to > new.valid_from:
                other.valid_to = new.valid_from
                self._revised[other.id] = other
                closed.append(other.id)
        return tuple(closed)

    async def write(self, keyring: Keyring) -> None:
        key = None
        if self.store.search == "open" and self._new:
            key = (await keyring.purpose_key(self.uow, TERMS_PURPOSE)).key
        entries = await asyncio.to_thread(self._seal, key)
        await self.uow.session.flush()
        if self._new:
            # In one statement, which a flush would not do: it reads back what the database fills in, row by row.
            rows = [{name: getattr(memory, name) for name in _COLUMNS} for memory, _ in self._new]
            await self.uow.session.execute(insert(Memory), rows)
        new = {memory.id for memory, _ in self._new}
        for memory in self._revised.values():
            if memory.id not in new:
                await revise(self.uow, self.store, memory)
        model = self.embedded.model if self.embedded else None
        await add_to_index(self.uow, self.store, entries, embedding_model=model)

    def _seal(self, terms_key: bytes | None) -> list[IndexEntry]:
        """Seals what is new; what search may know of it, where that stands in the clear."""
        entries = []
        for memory, number in self._new:
            item, of = self.items[number], self._of[number]
            vector = self.embedded.vectors[number] if self.embedded else None
            memory.sealed_content = seal_content(of, memory.id, Content(item.text, item.provenance, item.key))
            if memory.merged_into is not None:
                continue
            if terms_key is not None:
                entries.append(entry_of(memory, vector, hash_terms(terms_key, self._read[number].terms)))
            elif self.embedded is not None:
                memory.sealed_embedding = seal_embedding(of, memory.id, vector or ())
                memory.embedding_model = self.embedded.model
        return entries


def _statements_of(subject: OpenedSubject, memories: Iterable[Memory]) -> Iterator[tuple[Memory, str]]:
    """Those that may be the same as another one. What has a key stands for itself, and what doesn't open is nobody's
    duplicate: the vault has logged it.
    """
    for memory in memories:
        if memory.fact_digest is None:
            with contextlib.suppress(UnsealingFailed):
                yield memory, statement_of(open_content(subject, memory.id, memory.sealed_content).text)


def reinforce(known: Memory, again: DatedMemory | Memory) -> bool:
    """It was said again: it counts for more, and holds for as long as either of them says. Whether that changed."""
    if isinstance(again, DatedMemory) and again.imported:  # it may be the same saying, which comes back
        known.seen = max(known.seen, again.seen)
    else:
        known.seen = min(known.seen + again.seen, MOST_SEEN)
    known.last_seen_at = max(known.last_seen_at, again.last_seen_at)
    known.importance = max(known.importance, again.importance)
    before = (known.valid_from, known.valid_to, known.expires_at)
    if known.fact_digest is None:  # a fact begins where the one before it ends
        known.valid_from = min(known.valid_from, again.valid_from)
        known.valid_to = _later(known.valid_to, again.valid_to)
    known.expires_at = _later(known.expires_at, again.expires_at)
    return before != (known.valid_from, known.valid_to, known.expires_at)


async def revise(uow: UnitOfWork, store: MemoryStore, memory: Memory) -> None:
    """Let the index know when it holds and when it expires."""
    await revise_in_index(
        uow,
        store,
        [memory.id],
        valid_from=memory.valid_from,
        valid_to=memory.valid_to,
        expires_at=memory.expires_at,
    )


def entry_of(memory: Memory, embedding: Sequence[float] | None, terms: Sequence[int]) -> IndexEntry:
    """What search may know of it."""
    return IndexEntry(
        memory_id=memory.id,
        subject_id=memory.subject_id,
        agent=memory.agent,
        kind=memory.kind,
        valid_from=memory.valid_from,
        created_at=memory.created_at,
        valid_to=memory.valid_to,
        expires_at=memory.expires_at,
        embedding=embedding,
        terms=terms,
    )


def _same_as(memory: Memory) -> _Same:
    return (memory.subject_id, memory.agent, memory.kind, memory.fact_digest, memory.fingerprint)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    """The later end; None is never."""
    return None if one is None or other is None else max(one, other)


def _earlier(one: datetime | None, other: datetime) -> datetime:
    return other if one is None else min(one, other)
