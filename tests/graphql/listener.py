"""An ASGI client that reads a stream while it comes, which httpx does not."""

import asyncio
import json
import secrets
from typing import Any

from starlette.types import ASGIApp


def scope_of(method: str, headers: list[tuple[bytes, bytes]], query_string: bytes = b"") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": "/graphql",
        "headers": headers,
        "query_string": query_string,
        "client": (f"test-{secrets.token_hex(8)}", 1),
    }


class Listener:
    """A client of a subscription, message by message, which leaves when it is told."""

    def __init__(self, app: ASGIApp, key: str, query: str = "subscription { events { id } }") -> None:
        self.left = asyncio.Event()
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        body = json.dumps({"query": query}).encode()
        self._requests = iter([{"type": "http.request", "body": body, "more_body": False}])
        headers = {"content-type": "application/json", "accept": "text/event-stream", "authorization": key}
        scope = scope_of("POST", [(name.encode(), value.encode()) for name, value in headers.items()])
        self.task = asyncio.create_task(app(scope, self._receive, self.messages.put))

    async def _receive(self) -> dict[str, Any]:
        for message in self._requests:
            return message
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def leave(self) -> None:
        self.left.set()
        await self.task
