"""Subscriptions that are open: how many a caller may have, and for how long its API key is believed."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import TypeVar

from tunery.graphql.options import TENANT_FACTOR
from tunery.graphql.requests import Refused

CONFIRM_SECONDS = 30.0
"""For how long a key is taken to be valid. A subscription asks the database more often than this anyway."""

T = TypeVar("T")


class OpenSubscriptions:
    """Of one process. Points don't bound them: one is paid when it begins, and may run for hours."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_of(self, caller: str, tenant: str | None = None) -> Iterator[None]:
        """Counted until the block ends, for both. Raises Refused."""
        limits = [(caller, self._most, "an API key")]
        if tenant is not None:
            limits.append((tenant, TENANT_FACTOR * self._most, "an organisation"))
        for name, most, whose in limits:
            if self._open[name] >= most:
                message = f"up to {most} subscriptions of {whose} may be open at once: end one first"
                raise Refused(429, "TOO_MANY_SUBSCRIPTIONS", message)
        names = [name for name, *_ in limits]
        self._open.update(names)
        try:
            yield
        finally:
            self._open.subtract(names)
            for name in names:
                if not self._open[name]:
                    del self._open[name]


async def while_confirmed(answers: AsyncGenerator[T], confirm: Callable[[], Awaitable[object]]) -> AsyncGenerator[T]:
    """The answers, for as long as `confirm` does not raise: it is asked every CONFIRM_SECONDS, and never later than
    that before an answer.
    """
    due = time.monotonic() + CONFIRM_SECONDS
    async with aclosing(answers):
        while True:
            coming = asyncio.ensure_future(anext(answers, None))
            try:
                while not coming.done():
                    await asyncio.wait((coming,), timeout=due - time.monotonic())
                    if time.monotonic() >= due:
                        await confirm()
                        due = time.monotonic() + CONFIRM_SECONDS
                answer = coming.result()
            finally:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
            if answer is None:
                return
            yield answer
