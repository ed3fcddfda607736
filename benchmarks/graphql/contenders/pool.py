"""asyncpg's connections without its pool, whose reset of every returned connection costs more than these queries."""

import asyncio
from collections import deque

import asyncpg

CONNECTIONS = 8


class Pool:
    def __init__(self) -> None:
        self._free: list[asyncpg.Connection] = []
        self._waiting: deque[asyncio.Future[asyncpg.Connection]] = deque()

    async def open(self, url: str) -> None:
        self._free = [await asyncpg.connect(url) for _ in range(CONNECTIONS)]

    async def close(self) -> None:
        for connection in self._free:
            await connection.close()

    async def value(self, statement: str, *arguments: object) -> str:
        """The one value of a statement's one row."""
        if self._free:
            connection = self._free.pop()
        else:
            turn: asyncio.Future[asyncpg.Connection] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            connection = await turn
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            if self._waiting:
                self._waiting.popleft().set_result(connection)
            else:
                self._free.append(connection)
