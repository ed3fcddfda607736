"""What all contenders share: PostgreSQL and Valkey as they ship, the migrated schema, the rows, fifty API keys."""

import asyncio
import base64
import secrets
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg

from tunery.app.compose import compose
from tunery.app.database_urls import role_url
from tunery.app.embedded.postgres import start_postgres
from tunery.app.embedded.valkey import start_valkey
from tunery.app.migrate import migrate
from tunery.app.settings import Settings
from tunery.core.database import APPLICATION_ROLE, Database
from tunery.core.events import Events
from tunery.tenants.sign_up import sign_up
from tunery.vault.keyring import Keyring

BUYERS = 50
SEED = Path(__file__).with_name("seed.sql")


@dataclass(frozen=True)
class Buyer:
    tenant_id: UUID
    api_key: str


@dataclass(frozen=True)
class Installation:
    settings: Settings
    buyers: list[Buyer]
    listing_ids: list[UUID]

    @property
    def owner_url(self) -> str:
        """PostgreSQL as the superuser, whom no row-level security binds."""
        assert self.settings.database_url is not None
        return self.settings.database_url

    @property
    def application_url(self) -> str:
        return role_url(self.settings, APPLICATION_ROLE)


def install(folder: Path, stack: ExitStack) -> Installation:
    """Services on this process's cores, ended with the stack, and the rows in them."""
    postgres = start_postgres(folder / "postgres")
    stack.callback(postgres.stop)
    valkey = start_valkey(folder / "valkey")
    stack.callback(valkey.stop)
    settings = Settings(
        _env_file=None,
        database_url=postgres.url,
        redis_url=valkey.url,
        storage_url=(folder / "storage").as_uri(),
        root_key=base64.b64encode(secrets.token_bytes(32)).decode(),
        stripe_secret_key="sk_test_benchmark",  # noqa: S106 - nothing is ever paid here
        stripe_webhook_secret="whsec_benchmark",  # noqa: S106
    )
    migrate(settings)
    return asyncio.run(_seed(settings))


async def _seed(settings: Settings) -> Installation:
    buyers = []
    async with compose(settings) as services:
        for number in range(1, BUYERS + 1):
            async with services.get(Database).unit_of_work() as uow:
                signed_up = await sign_up(
                    uow,
                    services.get(Events),
                    services.get(Keyring),
                    organisation=f"Buyer {number}",
                    email=f"owner@buyer-{number}.example",
                    slug=f"buyer-{number}",
                )
            buyers.append(Buyer(signed_up.tenant.id, signed_up.secret))
    connection = await asyncpg.connect(settings.database_url)
    try:
        async with connection.transaction():
            await connection.execute(SEED.read_text())
        await connection.execute("VACUUM ANALYZE")
        rows = await connection.fetch("SELECT id FROM listings ORDER BY id")
    finally:
        await connection.close()
    return Installation(settings, buyers, [row["id"] for row in rows])
