import asyncio
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import make_url, select
from sqlalchemy.ext.asyncio import create_async_engine

from tests.canaries import Canaries, find_in_file
from tunery.app.backup import KEY_TABLES, NEITHER, back_up_data, back_up_keys, restore
from tunery.app.compose import compose
from tunery.app.database_urls import role_url
from tunery.app.embedded.errors import CannotStart
from tunery.app.embedded.postgres import RunningPostgres
from tunery.app.migrate import ensure_roles, migrate, upgrade
from tunery.app.settings import Settings
from tunery.app.tasks import WORKER_TASKS
from tunery.core.database import APPLICATION_ROLE, Database, Table, sqlalchemy_url
from tunery.core.events import Events
from tunery.core.outbox import OutboxMessage, run_task
from tunery.core.services import Services
from tunery.tenants.erase import FINISH_ERASURE
from tunery.tenants.sign_up import sign_up
from tunery.vault.erasures import certify_erasure
from tunery.vault.keyring import KeyDestroyed, Keyring
from tunery.vault.secrets import keep_secret, reveal_secret

OWNER, BACKUP = "an_owner", "a_backup"
PASSWORD = "p@ss/word"

NewDatabase = Callable[..., Awaitable[Settings]]


@pytest.fixture(scope="session")
async def roles(postgres: RunningPostgres) -> None:
    """As a hoster has them: an owner who is no superuser, and one who may read everything."""
    superuser = await asyncpg.connect(postgres.url)
    await superuser.execute(
        f"CREATE ROLE {OWNER} LOGIN CREATEROLE PASSWORD '{PASSWORD}';"
        f"CREATE ROLE {BACKUP} LOGIN BYPASSRLS PASSWORD '{PASSWORD}'; GRANT pg_read_all_data TO {BACKUP}"
    )
    await superuser.close()


@pytest.fixture
def new_database(settings: Settings, postgres: RunningPostgres, roles: None) -> NewDatabase:
    """An empty one of that owner's, in the settings of this process's installation."""

    async def make(owner: str = OWNER) -> Settings:
        name = f"db_{secrets.token_hex(4)}"
        superuser = await asyncpg.connect(postgres.url)
        await superuser.execute(f"CREATE DATABASE {name} OWNER {owner}")
        await superuser.close()
        superuser = await asyncpg.connect(postgres.database_url(name))
        await superuser.execute("CREATE EXTENSION vector")
        await superuser.close()
        return as_role(settings.model_copy(update={"database_url": postgres.database_url(name)}), owner)

    return make


@pytest.fixture
async def live(new_database: NewDatabase) -> Settings:
    settings = await new_database()
    await asyncio.to_thread(migrate, settings)
    return settings


def as_role(settings: Settings, role: str) -> Settings:
    url = make_url(settings.database_url).set(username=role, password=PASSWORD)
    return settings.model_copy(update={"database_url": url.render_as_string(hide_password=False)})


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """As somebody whom row-level security doesn't bind."""
    connection = await asyncpg.connect(as_role(settings, BACKUP).database_url)
    yield connection
    await connection.close()


async def back_up(settings: Settings, folder: Path) -> tuple[Path, Path]:
    data, keys = folder / "data.dump", folder / "keys.dump"
    await asyncio.to_thread(back_up_data, as_role(settings, BACKUP), data)
    await asyncio.to_thread(back_up_keys, as_role(settings, BACKUP), keys)
    return data, keys


async def restore_quietly(settings: Settings, data: Path, keys: Path) -> list[str]:
    said: list[str] = []
    await asyncio.to_thread(restore, settings, data, keys, said.append)
    return said


def schema_of(settings: Settings, postgres: RunningPostgres) -> list[str]:
    url = as_role(settings, BACKUP).database_url
    dump = subprocess.run(
        [postgres.binaries / "pg_dump", "--schema-only", url], check=True, capture_output=True, text=True
    )
    return [line for line in dump.stdout.splitlines() if not line.startswith(("\\", "--"))]


