"""Memories, conversations and the erasure of subjects in GraphQL. What is sealed no SQL can select: no planner here."""

from datetime import datetime, timedelta
from typing import Annotated

import strawberry
from strawberry.scalars import JSON

from tunery.core import ids
from tunery.core.errors import InvalidInput
from tunery.graphql.context import Info
from tunery.graphql.cost import COUNTING_POINTS
from tunery.graphql.errors import UserErrors, user_errors
from tunery.graphql.planner.declare import operation, reference
from tunery.graphql.planner.mapping import METADATA, Declared
from tunery.memory.access import ERASE, READ, WRITE
from tunery.memory.answers import (
    AGENT,
    KIND,
    SUBJECT,
    Conversation,
    ConversationPage,
    Memory,
    MemoryPage,
    MemoryStore,
    Recall,
    RecalledMemory,
    RememberedMemory,
    id_of,
)
from tunery.memory.conversations import list_conversations
from tunery.memory.erase import erase_subject
from tunery.memory.forget import forget_by_ids, forget_of_subject
from tunery.memory.list_memories import list_memories, measure_store
from tunery.memory.new_memory import DEFAULT_AGENT, MOST_ITEMS, NewMemory, chosen_kinds
from tunery.memory.recall import DEFAULT_K, MOST_K, recall
from tunery.memory.remember import remember
from tunery.memory.switch import set_search
from tunery.vault.api import Erasure
from tunery.vault.keyring import Keyring

RECALL_POINTS = 10
"""A model is asked, and all of a subject's memories are compared."""


@strawberry.input(description="One thing worth knowing.")
class MemoryInput:
    subject: str = strawberry.field(description=f"{SUBJECT} 1 to 255 characters.")
    text: str = strawberry.field(description="1 to 8,000 characters.")
    agent: str = strawberry.field(default=DEFAULT_AGENT, description=AGENT)
    kind: str = strawberry.field(default="fact", description=KIND)
    key: str | None = strawberry.field(
        default=None, description="What a fact says something about: a newer one of the same key ends its validity."
    )
    importance: float = strawberry.field(default=0.5, description="0 to 1.")
    valid_from: datetime | None = strawberry.field(default=None, description="Since when it is so; absent: now.")
    valid_to: datetime | None = strawberry.field(default=None, description="Until when it is so; absent: for good.")
    expires_at: datetime | None = strawberry.field(default=None, description="When to delete it; absent: never.")
    ttl: int | None = strawberry.field(default=None, description="In place of expiresAt: after so many seconds.")
    provenance: JSON | None = strawberry.field(
        default=None, description="Where it comes from: a JSON object of up to 2 KB."
    )
    conversation_id: strawberry.ID | None = strawberry.field(default=None, description="The conversation it is from.")

    def to_memory(self, path: str) -> NewMemory:
        """Raises NotFound, InvalidInput that name the field."""
        provenance: object = {} if self.provenance is None else self.provenance
        if not isinstance(provenance, dict):
            raise InvalidInput("provenance is a JSON object", field=f"{path}.provenance")
        conversation = self.conversation_id
        field = f"{path}.conversationId"
        return NewMemory(
            subject=self.subject,
            text=self.text,
            agent=self.agent,
            kind=self.kind,
            importance=self.importance,
            valid_from=self.valid_from,
            valid_to=self.valid_to,
            expires_at=self.expires_at,
            ttl=None if self.ttl is None else timedelta(seconds=self.ttl),
            provenance=provenance,
            key=self.key,
            conversation_id=None if conversation is None else ids.decode("conversation", conversation, field=field),
        )


@strawberry.input(description="What to remember.")
class RememberInput:
    items: list[MemoryInput] = strawberry.field(description=f"1 to {MOST_ITEMS}: all are kept, or none.")


@strawberry.type(description="What came of remember.")
class RememberPayload(UserErrors):
    memories: list[RememberedMemory] | None = strawberry.field(
        default=None,
        description="One for each of the items, in their order; null: see userErrors.",
        metadata={METADATA: Declared(most=MOST_ITEMS)},
    )


