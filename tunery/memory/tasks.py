"""Tasks and sweeps of the memory room. Each is safe to run twice, and side by side."""

from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.memory.reembed import EMBED, embed_missing, mend_store
from tunery.memory.shelves import move_large_tenants
from tunery.memory.sweep import delete_expired, finish_erasures, forget_erased_names
from tunery.memory.switch import MOVE_MEMORIES, move_memories, move_unfinished


async def embed(services: Services, tenant_id: str) -> None:
    await mend_store(services, UUID(tenant_id))


async def move(services: Services, tenant_id: str) -> None:
    await move_memories(services, UUID(tenant_id))


TASKS: dict[str, Task] = {EMBED: embed, MOVE_MEMORIES: move}

SWEEPS: tuple[Callable[[Services], Coroutine[Any, Any, Any]], ...] = (
    embed_missing,
    move_large_tenants,
    move_unfinished,
    delete_expired,
    finish_erasures,
    forget_erased_names,
)
