"""One of everything that is sealed: written with a canary in it, and read back the way that its owner reads it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

from tests.canaries import Canaries
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.memory.conversations import Message, NewConversation, list_conversations, store_conversation
from tunery.memory.new_memory import NewMemory
from tunery.memory.recall import recall
from tunery.memory.remember import remember
from tunery.training.data_sets import open_data_set, store_data_set
from tunery.vault.keyring import Keyring, generate_data_key
from tunery.vault.secrets import keep_secret, reveal_secret


@dataclass(frozen=True)
class Kept:
    """`expected` is what it reads as. None: its key is destroyed."""

    read: Callable[[Services], Awaitable[bytes]]
    expected: bytes | None


Write = Callable[[Services, UUID, Canaries], Awaitable[Kept]]


def kept_data_key(tenant: UUID, identifier: UUID, expected: bytes | None) -> Kept:
    async def read(services: Services) -> bytes:
        async with services.get(Database).unit_of_work(tenant) as uow:
            return await services.get(Keyring).open_data_key(uow, identifier)

    return Kept(read, expected)


async def write_data_key(services: Services, tenant: UUID, _canaries: Canaries) -> Kept:
    key = generate_data_key()
    async with services.get(Database).unit_of_work(tenant) as uow:
        row = await services.get(Keyring).store_data_key(uow, key, purpose=f"test {uuid4()}")
    return kept_data_key(tenant, row.id, key)


async def write_and_destroy_data_key(services: Services, tenant: UUID, _canaries: Canaries) -> Kept:
    database, keyring = services.get(Database), services.get(Keyring)
    async with database.unit_of_work(tenant) as uow:
        row = await keyring.store_data_key(uow, generate_data_key(), purpose=f"test {uuid4()}")
    await asyncio.sleep(0.05)
    async with database.unit_of_work(tenant) as uow:
        await keyring.destroy_data_key(uow, row.id)
    return kept_data_key(tenant, row.id, None)


async def write_secret(services: Services, tenant: UUID, canaries: Canaries) -> Kept:
    value = canaries.word().encode()
    async with services.get(Database).unit_of_work(tenant) as uow:
        identifier = await keep_secret(uow, services.get(Keyring), "webhook", value)

    async def read(services: Services) -> bytes:
        async with services.get(Database).unit_of_work(tenant) as uow:
            return await reveal_secret(uow, services.get(Keyring), identifier)

    return Kept(read, value)


async def write_data_set(services: Services, tenant: UUID, canaries: Canaries) -> Kept:
    messages = [{"role": "user", "content": canaries.text()}, {"role": "assistant", "content": "Thanks."}]
    content = (json.dumps({"messages": messages}) + "\n").encode() * 100

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    data_set = await store_data_set(services, tenant, "chats.jsonl", chunks())

    async def read(services: Services) -> bytes:
        return b"".join([chunk async for chunk in open_data_set(services, tenant, data_set)])

    return Kept(read, content)


async def write_memory(services: Services, tenant: UUID, canaries: Canaries, *, subject: str | None = None) -> Kept:
    """Of somebody new, unless they are named."""
    person, text = subject or f"{canaries.word()}@shop.example", canaries.text()
    await remember(services, tenant, [NewMemory(subject=person, text=text, provenance={"by": canaries.word()})])

    async def read(services: Services) -> bytes:
        found = await recall(services, tenant, text, subject=person, k=1)
        return "".join(one.memory.text for one in found.memories).encode()

    return Kept(read, text.encode())


async def write_conversation(
    services: Services, tenant: UUID, canaries: Canaries, *, subject: str | None = None
) -> Kept:
    person, text = subject or f"{canaries.word()}@shop.example", canaries.text()
    said = NewConversation(subject=person, messages=[Message("user", text)])
    async with services.get(Database).unit_of_work(tenant) as uow:
        identifier = await store_conversation(uow, services.get(Keyring), said)

    async def read(services: Services) -> bytes:
        async with services.get(Database).unit_of_work(tenant) as uow:
            found, _ = await list_conversations(uow, services.get(Keyring), person)
        return "".join(one.messages[0].content for one in found if one.id == identifier).encode()

    return Kept(read, text.encode())


WRITERS: dict[str, Write] = {
    "data key": write_data_key,
    "destroyed data key": write_and_destroy_data_key,
    "secret": write_secret,
    "data set": write_data_set,
    "memory": write_memory,
    "conversation": write_conversation,
}
