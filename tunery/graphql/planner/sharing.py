"""Identical reads at the same time share one execution."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")

Execute = Callable[[], Coroutine[Any, Any, T]]


class _Execution(NamedTuple, Generic[T]):
    """Under way, and who waits for the next."""

    task: "asyncio.Task[T]"
    waiting: "list[asyncio.Future[T]]"


class Sharing(Generic[T]):
    """While an execution runs, those who ask for the same wait for the next one, together.

    Nobody joins an execution that has begun: its snapshot may be older than what the caller has just written.
    """

    def __init__(self) -> None:
        self._under_way: dict[Hashable, _Execution[T]] = {}

    def join(self, key: Hashable, execute: Execute[T]) -> "asyncio.Future[T]":
        """What `execute` gives: called at once or, for all who wait together, when the execution under way has ended.
        Whoever stops waiting stops nobody else.
        """
        execution = self._under_way.get(key)
        if execution is None:
            return self._start(key, execute, ())
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        execution.waiting.append(future)
        return future

    def _start(self, key: Hashable, execute: Execute[T], served: "Sequence[asyncio.Future[T]]") -> "asyncio.Task[T]":
        task = asyncio.ensure_future(execute())
        self._under_way[key] = _Execution(task, [])
        task.add_done_callback(partial(self._end, key, execute, served))
        return task

    def _end(
        self, key: Hashable, execute: Execute[T], served: "Sequence[asyncio.Future[T]]", task: "asyncio.Task[T]"
    ) -> None:
        for future in served:
            if future.done():
                continue
            if task.cancelled():
                future.cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())
        following = [future for future in self._under_way.pop(key).waiting if not future.done()]
        if following:
            self._start(key, execute, following)