async def rows_of(settings: Settings) -> dict[str, list[str]]:
    """Of every table: its rows as text."""
    async with connected(settings) as connection:
        return {
            name: [row["text"] for row in await connection.fetch(f"SELECT t::text AS text FROM {name} t ORDER BY 1")]
            for name in Table.metadata.tables
        }


@dataclass(frozen=True)
class Shop:
    """A tenant that keeps a secret."""

    tenant_id: UUID
    email: str
    secret_id: UUID

    async def reveal(self, services: Services) -> bytes:
        async with services.get(Database).unit_of_work(self.tenant_id) as uow:
            return await reveal_secret(uow, services.get(Keyring), self.secret_id)


async def sign_up_with_secret(services: Services, secret: str) -> Shop:
    slug = f"shop-{secrets.token_hex(4)}"
    email, keyring = f"owner@{slug}.example", services.get(Keyring)
    async with services.get(Database).unit_of_work() as uow:
        result = await sign_up(uow, services.get(Events), keyring, organisation="Shop", email=email, slug=slug)
        return Shop(result.tenant.id, email, await keep_secret(uow, keyring, "webhook", secret.encode()))


async def test_a_restored_database_is_the_one_that_was_but_for_the_keys_that_are_gone(
    live: Settings, new_database: NewDatabase, postgres: RunningPostgres, tmp_path: Path
) -> None:
    canaries = Canaries()
    words = [canaries.word() for _ in range(3)]
    async with compose(live) as services:
        kept, erased = [await sign_up_with_secret(services, word) for word in words[:2]]
        before = await rows_of(live)
        data, keys = await back_up(live, tmp_path)
        await erase(services, erased.tenant_id)
        late = await sign_up_with_secret(services, words[2])
        await asyncio.to_thread(back_up_keys, as_role(live, BACKUP), keys)
        after = await rows_of(live)
    for dump in (data, keys):
        assert dump.stat().st_mode & 0o777 == 0o600
        assert find_in_file(dump, canaries.mark) == []

    restored = await new_database()
    assert len(await restore_quietly(restored, data, keys)) == 4
    assert await asyncio.to_thread(schema_of, restored, postgres) == await asyncio.to_thread(schema_of, live, postgres)
    found = await rows_of(restored)
    assert {table for table in KEY_TABLES if found[table] != after[table]} == set()
    changed = {table for table in found if found[table] != before[table]}
    assert changed == {"tenant_keys", "data_keys", "erasures", "outbox"}
    assert str(late.tenant_id) not in "".join(found["tenants"])
    async with compose(restored) as services:
        assert await kept.reveal(services) == words[0].encode()
        with pytest.raises(KeyDestroyed):
            await erased.reveal(services)
        assert erased.email in "".join(found["members"])
        await run_what_is_due(services)
    found = await rows_of(restored)
    assert erased.email not in "".join(found["members"])
    assert kept.email in "".join(found["members"])


async def erase(services: Services, tenant_id: UUID) -> None:
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        keyring = services.get(Keyring)
        destroyed = await keyring.shred_tenant(uow)
        await certify_erasure(
            uow, keyring, scope="tenant", subject=None, requested_by="test", destroyed=destroyed, deleted={}
        )


async def run_what_is_due(services: Services) -> None:
    """As a worker does."""
    async with services.get(Database).dispatch() as uow:
        due = (await uow.session.scalars(select(OutboxMessage).where(OutboxMessage.handled_at.is_(None)))).all()
    assert [message.task for message in due] == [FINISH_ERASURE]
    await run_task(services, WORKER_TASKS, due[0].id)


