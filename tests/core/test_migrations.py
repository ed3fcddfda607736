import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from graphql import get_named_type
from pydantic import SecretStr
from sqlalchemy import URL
from sqlalchemy.ext.asyncio import create_async_engine

import tunery.migrations.tables  # noqa: F401
from tunery.app import migrate as migrate_module
from tunery.app.database_urls import role_url
from tunery.app.migrate import alembic_config, ensure_roles, migrate
from tunery.app.schema import core_schema
from tunery.app.settings import Settings
from tunery.core.clock import SystemClock
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, Database, Table, TenantOwned, sqlalchemy_url
from tunery.core.services import Services
from tunery.graphql.access import PUBLIC
from tunery.graphql.planner.keyset import Keys
from tunery.graphql.planner.mapping import declared_of, is_connection, mapping_of
from tunery.vault.derivation import derive
from tunery.vault.envelopes import X_WING, generate_key_pair, wrap
from tunery.vault.keyring import Keyring
from tunery.vault.rotation import reseal_under_newest_root, rewrap_data_keys, rotate_tenant_key
from tunery.vault.sealing import seal
from tunery.vault.signatures import fingerprint, generate_signer


async def test_the_migrations_make_the_tables_that_the_models_declare(settings: Settings):
    engine = create_async_engine(settings.database_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), Table.metadata)
        )
    await engine.dispose()
    assert differences == []


async def test_lists_and_filters_by_tenant_have_an_index(settings: Settings):
    """Each table's that row-level security filters, and for each list one that goes on in the list's order."""
    owner = await asyncpg.connect(settings.database_url)
    found = await owner.fetch(
        "SELECT tablename, (regexp_match(indexdef, '\\((.*?)\\)'))[1] AS columns, indexdef LIKE '% WHERE %' AS partial"
        " FROM pg_indexes WHERE schemaname = 'public'"
    )
    await owner.close()
    indexes = {(row["tablename"], tuple(row["columns"].split(", "))) for row in found if not row["partial"]}
    owned = {mapper.local_table.name for mapper in Table.registry.mappers if issubclass(mapper.class_, TenantOwned)}
    assert owned - {table for table, columns in indexes if columns[0] == "tenant_id"} == set()

    lists = set()
    for definition in core_schema.query_type.fields.values():
        source, kind = declared_of(definition).source, get_named_type(definition.type)
        if is_connection(kind) and declared_of(definition).permission != PUBLIC:
            table = mapping_of(get_named_type(kind.fields["nodes"].type)).table
            keys = Keys.of(source.order(table.c)).columns
            lists.add((table.name, ("tenant_id", *(key.name for key in keys))))
    assert len(lists) == 9
    beginnings = {(table, columns[:end]) for table, columns in indexes for end in range(len(columns) + 1)}
    assert lists <= beginnings
    single = {table for table, columns in indexes if columns == ("tenant_id",)}
    assert {table for table, columns in indexes if columns[0] == "tenant_id" and len(columns) > 1} & single == set()


async def test_migrating_again_changes_nothing(settings: Settings):
    connection = await asyncpg.connect(settings.database_url)
    query = "SELECT (SELECT json_agg(b.* ORDER BY name) FROM base_models b)::text, (SELECT count(*) FROM signing_keys)"
    before = await connection.fetchrow(query)
    import asyncio

    await asyncio.to_thread(migrate, settings)
    assert await connection.fetchrow(query) == before
    assert before["count"] == 1
    await connection.close()


@pytest.fixture
async def plain_owner(settings: Settings) -> AsyncIterator[URL]:
    """An empty database of an owner whom FORCE ROW LEVEL SECURITY binds, as hosters give it."""
    superuser = await asyncpg.connect(settings.database_url)
    await superuser.execute("CREATE ROLE plain_owner LOGIN PASSWORD 'plain'")
    await superuser.execute("CREATE DATABASE with_rows OWNER plain_owner")
    in_it = await asyncpg.connect(settings.database_url, database="with_rows")
    await in_it.execute("CREATE EXTENSION vector")  # no owner may: hosters do it, or let a superuser
    await in_it.close()
    yield sqlalchemy_url(settings.database_url).set(username="plain_owner", password="plain", database="with_rows")
    await superuser.execute("DROP DATABASE with_rows WITH (FORCE)")
    await superuser.execute("DROP ROLE plain_owner")
    await superuser.close()


