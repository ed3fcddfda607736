"""Every SQL statement that this process sends, whichever way it takes to the database."""

import contextlib
from collections.abc import Iterator
from typing import Any

import asyncpg
from sqlalchemy import Engine, event

METHODS = ("execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval")
"""Of asyncpg's connections. SQLAlchemy prepares its statements, and comes by them only for what is not counted."""
OF_TRANSACTIONS = ("BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION")


@contextlib.contextmanager
def recorded() -> Iterator[list[str]]:
    """The statements, as they come: those of all connections, open ones included, of asyncpg and of SQLAlchemy."""
    statements: list[str] = []

    def record(statement: str) -> None:
        # By an empty one, SQLAlchemy looks whether a connection is alive.
        if statement.strip(" ;") and not statement.upper().startswith(OF_TRANSACTIONS):
            statements.append(statement)

    def recording(sound: Any) -> Any:
        async def call(self: Any, query: str, *arguments: Any, **more: Any) -> Any:
            record(query)
            return await sound(self, query, *arguments, **more)

        return call

    def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        record(statement)

    with contextlib.ExitStack() as undone:
        for name in METHODS:
            sound = getattr(asyncpg.Connection, name)
            setattr(asyncpg.Connection, name, recording(sound))
            undone.callback(setattr, asyncpg.Connection, name, sound)
        event.listen(Engine, "before_cursor_execute", before)
        undone.callback(event.remove, Engine, "before_cursor_execute", before)
        yield statements
