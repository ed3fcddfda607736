"""A client that keeps its connection but reads no more."""

import asyncio
from collections.abc import AsyncGenerator
from decimal import Decimal

import pytest
from lora_adapters import TINY
from serving_tenant import ServingTenant
from starlette.types import Message, Send

from tunery.serving.answer import Answer, stream
from tunery.serving.chat_request import ChatRequest
from tunery.serving.event_stream import LONGEST_SEND, EventStream
from tunery.serving.metering import _RETRY_SECONDS, HOLD, LONGEST_ANSWER, ChatPrice, open_bill
from tunery.serving.nodes import NodeChunk
from tunery.serving.openai_wire import CompletionWriter, TokenUsage

SCOPE = {"type": "http"}


async def silent() -> Message:
    """No disconnect is ever reported."""
    return await asyncio.Event().wait()  # type: ignore[return-value]


class StuckClient:
    """Takes `takes` messages; the next send never returns."""

    def __init__(self, takes: int) -> None:
        self.taken: list[Message] = []
        self._takes = takes

    async def send(self, message: Message) -> None:
        if len(self.taken) == self._takes:
            await asyncio.Event().wait()
        self.taken.append(message)


async def serve(response: EventStream, send: Send) -> None:
    async with asyncio.timeout(10):
        await response(SCOPE, silent, send)


@pytest.mark.parametrize(("takes", "words_taken"), [(0, 0), (2, 0), (5, 3)])  # the status and the role come first
async def test_a_client_that_stops_reading_pays_what_it_was_sent_and_frees_the_node(
    tenant: ServingTenant, takes: int, words_taken: int
) -> None:
    stopped = False

    async def words() -> AsyncGenerator[NodeChunk]:
        nonlocal stopped
        try:
            for number in range(1, 1000):
                yield NodeChunk("word ", TokenUsage(7, number), None)
        finally:
            stopped = True

    price = ChatPrice(TINY, Decimal("0.10"), Decimal("0.20"), TokenUsage(7, 1000))
    bill = await open_bill(tenant.database, tenant.id, price)
    answer = await Answer.begin(words())
    asked = ChatRequest(model="shop", messages=[], stream=True)
    events = stream(answer, bill, CompletionWriter("chatcmpl-1", 0, "shop"), asked)
    client = StuckClient(takes)
    await serve(EventStream(events, longest_send=0.05), client.send)
    assert stopped
    assert len(client.taken) == takes
    books = await tenant.books()
    books.check()
    assert books.usage == ({"input_tokens": 7, "output_tokens": words_taken} if words_taken else {})


@pytest.mark.parametrize("takes", [0, 1, 3])
async def test_a_stream_is_closed_wherever_sending_hangs(takes: int) -> None:
    closed = False

    async def events() -> AsyncGenerator[bytes]:
        nonlocal closed
        try:
            yield b"one"
            yield b"two"
        finally:
            closed = True

    client = StuckClient(takes)
    await serve(EventStream(events(), longest_send=0.01), client.send)
    assert len(client.taken) == takes
    assert closed


async def test_time_between_events_is_not_the_clients() -> None:
    async def events() -> AsyncGenerator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0.1)
            yield b"event"

    client = StuckClient(takes=9)
    await serve(EventStream(events(), longest_send=0.05), client.send)
    assert [message.get("body") for message in client.taken] == [None, b"event", b"event", b"event", b""]


async def test_a_time_out_of_the_answers_own_is_no_disconnect() -> None:
    async def events() -> AsyncGenerator[bytes]:
        yield b"one"
        raise TimeoutError

    with pytest.raises(TimeoutError):
        await serve(EventStream(events()), StuckClient(takes=9).send)


def test_a_stuck_client_is_given_up_while_its_credit_is_still_held() -> None:
    margin = (HOLD - LONGEST_ANSWER).total_seconds()
    assert LONGEST_SEND + sum(_RETRY_SECONDS) < margin