@strawberry.input(description="Give ids, or a subject.")
class ForgetInput:
    ids: list[strawberry.ID] | None = strawberry.field(
        default=None, description="Of memories and conversations, up to 1,000."
    )
    subject: str | None = strawberry.field(
        default=None, description=f"{SUBJECT} All that is remembered of them, narrowed by the rest."
    )
    agent: str | None = strawberry.field(default=None, description="Only this agent's.")
    kinds: list[str] | None = strawberry.field(
        default=None, description="Only memories of these kinds; absent: of all, and the conversations."
    )
    before: datetime | None = strawberry.field(default=None, description="Only what was last said before.")


@strawberry.type(description="What came of forget.")
class ForgetPayload(UserErrors):
    count: int | None = strawberry.field(
        default=None,
        description="Memories and conversations that were deleted, merged ones included; null: see userErrors.",
    )


@strawberry.input(description="How to keep and search memories.")
class SetMemorySearchInput:
    search: str = strawberry.field(description="open or sealed.")


@strawberry.type(description="What came of setMemorySearch.")
class SetMemorySearchPayload(UserErrors):
    memory_store: MemoryStore | None = strawberry.field(default=None, description="As it is now; null: see userErrors.")


@strawberry.input(description="Whom to erase.")
class EraseSubjectInput:
    subject: str = strawberry.field(description="Your name for the person.")


@strawberry.type(description="What came of eraseSubject.")
class EraseSubjectPayload(UserErrors):
    erasure: Erasure | None = strawberry.field(
        default=None, description="The signed certificate; null: see userErrors."
    )


def _said(description: str) -> object:
    return strawberry.argument(description=description)


OfSubject = Annotated[str, _said("Your name for the person.")]
OfAgent = Annotated[str | None, _said("Only this agent's; absent: all.")]
OfKinds = Annotated[list[str] | None, _said(f"Only these: {KIND}")]
First = Annotated[int, _said("1 to 100.")]
FirstConversations = Annotated[int, _said("1 to 100; with their messages, a call has points for a few alone.")]
AfterMemory = Annotated[strawberry.ID | None, _said("The page begins behind this memory: an endCursor.")]
AfterConversation = Annotated[strawberry.ID | None, _said("The page begins behind this conversation: an endCursor.")]
Query = Annotated[str, _said("What to find memories for: a question, or what was just said. 1 to 8,000 characters.")]
Whom = Annotated[
    str | None, _said("Your name for the person; absent: everybody, which a sealed store does not search.")
]
K = Annotated[int, _said(f"How many, 1 to {MOST_K}: always so many when there are so many.")]
AsOf = Annotated[datetime | None, _said("What was so then; absent: what is so now.")]


@strawberry.type
class MemoryQuery:
    @operation(access=READ, work=RECALL_POINTS, description="The memories that are worth knowing for a query.")
    async def recall(
        self,
        info: Info,
        query: Query,
        subject: Whom = None,
        agent: OfAgent = None,
        kinds: OfKinds = None,
        k: K = DEFAULT_K,
        as_of: AsOf = None,
    ) -> Recall:
        context = info.context
        found = await recall(
            context.services,
            context.caller.tenant_id,
            query,
            subject=subject,
            agent=agent,
            kinds=chosen_kinds(kinds),
            k=k,
            as_of=as_of,
        )
        return Recall(memories=[RecalledMemory.of(one) for one in found.memories], legs=list(found.legs))

    @operation(access=READ, description="A subject's memories, the newest first, closed and merged ones included.")
    async def memories(
        self,
        info: Info,
        subject: OfSubject,
        agent: OfAgent = None,
        kinds: OfKinds = None,
        first: First = 20,
        after: AfterMemory = None,
    ) -> MemoryPage:
        behind = None if after is None else ids.decode("memory", after, field="after")
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            found, more = await list_memories(
                uow,
                info.context.get(Keyring),
                subject,
                agent=agent,
                kinds=kinds,
                first=first,
                after=behind,
            )
        end = id_of("memory", found[-1].id) if found else None
        return MemoryPage(nodes=[Memory.of(memory) for memory in found], has_next_page=more, end_cursor=end)

    @operation(access=READ, description="A subject's conversations, the newest first.")
    async def conversations(
        self,
        info: Info,
        subject: OfSubject,
        agent: OfAgent = None,
        first: FirstConversations = 5,
        after: AfterConversation = None,
    ) -> ConversationPage:
        behind = None if after is None else ids.decode("conversation", after, field="after")
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            found, more = await list_conversations(
                uow, info.context.get(Keyring), subject, agent=agent, first=first, after=behind
            )
        end = id_of("conversation", found[-1].id) if found else None
        return ConversationPage(nodes=[Conversation.of(one) for one in found], has_next_page=more, end_cursor=end)

    @operation(
        access=READ, work=COUNTING_POINTS, description="How memories are kept and searched, and how many there are."
    )
    async def memory_store(self, info: Info) -> MemoryStore:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            return MemoryStore.of(await measure_store(uow))


