"""Memories, conversations and stores as GraphQL shows them."""

from datetime import datetime
from typing import Self
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from tunery.core import ids
from tunery.graphql.planner.mapping import METADATA, Declared
from tunery.memory.batch import Remembered
from tunery.memory.conversations import MOST_MESSAGES, OpenedConversation
from tunery.memory.list_memories import StoreSize
from tunery.memory.new_memory import KINDS
from tunery.memory.opened import OpenedMemory
from tunery.memory.recall import Recalled

SUBJECT = "Your name for the person whom it is about."
AGENT = "Whose memory it is: up to 64 lower-case letters and digits, joined by hyphens; a chat's is its deployment."
KIND = f"{', '.join(KINDS[:-1])} or {KINDS[-1]}."


@strawberry.type(description="One thing worth knowing about a subject.")
class Memory:
    id: strawberry.ID = strawberry.field(description="Opaque; begins with mem_.")
    subject: str = strawberry.field(description=SUBJECT)
    subject_id: strawberry.ID = strawberry.field(
        description="Opaque; begins with sub_. Certificates of erasure name it."
    )
    agent: str = strawberry.field(description=AGENT)
    kind: str = strawberry.field(description=KIND)
    text: str = strawberry.field(description="What is remembered.")
    key: str | None = strawberry.field(description="What a fact says something about.")
    provenance: JSON = strawberry.field(description="Where it comes from, as it was given.")
    source: str = strawberry.field(description="api, chat or import.")
    importance: float = strawberry.field(description="0 to 1.")
    valid_from: datetime = strawberry.field(description="Since when it is so.")
    valid_to: datetime | None = strawberry.field(description="Until when it was so; null: it still is.")
    expires_at: datetime | None = strawberry.field(description="When it is deleted; null: it stays.")
    created_at: datetime = strawberry.field(description="When it was first remembered.")
    last_seen_at: datetime = strawberry.field(description="When it was last said.")
    seen: int = strawberry.field(description="How often it was said.")
    merged_into: strawberry.ID | None = strawberry.field(
        description="The older memory that says the same, and that recall shows in its place."
    )
    conversation_id: strawberry.ID | None = strawberry.field(description="The conversation that it is from.")

    @classmethod
    def of(cls, memory: OpenedMemory) -> Self:
        return cls(
            id=strawberry.ID(ids.encode("memory", memory.id)),
            subject=memory.subject,
            subject_id=strawberry.ID(ids.encode("subject", memory.subject_id)),
            agent=memory.agent,
            kind=memory.kind,
            text=memory.text,
            key=memory.key,
            provenance=JSON(memory.provenance),
            source=memory.source,
            importance=memory.importance,
            valid_from=memory.valid_from,
            valid_to=memory.valid_to,
            expires_at=memory.expires_at,
            created_at=memory.created_at,
            last_seen_at=memory.last_seen_at,
            seen=memory.seen,
            merged_into=id_of("memory", memory.merged_into),
            conversation_id=id_of("conversation", memory.conversation_id),
        )


@strawberry.type(description="Where a leg of the search has a memory.")
class RecallLeg:
    name: str = strawberry.field(description="vector, terms or recency.")
    place: int = strawberry.field(description="1 is the best.")


@strawberry.type(description="A memory in an answer of recall.")
class RecalledMemory:
    memory: Memory = strawberry.field(description="The memory itself.")
    score: float = strawberry.field(
        description="The sum of 1 / (60 + place) over the legs that found it; recency counts for less."
    )
    legs: list[RecallLeg] = strawberry.field(
        description="The legs that found it.", metadata={METADATA: Declared(most=3)}
    )

    @classmethod
    def of(cls, recalled: Recalled) -> Self:
        legs = [RecallLeg(name=name, place=place) for name, place in recalled.legs.items()]
        return cls(memory=Memory.of(recalled.memory), score=recalled.score, legs=legs)


@strawberry.type(description="What recall found.")
class Recall:
    memories: list[RecalledMemory] = strawberry.field(
        description="The best first.", metadata={METADATA: Declared(of_page=True)}
    )
    legs: list[str] = strawberry.field(
        description="Which legs ran. vector is missing while no embedding model can be asked."
    )


