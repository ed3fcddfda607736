"""What the tests of this room say in a line."""

from typing import Any

from tunery.core.database import Database
from tunery.core.services import Services
from tunery.memory.batch import Remembered
from tunery.memory.list_memories import list_memories
from tunery.memory.new_memory import NewMemory
from tunery.memory.opened import OpenedMemory
from tunery.memory.recall import recall
from tunery.memory.remember import remember
from tunery.vault.keyring import Keyring

NOTHING = {"subjects": 0, "memories": 0, "conversations": 0, "memory_index": 0}


async def said(services: Services, tenant: Any, text: str, subject: str = "anna", **more: Any) -> Remembered:
    [remembered] = await remember(services, tenant.tenant_id, [NewMemory(subject=subject, text=text, **more)])
    return remembered


async def all_said(
    services: Services, tenant: Any, *texts: str, subject: str = "anna", **more: Any
) -> list[Remembered]:
    items = [NewMemory(subject=subject, text=text, **more) for text in texts]
    return await remember(services, tenant.tenant_id, items)


async def known(services: Services, tenant: Any, subject: str = "anna") -> dict[str, OpenedMemory]:
    """All that is known of a person, by its text."""
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        found, _ = await list_memories(uow, services.get(Keyring), subject, first=100)
    return {memory.text: memory for memory in found}


async def recalled(services: Services, tenant: Any, query: str, subject: str | None = "anna", **more: Any) -> list[str]:
    """The texts, the best first."""
    found = await recall(services, tenant.tenant_id, query, subject=subject, **more)
    return [one.memory.text for one in found.memories]