@strawberry.type
class MemoryMutation:
    @operation(
        access=WRITE,
        description="Keep up to 100 memories, all or none. What is known already is seen once more; what differs from"
        " it in punctuation, capitals or emphasis alone stands behind it; a fact ends the validity of an older one with"
        " the same key.",
    )
    @user_errors(RememberPayload)
    async def remember(self, info: Info, input: RememberInput) -> RememberPayload:  # noqa: A002
        items = [item.to_memory(f"items[{number}]") for number, item in enumerate(input.items[: MOST_ITEMS + 1])]
        remembered = await remember(info.context.services, info.context.caller.tenant_id, items)
        return RememberPayload(memories=[RememberedMemory.of(one) for one in remembered])

    @operation(access=WRITE, description="Delete memories and conversations, with what was merged into them.")
    @user_errors(ForgetPayload)
    async def forget(self, info: Info, input: ForgetInput) -> ForgetPayload:  # noqa: A002
        by_ids, by_subject = input.ids is not None, input.subject is not None
        if by_ids == by_subject:
            raise InvalidInput("give ids or a subject: one of them", field="ids")
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            if input.subject is not None:
                count = await forget_of_subject(
                    uow,
                    info.context.get(Keyring),
                    input.subject,
                    agent=input.agent,
                    kinds=input.kinds,
                    before=input.before,
                )
            else:
                if input.agent is not None or input.kinds is not None or input.before is not None:
                    raise InvalidInput("agent, kinds and before narrow a subject, not ids", field="ids")
                given = input.ids or []
                conversations = [one for one in given if ids.kind_of(one) == "conversation"]
                memories = [one for one in given if ids.kind_of(one) != "conversation"]
                count = await forget_by_ids(
                    uow,
                    [ids.decode("memory", one, field="ids") for one in memories],
                    [ids.decode("conversation", one, field="ids") for one in conversations],
                )
        return ForgetPayload(count=count)

    @operation(
        access=WRITE,
        description="Keep embeddings and words sealed, too, or in the clear for a faster search of more memories. What"
        " is there moves in the background; recall is right meanwhile.",
    )
    @user_errors(SetMemorySearchPayload)
    async def set_memory_search(self, info: Info, input: SetMemorySearchInput) -> SetMemorySearchPayload:  # noqa: A002
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            await set_search(uow, input.search)
            return SetMemorySearchPayload(memory_store=MemoryStore.of(await measure_store(uow)))

    @operation(
        access=ERASE,
        description="Destroy a person's key and delete everything of theirs, for good. The certificate says what.",
    )
    @user_errors(EraseSubjectPayload)
    async def erase_subject(self, info: Info, input: EraseSubjectInput) -> EraseSubjectPayload:  # noqa: A002
        caller = info.context.caller
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            erasure = await erase_subject(
                uow,
                info.context.get(Keyring),
                input.subject,
                requested_by=ids.encode("API key", caller.api_key_id),
            )
        return EraseSubjectPayload(erasure=reference(Erasure, erasure.id))
