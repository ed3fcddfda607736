import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from tests.conftest import Api, SignedUpTenant
from tests.memory.embedding_server import EmbeddingServer, serving_embeddings
from tests.memory.indexed import IndexedTenant
from tunery.app.application import create_app
from tunery.app.compose import compose
from tunery.app.settings import Settings
from tunery.core.clock import TravellingClock
from tunery.core.services import Services

MODEL = "test/words"


@pytest.fixture(scope="session")
async def embedding_server() -> AsyncIterator[EmbeddingServer]:
    async with serving_embeddings() as server:
        yield server


@pytest.fixture
def embeddings(embedding_server: EmbeddingServer) -> EmbeddingServer:
    """The server of `services`, with nothing wrong with it."""
    embedding_server.reset()
    return embedding_server


@pytest.fixture(scope="session")
def clock() -> TravellingClock:
    """These tests' own: they travel far."""
    return TravellingClock()


@pytest.fixture(scope="session")
async def services(
    settings: Settings, clock: TravellingClock, embedding_server: EmbeddingServer
) -> AsyncIterator[Services]:
    """An installation that embeds by that server."""
    async with compose(with_models(settings, embedding_server, MODEL), clock) as services:
        yield services


def with_models(settings: Settings, server: EmbeddingServer, *models: str) -> Settings:
    """These models, the newest first, all served by the same server."""
    servers = json.dumps([{"model": model, "url": server.url, "api_key": "sk-test"} for model in models])
    return Settings(_env_file=None, **settings.model_dump(exclude={"embeddings"}), embeddings=servers)


@pytest.fixture
async def tenant(sign_up: Callable[..., Awaitable[SignedUpTenant]]) -> SignedUpTenant:
    return await sign_up()


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Who can read and change every row behind the application's back."""
    connection = await asyncpg.connect(settings.database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
async def api(services: Services) -> AsyncIterator[Api]:
    transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tunery.test") as client:
        yield Api(client)


@pytest.fixture
async def indexed(services: Services, sign_up: Callable[..., Awaitable[SignedUpTenant]]) -> Callable[..., Any]:
    """Makes tenants whose rows of the index come from the test, without texts."""

    async def make(**given: Any) -> IndexedTenant:
        return IndexedTenant(services, await sign_up(), **given)

    return make


async def lose_key(owner: asyncpg.Connection, subject_id: UUID) -> Callable[[], Awaitable[object]]:
    """The person's key opens no more, until what this gives is called."""
    of_person = "WHERE id = (SELECT data_key_id FROM subjects WHERE id = $1)"
    wrapped = await owner.fetchval(f"SELECT wrapped_key FROM data_keys {of_person}", subject_id)
    lose = f"UPDATE data_keys SET wrapped_key = $2 {of_person}"
    await owner.execute(lose, subject_id, b"x")
    return lambda: owner.execute(lose, subject_id, wrapped)


async def rows_of(owner: asyncpg.Connection, tenant: SignedUpTenant) -> dict[str, int]:
    """How many rows the tenant has in each of the room's tables."""
    tables = ("subjects", "memories", "conversations", "memory_index")
    return {
        table: await owner.fetchval(f"SELECT count(*) FROM {table} WHERE tenant_id = $1", tenant.tenant_id)
        for table in tables
    }
