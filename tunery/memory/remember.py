"""Remembering: checked, embedded while no transaction is open, and written down in one."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from sqlalchemy import select

from tunery.core.clock import Clock
from tunery.core.database import Database
from tunery.core.errors import Unavailable
from tunery.core.logs import get_logger
from tunery.core.services import Services
from tunery.memory.batch import Embedded, Remembered
from tunery.memory.embedding import Embedders, embed_what_goes
from tunery.memory.keep import keep
from tunery.memory.models import MemoryStore
from tunery.memory.new_memory import NewMemory, check_memories
from tunery.memory.subjects import last_erased
from tunery.vault.keyring import Keyring

PATIENCE_SECONDS: Final = 15.0
"""For the embeddings of one call."""

log = get_logger(__name__)


async def remember(
    services: Services, tenant_id: UUID, items: Sequence[NewMemory], *, patience: float = PATIENCE_SECONDS
) -> list[Remembered]:
    """Keep up to 100 memories, in their order: all or none.

    What is known already is seen once more; what differs from it in punctuation, capitals or emphasis alone is kept,
    but recall shows the older one; a fact ends the validity of an older one with the same key. While no embedding model
    can be asked, memories are found by their words and their age; the sweep embeds them later, as it does what takes
    longer than `patience` (seconds).

    Raises InvalidInput and NotFound that name the field, as `items[3].text`; Conflict when a subject is erased
    meanwhile; UnsealingFailed.
    """
    checked = check_memories(items, services.get(Clock).now())
    database = services.get(Database)
    async with database.unit_of_work(tenant_id) as uow:
        model = await uow.session.scalar(select(MemoryStore.embedding_model))
        began_with = await last_erased(uow, services.get(Keyring), {item.subject for item in checked})
    embedded = await _embed(services.get(Embedders), model, [item.text for item in checked], patience)
    async with database.unit_of_work(tenant_id) as uow:
        return await keep(uow, services.get(Keyring), services.get(Clock), checked, embedded, began_with)


async def _embed(embedders: Embedders, model: str | None, texts: Sequence[str], patience: float) -> Embedded | None:
    """With the store's model, the newest one if it has none yet. None when nobody can be asked."""
    embedder = embedders.current if model is None else embedders.find(model)
    if embedder is None:
        log.warning("nobody embeds with the store's model any more; the sweep moves it to another", model=model)
        return None
    try:
        async with asyncio.timeout(patience):
            return Embedded(embedder.model, await embed_what_goes(embedder, texts))
    except (Unavailable, TimeoutError) as error:
        log.warning(
            "memories are kept without embeddings", model=embedder.model, error=str(error) or "it takes too long"
        )
        return None
