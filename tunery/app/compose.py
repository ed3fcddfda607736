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
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, Database
from tunery.core.events import Events
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.graphql.planner.planner import Planner
from tunery.marketplace.entitle import STRIPE_HANDLERS
from tunery.tenants.api_keys import KEY_IS_VALID
from tunery.tenants.remembered_keys import RememberedKeys
from tunery.tenants.sign_up import TenantSignedUp
from tunery.training.catalogue import BaseModelFiles
from tunery.training.data_sets import DataSetLimits
from tunery.vault.keyring import Keyring


@asynccontextmanager
async def compose(settings: Settings, clock: Clock | None = None) -> AsyncIterator[Services]:
    """The parts of one process, closed when the block ends. Raises ValueError that names a setting that is missing."""
    if settings.redis_url is None or settings.storage_url is None:
        raise ValueError("set TUNERY_REDIS_URL and TUNERY_STORAGE_URL, or run `tunery up`, which brings its own")
    clock = clock or SystemClock()
    services = Services()
    services.add(Clock, clock)
    services.add(Settings, settings)
    services.add(Keyring, Keyring(settings.load_root_key()))
    services.add(ObjectStorage, ObjectStorage(settings.storage_url))
    services.add(BaseModelFiles, BaseModelFiles(settings.hub_cache_dir, settings.hub_endpoint))
    services.add(Events, _events())
    services.add(DataSetLimits, DataSetLimits(settings.data_set_max_bytes, settings.data_set_max_line_bytes))
    database = Database(
        role_url(settings, APPLICATION_ROLE),
        role_url(settings, DISPATCHER_ROLE),
        clock,
        statement_seconds=settings.database_statement_seconds,
    )
    services.add(Database, database)
    queries = Reader(role_url(settings, APPLICATION_ROLE))
    services.add(Planner, Planner(core_schema, queries, KEY_IS_VALID))
    # Who fills those connections with queries must not keep everybody else's keys from being looked up.
    keys = Reader(role_url(settings, APPLICATION_ROLE), size=2)
    services.add(Reader, keys)
    services.add(RememberedKeys, RememberedKeys(keys))
    # Connects when it is first used: an API process starts and serves without Redis.
    redis = ArqRedis.from_url(settings.redis_url)
    services.add(ArqRedis, redis)
    services.add(StripeGateway, _stripe_gateway(settings))
    services.add(StripeEventHandlers, StripeEventHandlers(STRIPE_HANDLERS))
    # As many streams to nodes as there are chats: credit and the nodes' own queues bound them.
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=None)) as client:
        services.add(httpx.AsyncClient, client)
        try:
            yield services
        finally:
            await services.get(StripeGateway).close()
            await redis.aclose()
            await queries.close()
            await keys.close()
            await database.close()


def _events() -> Events:
    events = Events()
    events.subscribe(TenantSignedUp, start_free_plan)
    return events


def _stripe_gateway(settings: Settings) -> StripeGateway:
    if settings.stripe_secret_key is None or settings.stripe_webhook_secret is None:
        raise ValueError("set TUNERY_STRIPE_SECRET_KEY and TUNERY_STRIPE_WEBHOOK_SECRET, or run `tunery up`")
    return StripeGateway(
        settings.stripe_secret_key.get_secret_value(),
        settings.stripe_api_base,
        settings.stripe_webhook_secret.get_secret_value(),
    )
