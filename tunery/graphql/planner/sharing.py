"""Identical reads at the same time share one execution."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")

Execute = Callable[[], Coroutine[Any, Any, T]]


class Sharing(Generic[T]):
    """While an execution runs, those who ask for the same wait for the next one, together.

    Nobody joins an execution that has begun: its snapshot may be older than what the caller has just written.
    """

    def __init__(self) -> None:
        self._following: dict[Hashable, asyncio.Future[T] | None] = {}
        """Of each execution under way: what comes of the next one, once somebody waits for it."""

    def join(self, key: Hashable, execute: Execute[T]) -> asyncio.Future[T]:
        """What `execute` gives: called at once or, for all who wait together, when the execution under way has ended.
        The future may be others', too: shield it from the cancellation of one.
        """
        try:
            following = self._following[key]
        except KeyError:
            return self._start(key, execute)
        if following is None:
            following = self._following[key] = asyncio.get_running_loop().create_future()
        return following

    def _start(self, key: Hashable, execute: Execute[T]) -> "asyncio.Task[T]":
        self._following[key] = None
        task = asyncio.ensure_future(execute())
        task.add_done_callback(partial(self._end, key, execute))
        return task

    def _end(self, key: Hashable, execute: Execute[T], _ended: "asyncio.Future[T]") -> None:
        following = self._following.pop(key)
        if following is not None:
            self._start(key, execute).add_done_callback(partial(_pass_on, following))


def _pass_on(following: "asyncio.Future[T]", ended: "asyncio.Future[T]") -> None:
    if following.done():
        return
    if ended.cancelled():
        following.cancel()
    elif (error := ended.exception()) is not None:
        following.set_exception(error)
    else:
        following.set_result(ended.result())