@strawberry.type(description="One page of a subject's memories.")
class MemoryPage:
    nodes: list[Memory] = strawberry.field(description="The newest first.")
    has_next_page: bool = strawberry.field(description="Whether there are more behind this page.")
    end_cursor: strawberry.ID | None = strawberry.field(description="Give it as `after` for the next page.")


@strawberry.type(description="One message of a conversation.")
class ConversationMessage:
    role: str = strawberry.field(description="Who says it: user, assistant, …")
    content: str = strawberry.field(description="What is said.")


@strawberry.type(description="What was said, in its order.")
class Conversation:
    id: strawberry.ID = strawberry.field(description="Opaque; begins with conv_.")
    agent: str = strawberry.field(description=AGENT)
    messages: list[ConversationMessage] = strawberry.field(
        description="In their order.", metadata={METADATA: Declared(most=MOST_MESSAGES)}
    )
    created_at: datetime = strawberry.field(description="When it was stored.")

    @classmethod
    def of(cls, conversation: OpenedConversation) -> Self:
        return cls(
            id=strawberry.ID(ids.encode("conversation", conversation.id)),
            agent=conversation.agent,
            messages=[ConversationMessage(role=said.role, content=said.content) for said in conversation.messages],
            created_at=conversation.created_at,
        )


@strawberry.type(description="One page of a subject's conversations.")
class ConversationPage:
    nodes: list[Conversation] = strawberry.field(description="The newest first.")
    has_next_page: bool = strawberry.field(description="Whether there are more behind this page.")
    end_cursor: strawberry.ID | None = strawberry.field(description="Give it as `after` for the next page.")


@strawberry.type(description="How the organisation's memories are kept and searched.")
class MemoryStore:
    search: str = strawberry.field(
        description="open: embeddings and keyed hashes of words stand in the clear. sealed: nothing does."
    )
    switching: bool = strawberry.field(description="Whether some memories are still on their way to that.")
    embedding_model: str | None = strawberry.field(
        description="What recall searches by; null: nothing is embedded yet."
    )
    dimensions: int | None = strawberry.field(description="Of that model's vectors.")
    complete: bool = strawberry.field(description="Whether all memories are known to have a vector of that model.")
    own_index: bool = strawberry.field(description="Whether they have an index of their own: there are many.")
    subjects: int = strawberry.field(description="Persons, without erased ones.")
    memories: int = strawberry.field(description="Closed and merged ones included.")
    conversations: int = strawberry.field(description="Stored ones.")

    @classmethod
    def of(cls, size: StoreSize) -> Self:
        store = size.store
        return cls(
            search=store.search,
            switching=store.switching,
            embedding_model=store.embedding_model,
            dimensions=store.dimensions,
            complete=not store.incomplete,
            own_index=store.shelf > 0 and not store.moving,
            subjects=size.subjects,
            memories=size.memories,
            conversations=size.conversations,
        )


@strawberry.type(description="What came of one memory.")
class RememberedMemory:
    id: strawberry.ID = strawberry.field(description="Of the memory that stands for it now.")
    subject_id: strawberry.ID = strawberry.field(description="Of the person.")
    outcome: str = strawberry.field(
        description="stored; seen: it was known already; merged: an older one differs in punctuation, capitals or"
        " emphasis alone."
    )
    merged_into: strawberry.ID | None = strawberry.field(
        description="The older memory that says the same, and that recall shows in its place."
    )
    embedded: bool = strawberry.field(
        description="false: no model could be asked. Until one can, it is found by its words and its age."
    )
    closed: list[strawberry.ID] = strawberry.field(description="Facts of the same key whose validity it ended.")

    @classmethod
    def of(cls, remembered: Remembered) -> Self:
        return cls(
            id=strawberry.ID(ids.encode("memory", remembered.id)),
            subject_id=strawberry.ID(ids.encode("subject", remembered.subject_id)),
            outcome=remembered.outcome,
            merged_into=id_of("memory", remembered.merged_into),
            embedded=remembered.embedded,
            closed=[strawberry.ID(ids.encode("memory", closed)) for closed in remembered.closed],
        )


def id_of(kind: str, identifier: UUID | None) -> strawberry.ID | None:
    return None if identifier is None else strawberry.ID(ids.encode(kind, identifier))