async def test_the_owner_restored_by_need_not_be_the_one_that_was(
    live: Settings, new_database: NewDatabase, postgres: RunningPostgres, tmp_path: Path
) -> None:
    """Whether there still is a role of the other one's name, or not. Everybody goes on seeing what is published."""
    other = f"owner_{secrets.token_hex(4)}"
    await publish(live, postgres)
    assert await published(live) == ["Support"]
    data, keys = await back_up(live, tmp_path)
    async with superuser_of(live, postgres) as superuser:
        await superuser.execute(f"CREATE ROLE {other} LOGIN CREATEROLE PASSWORD '{PASSWORD}'")
        restored = await new_database(other)
    await restore_quietly(restored, data, keys)
    assert await published(restored) == ["Support"]

    back = await back_up(restored, tmp_path)
    async with superuser_of(live, postgres) as superuser:
        await superuser.execute(f"DROP DATABASE {make_url(restored.database_url).database} WITH (FORCE)")
        await superuser.execute(f"DROP ROLE {other}")
    again = await new_database()
    await restore_quietly(again, *back)
    assert await published(again) == ["Support"]
    assert await asyncio.to_thread(schema_of, again, postgres) == await asyncio.to_thread(schema_of, live, postgres)


async def publish(settings: Settings, postgres: RunningPostgres) -> None:
    """A listing, by SQL."""
    async with compose(settings) as services:
        shop = await sign_up_with_secret(services, "secret")
    async with superuser_of(settings, postgres) as connection:
        await connection.execute(LISTING.format(tenant=shop.tenant_id))


async def published(settings: Settings) -> list[str]:
    """What anybody sees."""
    connection = await asyncpg.connect(role_url(settings, APPLICATION_ROLE))
    rows = await connection.fetch("SELECT title FROM published_listings")
    await connection.close()
    return [row["title"] for row in rows]


LISTING = """
    WITH seller AS (
        INSERT INTO sellers (tenant_id, namespace, name) SELECT id, slug, name FROM tenants WHERE id = '{tenant}'
        RETURNING tenant_id
    ), adapter AS (
        INSERT INTO adapters (tenant_id, name, base_model_id, created_at)
        SELECT tenant_id, 'support', (SELECT id FROM base_models LIMIT 1), now() FROM seller RETURNING id, tenant_id
    )
    INSERT INTO listings (tenant_id, adapter_id, name, base_model, title, description, licence, price, currency, status,
        published_at)
    SELECT tenant_id, id, 'support', 'tiny', 'Support', '', '', 50, 'usd', 'published', now() FROM adapter
"""


async def test_dumps_of_older_releases_are_brought_up_to_date(
    new_database: NewDatabase, postgres: RunningPostgres, tmp_path: Path
) -> None:
    """The data of one release, the keys of the next, restored with this one."""
    live, restored = await new_database(), await new_database()
    await upgrade_to(live, "0006")
    async with superuser_of(live, postgres) as connection:
        await connection.execute(OLD_ROWS)
    await asyncio.to_thread(back_up_data, as_role(live, BACKUP), tmp_path / "data.dump")
    await upgrade_to(live, "0007")
    await asyncio.to_thread(back_up_keys, as_role(live, BACKUP), tmp_path / "keys.dump")
    await restore_quietly(restored, tmp_path / "data.dump", tmp_path / "keys.dump")

    await asyncio.to_thread(migrate, live)
    assert await asyncio.to_thread(schema_of, restored, postgres) == await asyncio.to_thread(schema_of, live, postgres)
    found, expected = await rows_of(restored), await rows_of(live)
    for table in ("data_sets", "tenant_keys", "data_keys", "alembic_version"):
        if table in found:
            assert found[table] == expected[table] != []


OLD_ROWS = """
    WITH tenant_key AS (
        INSERT INTO tenant_keys (tenant_id, version, suite, public_key, sealed_private_key, root_key, fingerprint, created_at)
        VALUES (gen_random_uuid(), 1, 'suite', 'public', 'sealed', 'local', 'print', now()) RETURNING id, tenant_id
    ), data_key AS (
        INSERT INTO data_keys (tenant_id, tenant_key_id, purpose, suite, wrapped_key, fingerprint, created_at)
        SELECT tenant_id, id, 'data set', 'suite', 'wrapped', 'print', now() FROM tenant_key RETURNING id, tenant_id
    )
    INSERT INTO data_sets (tenant_id, data_key_id, name, rows, size, sha256, object_path, created_at)
    SELECT tenant_id, id, 'old.jsonl', 1, 1, '', 'path', now() FROM data_key
"""


