"""Memories in the clear, for their owner."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from tunery.core.database import UnitOfWork
from tunery.memory.contents import open_content
from tunery.memory.models import Memory
from tunery.memory.subjects import OpenedSubject, open_subjects
from tunery.vault.keyring import Keyring


@dataclass(frozen=True)
class OpenedMemory:
    id: UUID
    subject_id: UUID
    subject: str
    """The caller's name for the person."""
    agent: str
    kind: str
    text: str
    key: str | None
    provenance: dict[str, Any]
    source: str
    importance: float
    valid_from: datetime
    valid_to: datetime | None
    expires_at: datetime | None
    created_at: datetime
    last_seen_at: datetime
    seen: int
    merged_into: UUID | None
    conversation_id: UUID | None


def open_memory(subject: OpenedSubject, memory: Memory) -> OpenedMemory:
    """Raises UnsealingFailed that names the memory."""
    content = open_content(subject, memory.id, memory.sealed_content)
    return OpenedMemory(
        id=memory.id,
        subject_id=memory.subject_id,
        subject=subject.name,
        agent=memory.agent,
        kind=memory.kind,
        text=content.text,
        key=content.key,
        provenance=content.provenance,
        source=memory.source,
        importance=round(memory.importance, 6),  # it is stored as a float of 4 bytes
        valid_from=memory.valid_from,
        valid_to=memory.valid_to,
        expires_at=memory.expires_at,
        created_at=memory.created_at,
        last_seen_at=memory.last_seen_at,
        seen=memory.seen,
        merged_into=memory.merged_into,
        conversation_id=memory.conversation_id,
    )


async def open_memories(uow: UnitOfWork, keyring: Keyring, memories: Iterable[Memory]) -> list[OpenedMemory]:
    """Several people's, in their order, without those whose key was destroyed. Raises UnsealingFailed."""
    rows = list(memories)
    subjects = await open_subjects(uow, keyring, (memory.subject_id for memory in rows))
    return [open_memory(subjects[memory.subject_id], memory) for memory in rows if memory.subject_id in subjects]
