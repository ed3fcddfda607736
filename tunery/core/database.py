"""The unit of work: one transaction, in the context of one tenant, opened at the edge and committed there.

Four PostgreSQL roles share the work (docs/decisions/0002-three-database-roles.md): the owner migrates and is not used
here; `tunery_app` does everything for a tenant and is bound by row-level security; `tunery_dispatcher` does what runs
across tenants (outbox relay, sweeps, inbound webhooks) on the few tables granted to it; `tunery_node` is the nodes'.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import URL, BigInteger, DateTime, MetaData, Numeric, Text, Uuid, func, make_url, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from tunery.core.clock import Clock

APPLICATION_ROLE = "tunery_app"
DISPATCHER_ROLE = "tunery_dispatcher"
NODE_ROLE = "tunery_node"

TENANT_SETTING = "tunery.tenant_id"
API_KEY_SETTING = "tunery.api_key_digest"

AWAY = ("08", "57P01", "57P02", "57P03", "53300")
"""Beginnings of the SQLSTATEs of a server that is lost, shutting down, crashed, starting up, or full."""
QUERY_CANCELED = "57014"
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's SQLSTATE for a statement that ran into its time limit."""

CURRENT_TENANT = "nullif(current_setting('tunery.tenant_id', true), '')::uuid"
"""SQL for the tenant of the transaction, NULL when none is set. After SET LOCAL ends the setting is '', not NULL."""


class Table(DeclarativeBase):
    """Parent of every table. Its metadata is what Alembic compares the database with."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own declaration
        UUID: Uuid(),
        str: Text(),
        int: BigInteger(),
        Decimal: Numeric(30, 12),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        list[str]: JSONB(),
        list[dict[str, Any]]: JSONB(),
    }


class Identified:
    """A row with a UUIDv7 that PostgreSQL makes."""

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))


class TenantOwned:
    """A row that belongs to a tenant: the transaction's, written by the database itself.

    Each such table has an index that begins with the tenant, for row-level security's filter. Where rows are listed by
    their id it goes on with that: it holds a page in its order.
    """

    tenant_id: Mapped[UUID] = mapped_column(server_default=text(CURRENT_TENANT))


class UnitOfWork:
    """One transaction and what use cases need beside it. Never shared by concurrent coroutines."""

    def __init__(self, session: AsyncSession, clock: Clock) -> None:
        self.session = session
        self._now = clock.now()
        self._tenant_id: UUID | None = None

    @property
    def tenant_id(self) -> UUID:
        """The tenant on whose behalf this runs. Raises RuntimeError when there is none."""
        if self._tenant_id is None:
            raise RuntimeError("this unit of work has no tenant")
        return self._tenant_id

    def now(self) -> datetime:
        """When this began: all of one transaction happens at one moment."""
        return self._now

    async def enter_tenant(self, tenant_id: UUID) -> None:
        """From here to its end the transaction sees and writes this tenant's rows."""
        await self.set_local(TENANT_SETTING, str(tenant_id))
        self._tenant_id = tenant_id

    async def lock(self, name: str) -> None:
        """Wait until no other unit of work of this tenant has the lock of that name, and have it to this one's end."""
        key = func.hashtextextended(f"{name} {self.tenant_id}", 0)
        await self.session.execute(select(func.pg_advisory_xact_lock(key)))

    async def set_local(self, setting: str, value: str) -> None:
        await self.session.execute(
            text("SELECT set_config(:setting, :value, true)"), {"setting": setting, "value": value}
        )


class Database:
    """The two connection pools of a process. The owner's is not among them."""

    def __init__(
        self, app_url: str, dispatcher_url: str, clock: Clock, *, pool_size: int = 10, statement_seconds: float = 30
    ) -> None:
        self._clock = clock
        self._app = _engine(app_url, pool_size, statement_seconds)
        self._dispatcher = _engine(dispatcher_url, max(2, pool_size // 2), statement_seconds)

    @asynccontextmanager
    async def unit_of_work(self, tenant_id: UUID | None = None, *, snapshot: bool = False) -> AsyncIterator[UnitOfWork]:
        """A transaction as the application role: committed when the block ends, rolled back when it raises.

        With `snapshot` all its reads see the same moment: for figures that must agree with each other.
        """
        async with self._begin(self._app) as uow:
            if snapshot:
                await uow.session.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            if tenant_id is not None:
                await uow.enter_tenant(tenant_id)
            yield uow

    @asynccontextmanager
    async def dispatch(self) -> AsyncIterator[UnitOfWork]:
        """A transaction as the dispatcher role: across tenants, on the tables granted to it."""
        async with self._begin(self._dispatcher) as uow:
            yield uow

    @asynccontextmanager
    async def _begin(self, engine: AsyncEngine) -> AsyncIterator[UnitOfWork]:
        async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
            yield UnitOfWork(session, self._clock)

    async def close(self) -> None:
        await self._app.dispose()
        await self._dispatcher.dispose()


def is_unavailable(error: BaseException) -> bool:
    """Whether the database can't do it now: it went away (restart, fail-over), has no connection free, or took too long
    over a unit of work (it may have waited for another's lock). False when it refused a statement.
    """
    if sqlstate_of(error).startswith(AWAY):
        return True
    if isinstance(error, DBAPIError):
        late = sqlstate_of(error) in (QUERY_CANCELED, LOCK_NOT_AVAILABLE)
        return late or error.connection_invalidated or isinstance(error.orig, OSError)
    return isinstance(error, ConnectionError | TimeoutError | PoolTimeout | asyncpg.InterfaceError)


def sqlstate_of(error: BaseException) -> str:
    """PostgreSQL's code for what it refused, '' when the error is none of PostgreSQL's."""
    original = error.orig if isinstance(error, DBAPIError) else error
    return getattr(original, "sqlstate", None) or ""


def sqlalchemy_url(url: str) -> URL:
    """A PostgreSQL URL as libpq and hosters write it (`postgres://…?sslmode=require`), for SQLAlchemy's asyncpg."""
    parsed = make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+asyncpg")
    mode = parsed.query.get("sslmode")
    parsed = parsed.difference_update_query(["sslmode"])
    return parsed if mode is None else parsed.update_query_dict({"ssl": mode})


def _engine(url: str, pool_size: int, statement_seconds: float) -> AsyncEngine:
    return create_async_engine(
        sqlalchemy_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        hide_parameters=True,  # errors are logged
        connect_args={"server_settings": {"statement_timeout": str(int(1000 * statement_seconds))}},
    )
