import asyncpg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

import tunery.app.tables  # noqa: F401
from tunery.app.migrate import migrate
from tunery.app.settings import Settings
from tunery.core.database import Table


async def test_the_migrations_make_the_tables_that_the_models_declare(settings: Settings):
    engine = create_async_engine(settings.database_url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync), Table.metadata)
        )
    await engine.dispose()
    assert differences == []


async def test_migrating_again_changes_nothing(settings: Settings):
    connection = await asyncpg.connect(settings.database_url)
    query = "SELECT (SELECT json_agg(b.* ORDER BY name) FROM base_models b)::text, (SELECT count(*) FROM signing_keys)"
    before = await connection.fetchrow(query)
    import asyncio

    await asyncio.to_thread(migrate, settings)
    assert await connection.fetchrow(query) == before
    assert before["count"] == 1
    await connection.close()
