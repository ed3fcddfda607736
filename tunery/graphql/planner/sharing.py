"""Identical reads at the same time share one execution."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from tunery.core.logs import get_logger

T = TypeVar("T")

Execute = Callable[[], Coroutine[Any, Any, T]]
Done = Callable[[asyncio.Future[T]], object]

log = get_logger(__name__)


class Sharing(Generic[T]):
    """While an execution runs, those who ask for the same wait for the next one, together.

    Nobody joins an execution that has begun: its snapshot may be older than what the caller has just written.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Done[T]]] = {}
        """Of each execution under way: who waits for the next one."""

    def join(self, key: Hashable, execute: Execute[T], done: Done[T]) -> None:
        """Call `done` with what `execute` came to: called at once or, for all who wait together, when the execution
        under way has ended.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._start(key, execute, [done])
        else:
            waiting.append(done)

    def _start(self, key: Hashable, execute: Execute[T], served: list[Done[T]]) -> None:
        self._waiting[key] = []
        # What follows is nobody's in particular. In the first one's context, it would all be traced as the first one's.
        end = partial(self._end, key, execute, served)
        asyncio.ensure_future(execute()).add_done_callback(end, context=Context())

    def _end(self, key: Hashable, execute: Execute[T], served: list[Done[T]], ended: "asyncio.Future[T]") -> None:
        waiting = self._waiting.pop(key)
        if waiting:
            self._start(key, execute, waiting)
        for done in served:
            try:
                done(ended)
            except Exception:
                log.exception("one who waited failed, the others go on")


def pass_on(waiting: "asyncio.Future[T]", ended: "asyncio.Future[T]") -> None:
    """For who awaits: what one future came to, to another one that may have been cancelled meanwhile."""
    if waiting.done():
        return
    if ended.cancelled():
        waiting.cancel()
    elif (error := ended.exception()) is not None:
        waiting.set_exception(error)
    else:
        waiting.set_result(ended.result())
