"""`tunery migrate`: roles, schema, the installation's signing key and the bundled base models. Safe to run again."""

import asyncio

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import tunery.migrations
from tunery.app.database_urls import role_password
from tunery.app.settings import Settings
from tunery.core.clock import SystemClock
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, UnitOfWork
from tunery.training.catalogue import register_bundled_base_models
from tunery.vault.keyring import Keyring


def migrate(settings: Settings) -> None:
    """Bring the database of `TUNERY_DATABASE_URL` up to date, as its owner. Raises ValueError without that URL."""
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    if settings.database_url is None:
        raise ValueError("no database: set TUNERY_DATABASE_URL to the owner's URL")
    engine = create_async_engine(settings.database_url.replace("postgresql://", "postgresql+asyncpg://", 1))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tunery migrate'))"))
            for role in (APPLICATION_ROLE, DISPATCHER_ROLE):
                await connection.run_sync(_ensure_role, role)
            if settings.database_app_url is None:
                for role in (APPLICATION_ROLE, DISPATCHER_ROLE):
                    await connection.run_sync(_set_password, role, role_password(settings, role))
            await connection.run_sync(upgrade)
            async with AsyncSession(connection, expire_on_commit=False) as session:
                uow = UnitOfWork(session, SystemClock())
                await Keyring(settings.load_root_key()).ensure_signing_key(uow)
                await register_bundled_base_models(uow)
                await session.flush()
    finally:
        await engine.dispose()


def upgrade(connection: Connection) -> None:
    """Run the migrations that are missing, on this connection and in its transaction."""
    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", tunery.migrations.__path__[0])
    config.attributes["connection"] = connection
    return config


def _ensure_role(connection: Connection, role: str) -> None:
    """Roles belong to the whole server, not to one database: several installations share them."""
    if connection.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}) is None:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))


def _set_password(connection: Connection, role: str, password: str) -> None:
    """Only where the password is ours to choose; an operator who gives URLs manages his roles himself."""
    connection.execute(text(f"ALTER ROLE {role} PASSWORD '{password}'"))