async def upgrade(url: URL, revision: str) -> None:
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), revision))
    await engine.dispose()


async def test_a_database_with_rows_is_upgraded(settings: Settings, plain_owner: URL):
    await upgrade(plain_owner, "0003")
    superuser = await asyncpg.connect(settings.database_url, database=plain_owner.database)
    try:
        security = "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class WHERE relkind = 'r' ORDER BY 1"
        secured = await superuser.fetch(security)
        await superuser.execute(TWO_LISTINGS)

        await upgrade(plain_owner, "head")

        versions = "SELECT digest, listing_status FROM listing_versions ORDER BY 1"
        assert [tuple(row) for row in await superuser.fetch(versions)] == [
            ("published 1", "published"), ("published 2", "published"), ("withdrawn 1", "withdrawn")
        ]  # fmt: skip
        assert set(secured) <= set(await superuser.fetch(security))
        assert {"listings", "listing_versions"} <= {row["relname"] for row in secured if row[1] and row[2]}
        await superuser.execute(f"SET ROLE {APPLICATION_ROLE}")
        shown = await superuser.fetch("SELECT digest FROM published_listing_versions ORDER BY 1")
        assert [row["digest"] for row in shown] == ["published 1", "published 2"]
    finally:
        await superuser.close()


TWO_LISTINGS = """
    WITH tenant AS (INSERT INTO tenants (name, slug, created_at) VALUES ('Shop', 'shop', now()) RETURNING id),
    seller AS (INSERT INTO sellers (tenant_id, namespace, name) SELECT id, 'shop', 'Shop' FROM tenant),
    base AS (
        INSERT INTO base_models (name, revision, licence, parameters, context_length, train_price, input_price,
            output_price, created_at)
        VALUES ('tiny', '', '', 1, 1, 1, 1, 1, now()) RETURNING id
    ),
    adapter AS (
        INSERT INTO adapters (tenant_id, name, base_model_id, created_at)
        SELECT tenant.id, status, base.id, now() FROM tenant, base, unnest(ARRAY['published', 'withdrawn']) status
        RETURNING *
    ),
    listing AS (
        INSERT INTO listings (tenant_id, adapter_id, name, base_model, title, description, licence, price, currency,
            status, published_at)
        SELECT tenant_id, id, name, 'tiny', '', '', '', 50, 'usd', name, now() FROM adapter RETURNING *
    )
    INSERT INTO listing_versions (tenant_id, listing_id, number, digest, base_model, manifest, files, object_prefix,
        created_at)
    SELECT tenant_id, id, number, status || ' ' || number, 'tiny', '{}', '[]', '', now()
    FROM listing, generate_series(1, 2) number WHERE status = 'published' OR number = 1
"""


async def test_an_owner_who_may_not_make_roles_is_told_which_are_missing(plain_owner: URL, monkeypatch):
    monkeypatch.setattr(migrate_module, "ROLES", ("tunery_app", "tunery_missing"))
    engine = create_async_engine(plain_owner)
    with pytest.raises(ValueError, match="lacks the roles tunery_missing, and the owner may not make them"):
        async with engine.begin() as connection:
            await connection.run_sync(ensure_roles)
    await engine.dispose()


