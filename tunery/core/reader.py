"""Single reading statements, at the least cost: one round trip each, on connections of their own.

A transaction of four statements (BEGIN, context, query, COMMIT) becomes one that sets the tenant's context itself
(docs/decisions/0011-graphql-planner.md), and asyncpg is used without SQLAlchemy's engine, which costs 160 µs a query
where asyncpg costs 25.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from tunery.core.database import TENANT_SETTING, sqlalchemy_url
from tunery.core.errors import Unavailable
from tunery.core.telemetry import is_traced, part_span

NOBODY = UUID(int=0)
"""In the place of a tenant for what is everybody's to read. No tenant has this id, so nothing is its own."""

SESSION = {
    "application_name": "tunery reader",
    "default_transaction_read_only": "on",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
    # A parameter never changes what is a good plan here: what does is part of the text.
    "plan_cache_mode": "force_generic_plan",
    "timezone": "UTC",
}

CONNECTIONS = 6
"""They keep as many of PostgreSQL's cores busy. On one core, 6 answer a tenth more than 8 do, the slowest percent in
four fifths of the time: what waits here waits in order.
"""

MOST_WAITING = 1000
"""For a connection. Beyond that a caller is better off trying again."""


class Reader:
    """Connections as the application role that row-level security binds. Each statement is a transaction."""

    def __init__(self, app_url: str, *, size: int = CONNECTIONS, timeout_seconds: float = 5) -> None:
        url = sqlalchemy_url(app_url)
        self._arguments: dict[str, Any] = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": url.password,
            "database": url.database,
            "server_settings": {**SESSION, "statement_timeout": str(int(1000 * timeout_seconds))},
            "timeout": timeout_seconds,
            # For a server that is gone without a word. One that is there keeps the time itself, and says so.
            "command_timeout": timeout_seconds + 1,
            **{name: value for name, value in url.query.items() if name in {"host", "ssl"}},
        }
        self._free: list[asyncpg.Connection] = []
        self._room = size
        self._timeout = timeout_seconds
        self._waiters: deque[tuple[float, asyncio.Future[asyncpg.Connection | None]]] = deque()
        """With the moment since when."""
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False

    def value(self, sql: str, values: Sequence[Any]) -> Coroutine[Any, Any, Any]:
        """The statement's one value. Raises asyncpg's errors; TimeoutError when the server doesn't answer; Unavailable
        when too many wait for a connection, or when none gets free in time.
        """
        return self._traced_value(sql, values) if is_traced() else self._value(sql, values)

    async def _traced_value(self, sql: str, values: Sequence[Any]) -> Any:
        with part_span("SELECT"):
            return await self._value(sql, values)

    async def _value(self, sql: str, values: Sequence[Any]) -> Any:
        connection = self._free.pop() if self._free else await self._wait()
        if connection.is_closed():
            connection = await self._replace()
        try:
            return await connection.fetchval(sql, *values)
        except asyncpg.InternalClientError as error:
            # asyncpg can't go on with it. Mostly the server has said that it ends it, and the end is yet to come.
            connection.terminate()
            raise ConnectionResetError("the database ends this connection") from error
        finally:
            self._give_back(connection)

    async def _wait(self) -> asyncpg.Connection:
        """A new connection while there is room, else the next one that gets free."""
        if self._room:
            self._room -= 1
            return await self._replace()
        if len(self._waiters) >= MOST_WAITING:
            raise Unavailable("too many requests at once; try again in a moment")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[asyncpg.Connection | None] = loop.create_future()
        self._waiters.append((loop.time(), waiter))
        if self._watch is None:
            self._watch = loop.call_later(self._timeout, self._refuse_late)
        try:
            connection = await waiter
        except asyncio.CancelledError:
            # It came at the moment when nobody wanted it any more.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())
            raise
        return connection or await self._replace()

    def _refuse_late(self) -> None:
        """Those who have waited too long. One timer for all of them costs less than one for each."""
        loop = asyncio.get_running_loop()
        self._watch = None
        while self._waiters:
            since, waiter = self._waiters[0]
            left = since + self._timeout - loop.time()
            if left > 0:
                self._watch = loop.call_later(left, self._refuse_late)
                return
            self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(Unavailable("too many requests at once; try again in a moment"))

    async def _replace(self) -> asyncpg.Connection:
        """A new connection in the place of one that is gone."""
        try:
            return await asyncpg.connect(**self._arguments)
        except BaseException:
            self._pass_on(None)
            raise

    def _give_back(self, connection: asyncpg.Connection) -> None:
        if self._closed:
            connection.terminate()
        else:
            self._pass_on(None if connection.is_closed() else connection)

    def _pass_on(self, connection: asyncpg.Connection | None) -> None:
        """A connection, or room for one, to whoever has waited longest."""
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is None:
            self._room += 1
        else:
            self._free.append(connection)

    async def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        while self._free:
            # asyncpg has dropped it by then. Nothing is lost with a server that doesn't say goodbye in time: no
            # transaction is open.
            with contextlib.suppress(TimeoutError):
                await self._free.pop().close()


def without_context(expression: str) -> str:
    """A statement for the text `expression`, as bytes, of what needs no tenant: the public's views."""
    return f"SELECT convert_to({expression}, 'UTF8')"


def in_context(expression: str, tenant: str, guard: str = "true") -> str:
    """A statement for the text `expression`, as bytes, read as `tenant` (SQL for its id); NULL unless `guard` holds."""
    return with_setting(TENANT_SETTING, tenant, f"CASE WHEN {guard} THEN convert_to({expression}, 'UTF8') END")


def with_setting(setting: str, value: str, expression: str) -> str:
    """A statement for `expression`, evaluated while `setting` has a value.

    It is set where the CTE's one row is made; then, for that row, the expression is evaluated, a CASE in its order.
    The setting ends with the statement.
    """
    return (  # the parts are SQL of our own making, never a client's
        f"WITH context AS MATERIALIZED (SELECT set_config('{setting}', {value}, true))"  # noqa: S608
        f" SELECT {expression} FROM context"
    )
