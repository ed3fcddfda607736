import asyncio
import base64

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from graphql import get_named_type
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import create_async_engine

import tunery.migrations.tables  # noqa: F401
from tunery.app.database_urls import role_url
from tunery.app.migrate import migrate
from tunery.app.schema import core_schema
from tunery.app.settings import Settings
from tunery.core.database import Table, TenantOwned, sqlalchemy_url
from tunery.graphql.access import PUBLIC
from tunery.graphql.planner.keyset import Keys
from tunery.graphql.planner.mapping import declared_of, is_connection, mapping_of


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
    assert len(lists) == 8
    assert lists <= indexes
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
