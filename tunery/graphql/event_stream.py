"""Answers as server-sent events, in the distinct connections mode of graphql-sse
(https://github.com/enisdenjo/graphql-sse/blob/master/PROTOCOL.md): `next` for each answer, then `complete`.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from starlette.types import Receive, Send

from tunery.graphql.errors import as_error
from tunery.graphql.executor import Answer
from tunery.graphql.requests import Header

KEEP_ALIVE_SECONDS = 12.0
"""Proxies drop a connection on which nothing comes, many after 15 to 60 seconds."""

# `no-transform` keeps proxies from compressing, `x-accel-buffering` keeps nginx from gathering events.
STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)
COMPLETE = b"event: complete\ndata:\n\n"
KEEP_ALIVE = b":\n\n"


def next_event(answer: bytes) -> bytes:
    # A line break in JSON text is white space: in strings it is escaped. PostgreSQL's json_agg writes some.
    return b"event: next\ndata: %b\n\n" % answer.replace(b"\n", b"").replace(b"\r", b"")


async def each_as_json(answers: AsyncGenerator[Answer], request_id: str) -> AsyncGenerator[bytes, None]:
    """A fault is the last one: the stream's status is out already."""
    try:
        async with aclosing(answers):
            async for answer in answers:
                yield answer.to_json()
    except Exception as error:  # noqa: BLE001 - the edge of the process: logged, and shown as its request id alone
        yield Answer(b"null", [as_error(error, request_id)]).to_json()


async def send_single(answer: bytes, headers: Sequence[Header], send: Send) -> None:
    """A query's or mutation's only answer, for a client that reads nothing but events."""
    await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *headers]})
    await send({"type": "http.response.body", "body": next_event(answer) + COMPLETE})


async def send_stream(
    answers: AsyncGenerator[bytes, None], headers: Sequence[Header], receive: Receive, send: Send
) -> None:
    """Send what comes until it ends or the client has left; `answers` is closed in either case."""
    gone = asyncio.ensure_future(_disconnected(receive))
    coming: asyncio.Future[bytes] = asyncio.ensure_future(anext(answers))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [*STREAM_HEADERS, *headers]})
        while True:
            await asyncio.wait((coming, gone), timeout=KEEP_ALIVE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                return
            if not coming.done():
                await _send_part(send, KEEP_ALIVE)
                continue
            try:
                answer = coming.result()
            except StopAsyncIteration:
                break
            await _send_part(send, next_event(answer))
            coming = asyncio.ensure_future(anext(answers))
        await send({"type": "http.response.body", "body": COMPLETE})
    finally:
        for task in (gone, coming):
            task.cancel()
        await asyncio.wait((gone, coming))
        if not coming.cancelled():
            coming.exception()  # seen: what ended the stream was sent, or nobody is there to read it
        await answers.aclose()


async def _send_part(send: Send, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
