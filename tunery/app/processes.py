"""The three long-running processes: API, worker, node. Each runs until it is told to stop."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import uvicorn
import uvloop
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import RedisError
from starlette.types import ASGIApp

from tunery.app.application import create_app
from tunery.app.compose import compose
from tunery.app.settings import Settings
from tunery.app.tasks import WORKER_TASKS, sweep_forever
from tunery.core.database import Database
from tunery.core.logs import configure_logs, get_logger
from tunery.core.outbox import ARQ_FUNCTION, WORKER_QUEUE, Task, relay_forever, run_task
from tunery.core.services import Services

GRACE_SECONDS = 10

log = get_logger(__name__)


def run_api(settings: Settings) -> None:
    async def serve(services: Services) -> None:
        await serve_http(create_app(services), listen(settings.host, settings.port))

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

    _run(settings, f"node {settings.node_name}", lambda services: serve_node(services, settings))


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 picks a free one. Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


async def serve_http(app: ASGIApp, bound: socket.socket) -> None:
    """Serve until cancelled; requests under way get some seconds to end."""
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS)
    server = _Server(config)
    task = asyncio.ensure_future(server.serve([bound]))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        server.should_exit = True
        await task
        raise


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are `_run`'s business."""
        yield


async def serve_queue(services: Services, queue: str, tasks: Mapping[str, Task]) -> None:
    """Run the outbox messages that arq hands over, until cancelled."""

    async def run(_context: dict[str, Any], message_id: str) -> None:
        await run_task(services, tasks, UUID(message_id))

    while True:
        worker = Worker(
            [func(run, name=ARQ_FUNCTION)],
            redis_pool=services.get(ArqRedis),
            queue_name=queue,
            handle_signals=False,
            poll_delay=0.1,
            keep_result=0,
            max_tries=1,  # the outbox tries again, arq needn't
        )
        try:
            await worker.async_run()
        except RedisError as error:
            log.warning("task queue waits for Redis", error=str(error))
            await asyncio.sleep(1)


def _run(settings: Settings, process: str, main: Callable[[Services], Awaitable[None]]) -> None:
    configure_logs(settings.log_level, process)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # logs are JSON lines

    async def run() -> None:
        async with compose(settings) as services:
            await main(services)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_until_signalled(run()))


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
