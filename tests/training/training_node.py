"""A node as `tunery node` composes it, without any key of the installation; and a worker that answers it."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from tests.conftest import NodeDatabase
from tunery.core.database import Database
from tunery.core.outbox import OutboxMessage, run_task
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training.catalogue import BaseModelFiles
from tunery.training.leases import Lease, acquire_lease
from tunery.training.nodes import NodeKey, announce_node
from tunery.training.request_grant import GRANT
from tunery.training.tasks import TASKS

if TYPE_CHECKING:
    from tunery.training_workers.base_model import BaseModelCache

LASTS = timedelta(seconds=30)


class TrainingNode:
    """One node, alive whenever it leases."""

    def __init__(self, services: Services, name: str = "node") -> None:
        self.name = name
        self.key = NodeKey()
        self.services = Services()
        self.services.add(Database, services.get(NodeDatabase))
        for kind in (ObjectStorage, BaseModelFiles):
            self.services.add(kind, services.get(kind))
        self.services.add(NodeKey, self.key)

    async def announce(self) -> None:
        async with self.services.get(Database).dispatch() as uow:
            await announce_node(uow, self.name, f"http://{self.name}.example", self.key.public_key)

    async def lease(self) -> Lease | None:
        await self.announce()
        return await acquire_lease(self.services.get(Database), self.name, LASTS)

    async def run(self, bases: "BaseModelCache", lease: Lease) -> None:
        from tunery.training_workers.run_job import run_job

        await run_job(self.services, bases, lease)

    async def work(self, bases: "BaseModelCache") -> None:
        """Lease a job and run it."""
        lease = await self.lease()
        assert lease is not None
        await self.run(bases, lease)


async def requests(services: Services) -> list[OutboxMessage]:
    """What nodes have asked for and no worker has answered."""
    async with services.get(Database).dispatch() as uow:
        asked = select(OutboxMessage).where(OutboxMessage.task == GRANT, OutboxMessage.handled_at.is_(None))
        return list(await uow.session.scalars(asked.order_by(OutboxMessage.id)))


async def answer(services: Services) -> None:
    """Answer what nodes have asked for, as a worker does."""
    for message in await requests(services):
        await run_task(services, TASKS, message.id)


async def answer_forever(services: Services) -> None:
    while True:
        await answer(services)
        await asyncio.sleep(0.01)
