"""Puts a process together: the one place where parts are chosen and rooms are joined."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from arq.connections import ArqRedis

from tunery.app.database_urls import role_url
from tunery.app.schema import core_schema
from tunery.app.settings import Settings
from tunery.billing.plans import start_free_plan
from tunery.billing.stripe_gateway import StripeGateway
from tunery.billing.tasks import StripeEventHandlers
from tunery.core.clock import Clock, SystemClock
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, NODE_ROLE, Database
from tunery.core.events import Events
from tunery.core.outbox import connect_queue
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.graphql.planner.planner import Planner
from tunery.marketplace import erase as marketplace
from tunery.marketplace.entitle import STRIPE_HANDLERS
from tunery.memory import erase as memory
from tunery.memory.embedding import Embedders, HttpEmbedder
from tunery.memory.shelves import ShelfRows
from tunery.serving import erase as serving
from tunery.serving.node_embedder import NodeEmbedder
from tunery.serving.nodes import NodeClient, NodeToken
from tunery.tenants.api_keys import KEY_IS_VALID
from tunery.tenants.erase import TenantErased, TenantErasureBegins
from tunery.tenants.remembered_keys import RememberedKeys
from tunery.tenants.sign_up import TenantSignedUp
from tunery.training import erase as training
from tunery.training.catalogue import BaseModelFiles
from tunery.training.data_sets import DataSetLimits
from tunery.training.nodes import NodeKey
from tunery.vault.keyring import Keyring


@asynccontextmanager
async def compose(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Services]:
    """The parts of one process, closed when the block ends. Raises ValueError that names a setting that is missing."""
    async with _compose_shared(settings, clock) as services:
        services.add(Keyring, Keyring(settings.load_root_keys()))
        services.add(Events, _events())
        services.add(DataSetLimits, DataSetLimits(settings.data_set_max_bytes, settings.data_set_max_line_bytes))
        queries = Reader(role_url(settings, APPLICATION_ROLE))
        services.add(Planner, Planner(core_schema, queries, KEY_IS_VALID))
        # Who fills those connections with queries must not keep everybody else's keys from being looked up.
        keys = Reader(role_url(settings, APPLICATION_ROLE), size=2)
        services.add(Reader, keys)
        services.add(RememberedKeys, RememberedKeys(keys))
        services.add(StripeGateway, _stripe_gateway(settings))
        services.add(StripeEventHandlers, StripeEventHandlers(STRIPE_HANDLERS))
        # As many streams to nodes as there are chats: credit and the nodes' own queues bound them.
        async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
            services.add(httpx.AsyncClient, client)
            services.add(ShelfRows, ShelfRows(settings.memory_shelf_rows))
            services.add(Embedders, _embedders(settings, services))
            try:
                yield services
            finally:
                await services.get(StripeGateway).close()
                await queries.close()
                await keys.close()


@asynccontextmanager
async def compose_node(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Services]:
    """The parts of a node: no root key, no keyring, nothing of Stripe. Raises as `compose`."""
    async with _compose_shared(settings, clock, NODE_ROLE, NODE_ROLE) as services:
        services.add(NodeKey, NodeKey())
        yield services


@asynccontextmanager
async def _compose_shared(
    settings: Settings, clock: Clock | None, role: str = APPLICATION_ROLE, dispatching_role: str = DISPATCHER_ROLE
) -> AsyncIterator[Services]:
    if settings.redis_url is None or settings.storage_url is None:
        raise ValueError("set TUNERY_REDIS_URL and TUNERY_STORAGE_URL, or run `tunery up`, which brings its own")
    clock = clock or SystemClock()
    services = Services()
    services.add(Clock, clock)
    services.add(Settings, settings)
    services.add(ObjectStorage, ObjectStorage(settings.storage_url))
    services.add(BaseModelFiles, BaseModelFiles(settings.hub_cache_dir, settings.hub_endpoint))
    services.add(NodeToken, NodeToken(settings.load_node_token()))
    database = Database(
        role_url(settings, role),
        role_url(settings, dispatching_role),
        clock,
        statement_seconds=settings.database_statement_seconds,
    )
    services.add(Database, database)
    # An API process starts and serves without Redis.
    redis = connect_queue(settings.redis_url)
    services.add(ArqRedis, redis)
    try:
        yield services
    finally:
        await redis.aclose()
        await database.close()


def _events() -> Events:
    events = Events()
    events.subscribe(TenantSignedUp, start_free_plan)
    events.subscribe(TenantErasureBegins, memory.on_tenant_erasure_begins)
    for room in (training, memory, marketplace, serving):
        events.subscribe(TenantErased, room.on_tenant_erased)
    return events


def _embedders(settings: Settings, services: Services) -> Embedders:
    """The newest first. The nodes' own is always there: for what it embedded before another one was set up."""
    client, token = services.get(httpx.AsyncClient), services.get(NodeToken)
    servers = [
        HttpEmbedder(client, server.url, server.model, server.api_key.get_secret_value() if server.api_key else None)
        for server in settings.embedding_servers
    ]
    return Embedders([*servers, NodeEmbedder(services.get(Database), NodeClient(client, token))])


def _stripe_gateway(settings: Settings) -> StripeGateway:
    if settings.stripe_secret_key is None or settings.stripe_webhook_secret is None:
        raise ValueError("set TUNERY_STRIPE_SECRET_KEY and TUNERY_STRIPE_WEBHOOK_SECRET, or run `tunery up`")
    return StripeGateway(
        settings.stripe_secret_key.get_secret_value(),
        settings.stripe_api_base,
        settings.stripe_webhook_secret.get_secret_value(),
    )
