"""The market: the real sandbox delivers its webhooks to the real routes, on loopback ports."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from market import SECRET_KEY, Market, Sandbox, bind, server_of, wait_for
from starlette.applications import Starlette
from starlette.routing import Mount

from tunery.billing.stripe_gateway import StripeGateway
from tunery.billing.tasks import StripeEventHandlers
from tunery.billing.webhooks import routes as webhook_routes
from tunery.core.database import Database
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.marketplace.entitle import STRIPE_HANDLERS
from tunery.marketplace.hub.routes import routes as hub_routes
from tunery.vault.keyring import Keyring


@pytest.fixture(scope="session")
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox()
    await sandbox.wait_until_started()
    yield sandbox
    await sandbox.stop()


@pytest.fixture(scope="session")
async def market(services: Services, sandbox: Sandbox, sign_up: Callable[..., Awaitable[Any]]) -> AsyncIterator[Market]:
    listening, url = bind()
    endpoint = await sandbox.post("/v1/webhook_endpoints", url=f"{url}/webhooks/stripe", **{"enabled_events[0]": "*"})
    # Parts of its own: the other tests' gateway stays as the application made it.
    parts = Services()
    for kind in (Database, Keyring, ObjectStorage, Reader):
        parts.add(kind, services.get(kind))
    gateway = StripeGateway(SECRET_KEY, sandbox.url, endpoint["secret"])
    parts.add(StripeGateway, gateway)
    parts.add(StripeEventHandlers, StripeEventHandlers(STRIPE_HANDLERS))
    server = server_of(Starlette(routes=[*webhook_routes(parts), Mount("/hub", routes=hub_routes(parts))]))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    await wait_for(lambda: asyncio.sleep(0, server.started))
    yield Market(parts, sandbox, url, sign_up)
    server.should_exit = True
    await serving
    await gateway.close()


@pytest.fixture
async def seller(market: Market) -> Any:
    return await market.sign_up("Seller")


@pytest.fixture
async def buyer(market: Market) -> Any:
    return await market.sign_up("Buyer")


@pytest.fixture
async def faultless(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """The sandbox, without faults again after the test."""
    yield sandbox
    await sandbox.faults()