async def test_keys_from_before_they_rotated_open_after_the_upgrade(settings: Settings, plain_owner: URL):
    """Sealed by hand as the first release did. Deleted data sets have no key; the others' are all filled in."""
    await upgrade(plain_owner, "0005")
    [root] = settings.load_root_keys().local
    tenant_id, data_key = uuid4(), bytes(32)
    private, public = generate_key_pair(X_WING)
    info = f"data_keys/wrapped_key/{tenant_id}/1/data set".encode()
    signer = generate_signer()
    superuser = await asyncpg.connect(settings.database_url, database=plain_owner.database)
    await superuser.execute(f"SET tunery.tenant_id = '{tenant_id}'")
    tenant_key = await superuser.fetchval(
        "INSERT INTO tenant_keys (version, suite, public_key, sealed_private_key, created_at)"
        " VALUES (1, $1, $2, $3, now()) RETURNING id",
        X_WING,
        public,
        seal(derive(root.key, "tenant keys"), f"tenant_keys/sealed_private_key/{tenant_id}/1".encode(), private),
    )
    key = await superuser.fetchval(
        "INSERT INTO data_keys (tenant_key_id, purpose, wrapped_key, created_at)"
        " VALUES ($1, 'data set', $2, now()) RETURNING id",
        tenant_key,
        wrap(X_WING, data_key, public, info),
    )
    data_set = "INSERT INTO data_sets (name, rows, size, sha256, data_key_id, object_path, created_at)"
    await superuser.executemany(f"{data_set} VALUES ('', 1, 1, '', $1, '', now())", [(key,), (None,)])
    await superuser.execute(
        "INSERT INTO signing_keys (algorithm, public_key, sealed_private_key, created_at) VALUES ($1, $2, $3, now())",
        signer.algorithm,
        signer.public_key,
        seal(derive(root.key, "signing keys"), signer.public_key, signer.private_key),
    )

    await upgrade(plain_owner, "head")

    row = await superuser.fetchrow("SELECT suite, fingerprint, destroyed_at FROM data_keys")
    wrapped = await superuser.fetchval("SELECT wrapped_key FROM data_keys")
    assert tuple(row) == (X_WING, hashlib.sha256(wrapped).hexdigest()[:32], None)
    row = await superuser.fetchrow("SELECT root_key, fingerprint, retired_at, destroyed_at FROM tenant_keys")
    assert tuple(row) == ("", fingerprint(public), None, None)
    await superuser.close()
    urls = [
        sqlalchemy_url(role_url(settings, role)).set(database=plain_owner.database).render_as_string(False)
        for role in (APPLICATION_ROLE, DISPATCHER_ROLE)
    ]
    database, keyring = Database(*urls, SystemClock()), Keyring(settings.load_root_keys())
    upgraded = Services()
    upgraded.add(Database, database)
    upgraded.add(Keyring, keyring)
    try:
        for _ in range(2):  # before and after they are sealed anew
            async with database.unit_of_work(tenant_id) as uow:
                assert await keyring.open_data_key(uow, key) == data_key
                assert (await keyring.signer(uow)).private_key == signer.private_key
            assert await reseal_under_newest_root(upgraded) in (2, 0)
        async with database.unit_of_work(tenant_id) as uow:
            await rotate_tenant_key(uow, keyring)
        await rewrap_data_keys(upgraded, tenant_id)
        async with database.unit_of_work(tenant_id) as uow:
            assert await keyring.open_data_key(uow, key) == data_key
    finally:
        await database.close()


async def test_another_installation_on_the_same_server_is_not_locked_out(settings: Settings):
    owner = await asyncpg.connect(settings.database_url)
    await owner.execute("CREATE DATABASE other_installation")
    other = settings.model_copy(
        update={
            "database_url": settings.database_url.rpartition("/")[0] + "/other_installation",
            "root_key": SecretStr(base64.b64encode(bytes(32)).decode()),
        }
    )
    with pytest.raises(ValueError, match="another Tunery database"):
        await asyncio.to_thread(migrate, other)
    app = await asyncpg.connect(role_url(settings, "tunery_app"))
    await app.close()
    await owner.execute("DROP DATABASE other_installation")
    await owner.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://a:b@h:1/d", "postgresql+asyncpg://a:b@h:1/d"),
        ("postgres://a:b@h/d?sslmode=require", "postgresql+asyncpg://a:b@h/d?ssl=require"),
        ("postgresql://a:p%40ss@h/d?application_name=x", "postgresql+asyncpg://a:p%40ss@h/d?application_name=x"),
    ],
)
def test_urls_as_hosters_write_them_are_understood(given: str, expected: str):
    assert sqlalchemy_url(given).render_as_string(hide_password=False) == expected
