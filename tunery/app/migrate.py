"""`tunery migrate`: roles, schema, the installation's signing key and the bundled base models. Safe to run again."""

import asyncio
import base64
import hashlib
import hmac
import os

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

import tunery.migrations
from tunery.app.database_urls import role_password, role_url
from tunery.app.settings import Settings
from tunery.core.clock import SystemClock
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, NODE_ROLE, UnitOfWork, sqlalchemy_url
from tunery.training.catalogue import register_bundled_base_models
from tunery.vault.keyring import Keyring

ROLES = (APPLICATION_ROLE, DISPATCHER_ROLE, NODE_ROLE)
SCRAM_SALT_BYTES = 16
SCRAM_ITERATIONS = 4096


def migrate(settings: Settings) -> None:
    """Bring the database of `TUNERY_DATABASE_URL` up to date, as its owner. Raises ValueError without that URL."""
    asyncio.run(_migrate(settings))


async def _migrate(settings: Settings) -> None:
    if settings.database_url is None:
        raise ValueError("no database: set TUNERY_DATABASE_URL to the owner's URL")
    engine = create_async_engine(sqlalchemy_url(settings.database_url))
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('tunery migrate'))"))
            await connection.run_sync(ensure_roles)
            for role, url in (
                (APPLICATION_ROLE, settings.database_app_url),
                (DISPATCHER_ROLE, settings.database_dispatcher_url),
                (NODE_ROLE, settings.database_node_url),
            ):
                if url is None and not await _can_log_in(role_url(settings, role)):
                    await connection.run_sync(_set_password, role, scram_verifier(role_password(settings, role)))
            await connection.run_sync(upgrade)
            async with AsyncSession(connection, expire_on_commit=False) as session:
                uow = UnitOfWork(session, SystemClock())
                await Keyring(settings.load_root_keys()).ensure_signing_key(uow, settings.signature_algorithm)
                await register_bundled_base_models(uow)
                await session.flush()
    finally:
        await engine.dispose()


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations that are missing, on this connection and in its transaction."""
    command.upgrade(alembic_config(connection), revision)


def ensure_roles(connection: Connection) -> None:
    """Roles belong to the whole server, not to one database: several installations share them. Raises ValueError when
    some are missing and the owner may not make them.
    """
    known = set(connection.scalars(text("SELECT rolname FROM pg_roles")))
    missing = [role for role in ROLES if role not in known]
    may_make = "SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    if missing and not connection.scalar(text(may_make)):
        raise ValueError(
            f"PostgreSQL lacks the roles {', '.join(missing)}, and the owner may not make them: have them created, with"
            " LOGIN and a password, and set their URLs (TUNERY_DATABASE_APP_URL, TUNERY_DATABASE_DISPATCHER_URL,"
            " TUNERY_DATABASE_NODE_URL)"
        )
    for role in missing:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))


def alembic_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", tunery.migrations.__path__[0])
    config.attributes["connection"] = connection
    return config


async def _can_log_in(url: str) -> bool:
    """Whether the role has the password that follows from our installation's secret already."""
    try:
        connection = await asyncpg.connect(url)
    except asyncpg.InvalidAuthorizationSpecificationError:
        return False
    await connection.close()
    return True


def _set_password(connection: Connection, role: str, verifier: str) -> None:
    """Give the role our password, unless that would lock another installation out of its database."""
    others = connection.scalar(
        text(
            "SELECT count(DISTINCT dbid) FROM pg_shdepend d JOIN pg_database b ON b.oid = d.dbid"
            " WHERE d.refobjid = to_regrole(:role) AND b.datname <> current_database()"
        ),
        {"role": role},
    )
    if others:
        raise ValueError(
            f"another Tunery database on this PostgreSQL server uses the role {role} with another root key or"
            " TUNERY_INSTALLATION_SECRET: give each installation its own server, or the same secret, or set"
            " TUNERY_DATABASE_APP_URL, TUNERY_DATABASE_DISPATCHER_URL and TUNERY_DATABASE_NODE_URL"
        )
    connection.exec_driver_sql(f"ALTER ROLE {role} PASSWORD '{verifier}'")


def scram_verifier(password: str) -> str:
    """What PostgreSQL keeps of a password, so that no statement and no log ever holds the password itself.

    SCRAM-SHA-256 as in RFC 5803 and PostgreSQL's `scram_build_secret`.
    """
    salt = os.urandom(SCRAM_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"
