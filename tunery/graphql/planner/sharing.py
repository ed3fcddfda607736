"""Identical reads at the same time share one execution."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class Sharing(Generic[T]):
    """While an execution runs, those who ask for the same wait for the next one, together.

    Nobody joins an execution that has begun: its snapshot may be older than what the caller has just written.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[asyncio.Future[T]]] = {}
        """By what is being executed at this moment."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, key: Hashable, execute: Callable[[], Awaitable[T]]) -> T:
        """What `execute` gives: called now or, for all who wait together, when the execution under way has ended."""
        waiting = self._waiting.get(key)
        if waiting is not None:
            future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            waiting.append(future)
            return await future
        self._waiting[key] = []
        try:
            return await execute()
        finally:
            self._serve_next(key, execute)

    def _serve_next(self, key: Hashable, execute: Callable[[], Awaitable[T]]) -> None:
        waiting = [future for future in self._waiting.pop(key) if not future.done()]
        if waiting:
            self._waiting[key] = []
            task = asyncio.ensure_future(self._serve(key, execute, waiting))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(
        self, key: Hashable, execute: Callable[[], Awaitable[T]], waiting: list[asyncio.Future[T]]
    ) -> None:
        try:
            value = await execute()
        except asyncio.CancelledError:
            for future in waiting:
                future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it is raised where the value is awaited
            for future in waiting:
                if not future.done():
                    future.set_exception(error)
        else:
            for future in waiting:
                if not future.done():
                    future.set_result(value)
        finally:
            self._serve_next(key, execute)
