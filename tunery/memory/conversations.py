"""Conversations: what was said, sealed as a whole under its subject's key. Memories may refer to theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from sqlalchemy import select

from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput
from tunery.core.slugs import check_slug
from tunery.memory.list_memories import check_page
from tunery.memory.models import Conversation
from tunery.memory.new_memory import DEFAULT_AGENT
from tunery.memory.stores import lock_store
from tunery.memory.subjects import (
    OpenedSubject,
    check_name,
    check_text,
    find_or_make_subjects,
    new_ids,
    open_subject,
)
from tunery.vault.keyring import Keyring
from tunery.vault.sealing import UnsealingFailed, place, seal_value, unseal_value

MOST_MESSAGES: Final = 1_000
MOST_BYTES: Final = 1024 * 1024
LONGEST_ROLE: Final = 50


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: str
    content: str


_decoder: Final = msgspec.json.Decoder(tuple[Message, ...])


@dataclass(frozen=True)
class OpenedConversation:
    id: UUID
    subject_id: UUID
    agent: str
    messages: tuple[Message, ...]
    created_at: datetime


@dataclass(frozen=True, kw_only=True)
class NewConversation:
    """What was said, in its order."""

    subject: str
    """The caller's name for the person."""
    messages: Sequence[Message]
    agent: str = DEFAULT_AGENT
    created_at: datetime | None = None


async def store_conversation(
    uow: UnitOfWork, keyring: Keyring, conversation: NewConversation, began_with: Mapping[str, UUID] | None = None
) -> UUID:
    """Seal the messages and keep them; the id. A subject that is unknown is made. Raises InvalidInput, and Conflict
    when somebody of that name was erased since `last_erased` said `began_with`.
    """
    check_conversation(conversation)
    # Whoever erases the tenant waits for this, or this for that.
    await lock_store(uow)
    subjects = await find_or_make_subjects(uow, keyring, {conversation.subject}, began_with)
    [identifier] = await keep_conversations(uow, [conversation], subjects)
    return identifier


async def keep_conversations(
    uow: UnitOfWork,
    conversations: Sequence[NewConversation],
    subjects: Mapping[str, OpenedSubject],
) -> list[UUID]:
    """Those that were checked, in their order: their ids. Store and subjects are locked."""
    identifiers = await new_ids(uow, len(conversations))
    for identifier, conversation in zip(identifiers, conversations, strict=True):
        subject = subjects[conversation.subject]
        uow.session.add(
            Conversation(
                id=identifier,
                subject_id=subject.id,
                agent=conversation.agent,
                sealed_messages=seal_value(subject.key, _place(identifier), msgspec.json.encode(conversation.messages)),
                created_at=conversation.created_at or uow.now(),
            )
        )
    await uow.session.flush()
    return identifiers


def check_conversation(conversation: NewConversation) -> None:
    """Raises InvalidInput that names the field."""
    check_name(conversation.subject, field="subject")
    check_slug(conversation.agent, field="agent")
    _check_messages(conversation.messages)


def _check_messages(messages: Sequence[Message]) -> None:
    if not 1 <= len(messages) <= MOST_MESSAGES:
        raise InvalidInput(
            f"a conversation has 1 to {MOST_MESSAGES:,} messages, not {len(messages):,}", field="messages"
        )
    size = 0
    for number, message in enumerate(messages):
        if not 0 < len(message.role) <= LONGEST_ROLE:
            raise InvalidInput(f"a role has 1 to {LONGEST_ROLE} characters", field=f"messages[{number}].role")
        check_text(message.role, field=f"messages[{number}].role")
        size += len(check_text(message.content, field=f"messages[{number}].content").encode())
    if size > MOST_BYTES:
        raise InvalidInput(f"a conversation has up to {MOST_BYTES:,} bytes of text, not {size:,}", field="messages")


async def list_conversations(
    uow: UnitOfWork,
    keyring: Keyring,
    subject: str,
    *,
    agent: str | None = None,
    first: int = 20,
    after: UUID | None = None,
) -> tuple[list[OpenedConversation], bool]:
    """A subject's conversations, the newest first, behind the one with the id `after`; and whether there are more.
    Raises NotFound, UnsealingFailed.
    """
    check_page(first)
    opened = await open_subject(uow, keyring, subject)
    query = select(Conversation).where(Conversation.subject_id == opened.id)
    if agent is not None:
        query = query.where(Conversation.agent == check_slug(agent, field="agent"))
    if after is not None:
        query = query.where(Conversation.id < after)
    found = (await uow.session.scalars(query.order_by(Conversation.id.desc()).limit(first + 1))).all()
    return [open_conversation(opened, conversation) for conversation in found[:first]], len(found) > first


def open_conversation(subject: OpenedSubject, conversation: Conversation) -> OpenedConversation:
    """Raises UnsealingFailed that names the conversation."""
    try:
        opened = unseal_value(subject.key, _place(conversation.id), conversation.sealed_messages)
    except UnsealingFailed as error:
        raise UnsealingFailed(
            f"conversation {ids.encode('conversation', conversation.id)} does not open: its sealed bytes were changed,"
            " moved or cut off"
        ) from error
    return OpenedConversation(
        conversation.id, conversation.subject_id, conversation.agent, _decoder.decode(opened), conversation.created_at
    )


def _place(identifier: UUID) -> bytes:
    return place("conversations", "sealed_messages", identifier)