async def upgrade_to(settings: Settings, revision: str) -> None:
    engine = create_async_engine(sqlalchemy_url(settings.database_url))
    async with engine.begin() as connection:
        await connection.run_sync(ensure_roles)
        await connection.run_sync(upgrade, revision)
    await engine.dispose()


@asynccontextmanager
async def superuser_of(settings: Settings, postgres: RunningPostgres) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.database_url(make_url(settings.database_url).database))
    yield connection
    await connection.close()


async def test_what_cannot_be_restored_is_told_and_nothing_is_touched(
    live: Settings, new_database: NewDatabase, tmp_path: Path
) -> None:
    data, keys = await back_up(live, tmp_path)
    (tmp_path / "text").write_text("This is no dump.")
    empty = await new_database()

    async def assert_refused(message: str, settings: Settings, *files: Path) -> None:
        with pytest.raises(CannotStart, match=message) as refused:
            await restore_quietly(settings, *files)
        assert PASSWORD not in str(refused.value)

    rows = await rows_of(live)
    await assert_refused("is not empty, it has [0-9]+ tables: create another one", live, data, keys)
    assert await rows_of(live) == rows
    await assert_refused("was not made by `tunery backup data`", empty, keys, data)
    await assert_refused("was not made by `tunery backup data`", empty, keys, keys)
    await assert_refused("was not made by `tunery backup keys`", empty, data, data)
    await assert_refused("there is no file", empty, tmp_path / "missing", keys)
    await assert_refused("pg_restore failed", empty, tmp_path / "text", keys)
    await asyncio.sleep(1)
    newer, _ = await back_up(live, tmp_path / "..")
    await assert_refused("keys that were made in between are missing", empty, newer, keys)
    await assert_refused("set TUNERY_DATABASE_URL", empty.model_copy(update={"database_url": None}), data, keys)
    async with connected(empty) as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0


async def test_keys_that_data_refers_to_must_be_there(
    live: Settings, new_database: NewDatabase, postgres: RunningPostgres, tmp_path: Path
) -> None:
    async with compose(live) as services:
        await sign_up_with_secret(services, "secret")
    data, keys = await back_up(live, tmp_path)
    async with superuser_of(live, postgres) as connection:
        await connection.execute("DELETE FROM secrets; DELETE FROM data_keys")
    await asyncio.to_thread(back_up_keys, as_role(live, BACKUP), keys)
    with pytest.raises(
        CannotStart, match=r"lacks what the data refers to: Key .* is not present in table \"data_keys\""
    ):
        await restore_quietly(await new_database(), data, keys)


async def test_who_is_bound_by_row_level_security_cannot_back_up(live: Settings, tmp_path: Path) -> None:
    file = tmp_path / "data.dump"
    file.write_bytes(b"yesterday's")
    with pytest.raises(CannotStart, match=r"pg_dump failed:\n.*row-level security") as refused:
        await asyncio.to_thread(back_up_data, live, file)
    assert PASSWORD not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["data.dump"]  # noqa: ASYNC240
    assert file.read_bytes() == b"yesterday's"


def test_every_table_that_holds_keys_is_dumped_apart_or_not_at_all() -> None:
    """A column that wraps or seals a key has a name that says so, or stands here."""
    named = {
        table.name
        for table in Table.metadata.tables.values()
        if {"wrapped_key", "sealed_private_key", "response"} & set(table.columns.keys())
    }
    assert named <= {*KEY_TABLES, *NEITHER}
    assert {*KEY_TABLES, *NEITHER} <= set(Table.metadata.tables)
