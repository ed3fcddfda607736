"""The sandbox as an ASGI application."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.applications import Starlette

from tunery.billing.sandbox.api import api_routes
from tunery.billing.sandbox.control import Control
from tunery.billing.sandbox.engine import Engine
from tunery.billing.sandbox.hosted_checkout import HostedCheckout
from tunery.billing.sandbox.resources import RESOURCE_TYPES
from tunery.billing.sandbox.settings import SandboxSettings

_log = logging.getLogger(__name__)


def create_sandbox(settings: SandboxSettings | None = None) -> Starlette:
    """Makes one sandbox. Its lifespan delivers webhooks and closes the database: serve it with lifespan on.

    Raises:
        sqlite3.Error: the data file cannot be opened.
    """
    engine = Engine(settings or SandboxSettings(), RESOURCE_TYPES)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(engine.deliverer.run()), asyncio.create_task(_keep_time(engine))]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            engine.store.close()

    routes = [*Control(engine).routes(), *HostedCheckout(engine).routes(), *api_routes(engine)]
    return Starlette(routes=routes, lifespan=lifespan)


async def _keep_time(engine: Engine) -> None:
    """Lets things happen in time although nobody asks: every request catches up by itself, events cannot."""
    while True:
        try:
            engine.fire_timers()
        except Exception:  # noqa: BLE001
            # It stays due, so requests that need the time it stands for fail too; the server itself goes on.
            _log.exception("a timer failed")
        await asyncio.sleep(engine.settings.timer_interval)
