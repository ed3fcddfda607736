"""What a process serves until it is told to stop: HTTP on a socket, tasks from a queue."""

import asyncio
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

import uvicorn
from arq.connections import ArqRedis
from arq.worker import Worker, func
from redis.exceptions import RedisError
from starlette.types import ASGIApp

from tunery.app.http_protocol import HttpProtocol
from tunery.core.logs import get_logger
from tunery.core.outbox import ARQ_FUNCTION, Task, run_task
from tunery.core.services import Services
from tunery.graphql.short_way import ShortWay

GRACE_SECONDS = 10

log = get_logger(__name__)


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


async def serve_http(
    app: ASGIApp, bound: socket.socket, *, trusted_proxies: str = "", short_way: ShortWay | None = None
) -> None:
    """Serve until cancelled; requests under way get some seconds to end."""
    config = uvicorn.Config(
        app,
        http="httptools" if short_way is None else partial(HttpProtocol, short_way=short_way),  # type: ignore[arg-type]
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
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

    redis = services.get(ArqRedis)
    while True:
        worker = Worker(
            [func(run, name=ARQ_FUNCTION)],
            redis_pool=redis,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
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
