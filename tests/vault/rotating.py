"""What the killed processes of the rotation storm do. They are forked from one that has imported all of this."""

import asyncio
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from uuid import UUID

from tunery.app.compose import compose
from tunery.app.settings import Settings
from tunery.core.services import Services
from tunery.vault.rotation import reseal_under_newest_root, rewrap_data_keys

BEGUN = "begun"


def rewrap(parent: Connection, settings: dict[str, str], tenants: list[UUID]) -> None:
    async def all_of_them(services: Services) -> None:
        for tenant in tenants:
            await rewrap_data_keys(services, tenant)

    asyncio.run(_work(parent, settings, all_of_them))


def reseal(parent: Connection, settings: dict[str, str], tenants: list[UUID]) -> None:
    asyncio.run(_work(parent, settings, reseal_under_newest_root))


async def _work(parent: Connection, settings: dict[str, str], work: Callable[[Services], Awaitable[object]]) -> None:
    async with compose(Settings(_env_file=None, **settings)) as services:
        parent.send(BEGUN)
        await work(services)
