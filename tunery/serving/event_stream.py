"""Answers that take long: they stop, and clean up after themselves, the moment nobody listens any more.

Starlette's StreamingResponse cancels its task on a disconnect but leaves the generator it was reading suspended, to be
finalised whenever it is collected. Here closing is part of the answer: what meters tokens must run then, not later.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from tunery.core.errors import InvalidInput

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
LONGEST_SEND: Final = 30.0
"""Seconds for which a client may take nothing, the buffers on the way being full, before it counts as gone.

Shorter than a chat's hold outlasts its answer (`metering.py`), settling included: what a client that reads no more was
sent is billed while there still is a hold to bill.
"""


class RequestTooLarge(InvalidInput):
    code = "REQUEST_TOO_LARGE"


def server_sent_event(data: Mapping[str, Any]) -> bytes:
    """One event of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


class EventStream(Response):
    """Sends what `events` yields; closes `events` before it ends, also when the client goes away or sending fails.

    A client that takes nothing for `longest_send` seconds has gone away.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        events: AsyncGenerator[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        longest_send: float = LONGEST_SEND,
    ) -> None:
        super().__init__(headers={"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})
        del self.headers["content-length"]
        self._events = events
        self._longest_send = longest_send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        async def send_soon(message: Message) -> None:
            try:
                async with asyncio.timeout(self._longest_send):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        with suppress(ClientDisconnect):
            await _while_connected(self._pump(send_soon), receive)

    async def _pump(self, send: Send) -> None:
        async with aclosing(self._events) as events:
            # Before a send can fail or hang: closing a generator that was never begun runs none of it.
            first = await anext(events, b"")
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send(_body(first))
            async for event in events:
                await send(_body(event))
            await send(_body(b"", more=False))


async def until_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, whose request body has been read. Raises ClientDisconnect, having cancelled it."""
    finished, result = await _while_connected(work, request.receive)
    if not finished:
        raise ClientDisconnect
    return result  # type: ignore[return-value]


async def read_body(request: Request, limit: int) -> bytes:
    """The request's body. Raises RequestTooLarge beyond `limit` bytes, without reading them."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > limit:
            raise RequestTooLarge(f"a request has at most {limit} bytes")
    return bytes(body)


async def _while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> tuple[bool, T | None]:
    """Whether `work` finished before the client went away, and its result."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return (True, task.result()) if task.done() else (False, None)
    finally:
        for running in (task, gone):
            running.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(content: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": more}
