"""The library of `library.py` in the test database, and what answers questions about it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime

import asyncpg
import pytest
import strawberry
from graphql import GraphQLSchema
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from strawberry.schema.config import StrawberryConfig

from tests.graphql.planner import library, tunery_rows
from tests.graphql.planner.ways import Ways
from tunery.app.database_urls import role_url
from tunery.app.embedded.postgres import RunningPostgres
from tunery.app.schema import Mutation, Query, Subscription, core_schema
from tunery.app.settings import Settings
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, Database, sqlalchemy_url
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.graphql.planner.resolve import use_planner
from tunery.graphql.scalars import SCALARS
from tunery.tenants.api_keys import KEY_IS_VALID


@pytest.fixture(scope="session")
async def loop() -> asyncio.AbstractEventLoop:
    """That of all tests and fixtures, which stands still while a test that is no coroutine runs."""
    return asyncio.get_running_loop()


@pytest.fixture(scope="session")
async def owner(settings: Settings, postgres: RunningPostgres) -> AsyncIterator[asyncpg.Connection]:
    """Past row-level security."""
    connection = await asyncpg.connect(postgres.url)
    yield connection
    await connection.close()


@pytest.fixture(scope="package")
async def library_rows(owner: asyncpg.Connection) -> AsyncIterator[None]:
    await library.create(owner)
    yield
    await library.drop(owner)


@pytest.fixture(scope="session")
def app_url(settings: Settings) -> str:
    return role_url(settings, APPLICATION_ROLE)


@pytest.fixture(scope="session")
async def engine(app_url: str) -> AsyncIterator[AsyncEngine]:
    """The oracle's."""
    engine = create_async_engine(sqlalchemy_url(app_url))
    yield engine
    await engine.dispose()


@pytest.fixture(scope="package")
async def library_ways(library_rows: None, app_url: str, engine: AsyncEngine) -> AsyncIterator[Ways]:
    reader = Reader(app_url, timeout_seconds=60)
    schema = library.build_schema()
    use_planner(schema)
    yield Ways(schema, library.build_schema, reader, library.KEY_IS_VALID, engine, Services(), library.IDENTITIES)
    await reader.close()


@pytest.fixture(scope="package")
async def tunery_ways(
    services: Services, settings: Settings, owner: asyncpg.Connection, app_url: str, engine: AsyncEngine
) -> AsyncIterator[Ways]:
    """Tunery's own schema. Its rows are gone when the tests of this folder are through: others count what they see."""

    def build() -> GraphQLSchema:
        config = StrawberryConfig(scalar_map=SCALARS)
        return strawberry.Schema(Query, Mutation, Subscription, config=config)._schema

    await tunery_rows.create(owner)
    reader = Reader(app_url, timeout_seconds=60)
    parts = Services()
    parts._parts = dict(services._parts)
    database = Database(app_url, role_url(settings, DISPATCHER_ROLE), StandingClock())
    parts.add(Database, database)
    yield Ways(core_schema, build, reader, KEY_IS_VALID, engine, parts, tunery_rows.IDENTITIES)
    await reader.close()
    await database.close()
    await tunery_rows.delete(owner)


class StandingClock:
    """The ways of one request come at one moment."""

    def now(self) -> datetime:
        return tunery_rows.START
