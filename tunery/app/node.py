"""A node: it leases training jobs and serves adapters, and says that it is alive."""

import asyncio
import contextlib
import os
from datetime import timedelta

import structlog

from tunery.app.servers import listen, serve_http, serve_queue
from tunery.app.settings import Settings
from tunery.core.database import Database, is_unavailable
from tunery.core.logs import get_logger
from tunery.core.outbox import NODE_QUEUE
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.serving.engines.catalogue_source import CatalogueSource
from tunery.serving.engines.embedding_engine import MiniLMEngine
from tunery.serving.engines.server import create_engine_app
from tunery.serving.engines.transformers_engine import TransformersEngine
from tunery.serving.nodes import NodeToken
from tunery.training.catalogue import BaseModelFiles
from tunery.training.create_job import DOORBELL
from tunery.training.leases import LeaseLost, acquire_lease
from tunery.training.nodes import NodeKey, announce_node, remove_node
from tunery.training_workers.base_model import BaseModelCache, limit_threads
from tunery.training_workers.run_job import run_job

HEARTBEAT_SECONDS = 5
POLL_SECONDS = 2

log = get_logger(__name__)


async def serve_node(services: Services, settings: Settings) -> None:
    """Train and serve until cancelled."""
    limit_threads(settings.node_threads or max(1, (os.cpu_count() or 2) // 2))
    bell = asyncio.Event()

    async def ring(_services: Services) -> None:
        bell.set()

    engine = TransformersEngine(
        services.get(ObjectStorage), CatalogueSource(services.get(Database), services.get(BaseModelFiles))
    )
    embeddings = MiniLMEngine()
    bound = listen(settings.node_host, settings.node_port)
    host = f"[{settings.node_host}]" if ":" in settings.node_host else settings.node_host
    address = settings.node_url or f"http://{host}:{bound.getsockname()[1]}"
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(serve_http(create_engine_app(engine, services.get(NodeToken).value, embeddings), bound))
            group.create_task(_beat(services, settings.node_name, address, services.get(NodeKey).public_key))
            group.create_task(serve_queue(services, NODE_QUEUE, {DOORBELL: ring}))
            group.create_task(_train_forever(services, settings, bell))
            embeddings.warm_up()
    finally:
        await _leave(services, settings.node_name, address)
        await embeddings.close()
        await engine.close()


async def _train_forever(services: Services, settings: Settings, bell: asyncio.Event) -> None:
    """Lease and run one job after another. The bell only shortens the wait: jobs are found without it, too."""
    database, bases = services.get(Database), BaseModelCache()
    lasts = timedelta(seconds=settings.lease_seconds)
    while True:
        bell.clear()
        try:
            lease = await acquire_lease(database, settings.node_name, lasts)
            if lease is not None:
                with structlog.contextvars.bound_contextvars(job_id=str(lease.job_id)):
                    await run_job(services, bases, lease)
                continue
        except LeaseLost as error:
            log.warning("lease lost", error=error.message)
        except Exception:  # one job must not end the node; its lease runs out and it is leased again
            log.exception("training interrupted")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(bell.wait(), POLL_SECONDS)


async def _leave(services: Services, name: str, address: str) -> None:
    """Take this node off the list, so that no chat is sent to it in vain."""
    async with services.get(Database).dispatch() as uow:
        await remove_node(uow, name, address)


async def _beat(services: Services, name: str, address: str, public_key: bytes) -> None:
    """Tell every few seconds that this node is alive, where it serves, and to which key it gets its jobs' keys."""
    database = services.get(Database)
    while True:
        try:
            async with database.dispatch() as uow:
                await announce_node(uow, name, address, public_key)
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("heartbeat not sent", error=str(error))
        await asyncio.sleep(HEARTBEAT_SECONDS)
