"""How a room tells the rooms above it, which it must not import, that something happened: in the same transaction."""

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tunery.core.database import UnitOfWork

E = TypeVar("E")


class Events:
    """Subscriptions are made once, where the application is put together. A failing handler rolls everything back."""

    def __init__(self) -> None:
        self._handlers: dict[type, list[Callable[[UnitOfWork, Any], Awaitable[None]]]] = defaultdict(list)

    def subscribe(self, kind: type[E], handler: Callable[[UnitOfWork, E], Awaitable[None]]) -> None:
        self._handlers[kind].append(handler)

    async def publish(self, uow: UnitOfWork, event: object) -> None:
        for handler in self._handlers[type(event)]:
            await handler(uow, event)
