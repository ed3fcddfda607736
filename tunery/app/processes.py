"""The three long-running processes: API, worker, node. Each runs until it is told to stop."""

import asyncio
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import uvloop
from arq.connections import ArqRedis

from tunery.app.application import create_app
from tunery.app.compose import compose, compose_node
from tunery.app.servers import listen, serve_http, serve_queue
from tunery.app.settings import Settings
from tunery.app.tasks import WORKER_TASKS, sweep_forever
from tunery.core.database import Database
from tunery.core.logs import configure_logs
from tunery.core.outbox import WORKER_QUEUE, relay_forever
from tunery.core.services import Services
from tunery.core.telemetry import start_metrics, start_tracing

Compose = Callable[[Settings], AbstractAsyncContextManager[Services]]


def run_api(settings: Settings) -> None:
    async def serve(services: Services) -> None:
        app = create_app(services)
        # The schema and all modules stay for good: looking through them again and again took 5% of the time.
        gc.collect()
        gc.freeze()
        bound = listen(settings.host, settings.port)
        await serve_http(app, bound, trusted_proxies=settings.trusted_proxies, short_way=app.short_way)

    _run(settings, "api", serve)


def run_worker(settings: Settings) -> None:
    """Outbox relay, inbound webhooks, sweepers. Any number may run side by side."""

    async def work(services: Services) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(relay_forever(services.get(Database), services.get(ArqRedis)))
            group.create_task(sweep_forever(services))
            group.create_task(serve_queue(services, WORKER_QUEUE, WORKER_TASKS))

    _run(settings, "worker", work)


def run_node(settings: Settings) -> None:
    from tunery.app.node import serve_node

    _run(settings, f"node {settings.node_name}", lambda services: serve_node(services, settings), compose_node)


def _run(
    settings: Settings, process: str, main: Callable[[Services], Awaitable[None]], compose: Compose = compose
) -> None:
    configure_logs(settings.log_level, process)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # logs are JSON lines

    async def run() -> None:
        async with compose(settings) as services:
            await main(services)

    spans = start_tracing(settings.tracing_endpoint, process) if settings.tracing_endpoint else None
    counters = start_metrics(settings.metrics_endpoint, process) if settings.metrics_endpoint else None
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(run()))
    for telemetry in (spans, counters):
        if telemetry is not None:
            telemetry.shutdown()


async def _until_signalled(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it; SIGTERM and SIGINT cancel it, and that is a clean end."""
    task = asyncio.ensure_future(coroutine)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
