"""Real services for every test: one PostgreSQL and one Valkey per test process, tenants made as they are needed."""

import base64
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from tunery.app.application import create_app
from tunery.app.compose import compose
from tunery.app.database_urls import role_url
from tunery.app.embedded.postgres import RunningPostgres, start_postgres
from tunery.app.embedded.valkey import RunningValkey, start_valkey
from tunery.app.migrate import migrate
from tunery.app.settings import Settings
from tunery.core.clock import TravellingClock
from tunery.core.database import NODE_ROLE, Database
from tunery.core.events import Events
from tunery.core.identity import Identity
from tunery.core.services import Services
from tunery.tenants.sign_up import sign_up as sign_up_verb
from tunery.vault.keyring import Keyring


@dataclass(frozen=True)
class SignedUpTenant:
    """A fresh tenant on the free plan."""

    tenant_id: UUID
    slug: str
    api_key: str
    identity: Identity

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.api_key}"}


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPostgres]:
    running = start_postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningValkey]:
    running = start_valkey(tmp_path_factory.mktemp("valkey"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def settings(postgres: RunningPostgres, valkey: RunningValkey, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of this test process's installation, migrated."""
    storage: Path = tmp_path_factory.mktemp("storage")
    settings = Settings(
        _env_file=None,
        database_url=postgres.url,
        redis_url=valkey.url,
        storage_url=storage.as_uri(),
        root_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        data_set_max_bytes=8 * 1024 * 1024,
        stripe_secret_key="sk_test_tests",
        stripe_webhook_secret="whsec_tests",
    )
    migrate(settings)
    return settings


@pytest.fixture
async def owner(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Who can change every row behind the application's back."""
    connection = await asyncpg.connect(settings.database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def clock() -> TravellingClock:
    """The time of `services`. It only ever travels forwards."""
    return TravellingClock()


class NodeDatabase(Database):
    """As nodes connect to it."""


@pytest.fixture(scope="session")
async def services(settings: Settings, clock: TravellingClock) -> AsyncIterator[Services]:
    async with compose(settings, clock) as services:
        url = role_url(settings, NODE_ROLE)
        services.add(NodeDatabase, NodeDatabase(url, url, clock))
        yield services
        await services.get(NodeDatabase).close()


@pytest.fixture(scope="session")
def sign_up(services: Services) -> Callable[..., Awaitable[SignedUpTenant]]:
    async def make(name: str = "Shop") -> SignedUpTenant:
        slug = f"{name.lower()}-{secrets.token_hex(4)}"
        async with services.get(Database).unit_of_work() as uow:
            result = await sign_up_verb(
                uow,
                services.get(Events),
                services.get(Keyring),
                organisation=name,
                email=f"owner@{slug}.example",
                slug=slug,
            )
        identity = Identity(result.tenant.id, result.api_key.id, result.api_key.created_by)
        return SignedUpTenant(result.tenant.id, slug, result.secret, identity)

    return make


class Api:
    """The ASGI application without a network: GraphQL by one tenant after another."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def graphql(self, document: str, tenant: SignedUpTenant | None = None, **variables: object) -> dict[str, Any]:
        """The whole answer: data, errors."""
        body = {"query": document, "variables": variables}
        response = await self.client.post("/graphql", json=body, headers=tenant.headers if tenant else {})
        return response.json()

    async def mutate(self, field: str, selection: str, tenant: SignedUpTenant, **given: object) -> dict[str, Any]:
        """The payload of one mutation, userErrors included."""
        kind = field[0].upper() + field[1:] + "Input!"
        document = f"mutation($input: {kind}) {{ {field}(input: $input) {{ {selection} userErrors {{ field code message }} }} }}"
        answer = await self.graphql(document, tenant, input=given)
        assert "errors" not in answer, answer
        return answer["data"][field]


@pytest.fixture(scope="session")
async def api(services: Services) -> AsyncIterator[Api]:
    transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://tunery.test") as client:
        yield Api(client)
