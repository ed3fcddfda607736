"""When somebody goes away in the middle: the client, the node, the gateway. The books agree whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import openai
import pytest
from loopback import eventually, running
from lora_adapters import TINY, MadeAdapter
from scripted_engine import TOKENIZER, ScriptedEngine
from serving_tenant import ServingTenant
from starlette.types import Receive, Scope, Send

from tunery.billing.models import Reservation
from tunery.billing.reservations import reserve
from tunery.core.clock import TravellingClock
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.serving.metering import ChatBill, ChatPrice, open_bill
from tunery.serving.openai_wire import TokenUsage
from tunery.serving.sweep import release_expired_reservations

MESSAGES: Any = [{"role": "user", "content": "When do you open?"}]
ASK: Any = {"model": "shop", "messages": MESSAGES}
PROMPT_TOKENS = len(TOKENIZER.encode_prompt(MESSAGES))
ServeNode = Callable[..., Awaitable[str]]


async def settled(tenant: ServingTenant) -> None:
    async def nothing_held() -> bool:
        return (await tenant.books()).open_reservations == 0

    await eventually(nothing_held)


async def test_a_client_that_disconnects_pays_what_it_was_sent(tenant: ServingTenant, serve_node: ServeNode) -> None:
    engine = ScriptedEngine(["word "] * 50, paced=True)
    await serve_node(engine)
    await tenant.deploy()
    for _ in range(3):
        engine.pace.release()
    stream = await tenant.openai.chat.completions.create(**ASK, stream=True)
    words = 0
    async for chunk in stream:
        words += chunk.choices[0].delta.content == "word "
        if words == 3:
            break
    books = await tenant.books()
    assert books.open_reservations == 1
    assert books.reserved > 0
    await stream.close()
    await settled(tenant)
    await eventually(lambda: engine.stopped == 1)
    books = await tenant.books()
    books.check()
    assert books.usage == {"input_tokens": PROMPT_TOKENS, "output_tokens": 3}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_before_the_first_token_pays_nothing(
    tenant: ServingTenant, serve_node: ServeNode, stream: bool
) -> None:
    engine = ScriptedEngine(["word "] * 50, paced=True)
    await serve_node(engine)
    await tenant.deploy()
    request = asyncio.create_task(tenant.openai.chat.completions.create(**ASK, stream=stream))
    await eventually(lambda: len(engine.asked) == 1)
    request.cancel()
    await eventually(lambda: engine.stopped == 1)
    await settled(tenant)
    books = await tenant.books()
    books.check()
    assert books.usage == {}


async def test_a_client_that_leaves_a_whole_answer_was_sent_nothing(
    tenant: ServingTenant, serve_node: ServeNode
) -> None:
    engine = ScriptedEngine(["word "] * 50, paced=True)
    await serve_node(engine)
    await tenant.deploy()
    request = asyncio.create_task(tenant.openai.chat.completions.create(**ASK))
    engine.pace.release()
    await eventually(lambda: len(engine.asked) == 1 and engine.pace.locked())
    request.cancel()
    await eventually(lambda: engine.stopped == 1)
    await settled(tenant)
    books = await tenant.books()
    books.check()
    assert books.usage == {}


async def test_an_engine_that_fails_in_the_middle_is_told_and_paid_until_there(
    tenant: ServingTenant, serve_node: ServeNode
) -> None:
    engine = ScriptedEngine(["word "] * 9)
    engine.fails_after = 4
    await serve_node(engine)
    await tenant.deploy()
    words = 0
    with pytest.raises(openai.APIError, match="failed in the middle") as failure:
        async for chunk in await tenant.openai.chat.completions.create(**ASK, stream=True):
            words += chunk.choices[0].delta.content == "word "
    assert failure.value.code == "node_lost"
    assert words == 4
    await settled(tenant)
    books = await tenant.books()
    books.check()
    assert books.usage == {"input_tokens": PROMPT_TOKENS, "output_tokens": 4}

    with pytest.raises(openai.InternalServerError):
        await tenant.openai.chat.completions.create(**ASK)
    assert await tenant.books() == books


async def test_a_node_that_dies_in_the_middle_is_told_and_paid_until_there(
    tenant: ServingTenant, register_node: Callable[..., Awaitable[None]]
) -> None:
    async with running(dying_node) as address:
        await register_node(address)
        await tenant.deploy()
        with pytest.raises(openai.APIError):
            async for _ in await tenant.openai.chat.completions.create(**ASK, stream=True):
                pass
        await settled(tenant)
    books = await tenant.books()
    books.check()
    assert books.usage == {"input_tokens": PROMPT_TOKENS, "output_tokens": 2}


async def dying_node(scope: Scope, _receive: Receive, send: Send) -> None:
    """Serves the tiny base, sends two tokens, and is gone."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/v1/models":
        await send({"type": "http.response.body", "body": f'{{"data": [{{"id": "{TINY}"}}]}}'.encode()})
        return
    for number in (1, 2):
        usage = f'{{"prompt_tokens": {PROMPT_TOKENS}, "completion_tokens": {number}}}'
        chunk = f'{{"choices": [{{"index": 0, "delta": {{"content": "w"}}}}], "usage": {usage}}}'
        await send({"type": "http.response.body", "body": f"data: {chunk}\n\n".encode(), "more_body": True})
    # uvicorn closes the connection of an answer that was promised more and isn't ended.


async def test_a_node_that_does_not_begin_is_passed_over(tenant: ServingTenant, serve_node: ServeNode) -> None:
    failing, healthy = ScriptedEngine(["no"]), ScriptedEngine(["yes"])
    failing.fails_after = 0
    for engine in (failing, healthy):
        await serve_node(engine)
    await tenant.deploy()
    for _ in range(3):
        completion = await tenant.openai.chat.completions.create(**ASK)
        assert completion.choices[0].message.content == "yes"
    books = await tenant.books()
    books.check()
    assert books.usage["output_tokens"] == 3 * 2


async def test_no_live_node_is_said_and_costs_nothing(
    tenant: ServingTenant, register_node: Callable[..., Awaitable[None]], serve_node: ServeNode, clock: TravellingClock
) -> None:
    await tenant.deploy()
    await no_node(tenant)
    await register_node("http://127.0.0.1:9", "nobody-listens")
    await no_node(tenant)
    engine = ScriptedEngine(["Hi"])
    await serve_node(engine)
    clock.travel(timedelta(seconds=31))  # its last sign of life is too old
    await no_node(tenant)
    assert engine.asked == []


async def no_node(tenant: ServingTenant) -> None:
    with pytest.raises(openai.InternalServerError, match="no node serves") as refusal:
        await tenant.openai.chat.completions.create(**ASK)
    assert (refusal.value.status_code, refusal.value.code) == (503, "no_node")
    books = await tenant.books()
    books.check()
    assert books.usage == {}


async def test_an_adapter_that_the_node_refuses_is_said_and_costs_nothing(
    tenant: ServingTenant, serve_node: ServeNode, new_adapters: list[MadeAdapter]
) -> None:
    engine = ScriptedEngine(["Hi"])
    engine.refuses_loads = True
    await serve_node(engine)
    await tenant.deploy(adapter_version_id=await tenant.own(new_adapters[0]))
    with pytest.raises(openai.ConflictError) as refusal:
        await tenant.openai.chat.completions.create(**ASK)
    assert refusal.value.code == "adapter_unusable"
    assert engine.asked == []
    books = await tenant.books()
    books.check()
    assert books.usage == {}


async def test_an_adapter_is_loaded_once_and_again_after_the_node_dropped_it(
    tenant: ServingTenant, serve_node: ServeNode, new_adapters: list[MadeAdapter]
) -> None:
    engine = ScriptedEngine(["Hi"])
    await serve_node(engine)
    await tenant.deploy(adapter_version_id=await tenant.own(new_adapters[0]))
    for _ in range(2):
        await tenant.openai.chat.completions.create(**ASK)
    assert engine.load_calls == [new_adapters[0].digest]
    engine.loaded.clear()
    await tenant.openai.chat.completions.create(**ASK)
    assert len(engine.load_calls) == 2


async def test_many_at_once_never_spend_more_than_there_is(tenant: ServingTenant, serve_node: ServeNode) -> None:
    """Each may cost at most 0.0002 dollars and something; the balance covers 3 of 12."""
    engine = ScriptedEngine(["word "] * 5, paced=True)
    await serve_node(engine)
    await tenant.deploy()
    async with tenant.database.unit_of_work(tenant.id) as uow:
        most = ChatPrice(TINY, Decimal("0.10"), Decimal("0.20"), TokenUsage(PROMPT_TOKENS, 1000)).amount
        await reserve(uow, "training:other", Decimal(5) - most * 3)
    requests = [asyncio.create_task(tenant.openai.chat.completions.create(**ASK, max_tokens=1000)) for _ in range(12)]
    await eventually(lambda: sum(request.done() for request in requests) == 9 and len(engine.asked) == 3)
    for _ in range(3 * 5):
        engine.pace.release()
    results = await asyncio.gather(*requests, return_exceptions=True)
    refused = [result for result in results if isinstance(result, openai.APIStatusError)]
    assert len(refused) == 9
    assert {error.status_code for error in refused} == {402}
    books = await tenant.books()
    assert books.open_reservations == 0
    assert books.usage == {"input_tokens": 3 * PROMPT_TOKENS, "output_tokens": 3 * 6}
    assert books.ledger == books.balance == 5 - books.usage_amount


async def bill_for(tenant: ServingTenant, most: TokenUsage) -> ChatBill:
    price = ChatPrice(TINY, Decimal("0.10"), Decimal("0.20"), most)
    return await open_bill(tenant.database, tenant.id, price)


async def test_a_bill_is_closed_once_and_never_above_its_hold(tenant: ServingTenant) -> None:
    bill = await bill_for(tenant, TokenUsage(10, 20))
    bill.delivered = TokenUsage(11, 500)
    await asyncio.gather(bill.close(), bill.close())
    await bill._settle()  # as after a commit whose answer was lost
    books = await tenant.books()
    books.check()
    assert books.usage == {"input_tokens": 10, "output_tokens": 20}


async def test_a_cancelled_caller_does_not_cancel_the_settlement(tenant: ServingTenant) -> None:
    bill = await bill_for(tenant, TokenUsage(10, 20))
    bill.delivered = TokenUsage(10, 7)
    closing = asyncio.create_task(bill.close())
    await asyncio.sleep(0)
    closing.cancel()
    await settled(tenant)
    books = await tenant.books()
    books.check()
    assert books.usage == {"input_tokens": 10, "output_tokens": 7}


async def test_the_sweep_gives_back_what_a_dead_gateway_held(
    tenant: ServingTenant, other_tenant: ServingTenant, services: Services, clock: TravellingClock
) -> None:
    for one in (tenant, other_tenant):
        await bill_for(one, TokenUsage(10, 20))
    async with tenant.database.unit_of_work(tenant.id) as uow:
        await reserve(uow, "training:job", Decimal(1), expires_at=uow.now())  # not a chat's: not swept here
    await release_expired_reservations(services)
    assert (await tenant.books()).open_reservations == 1, "its time is not over yet"
    clock.travel(timedelta(minutes=11))
    fresh = await bill_for(tenant, TokenUsage(10, 20))
    assert await release_expired_reservations(services) >= 2
    assert (await tenant.books()).open_reservations == 1
    assert (await other_tenant.books()).open_reservations == 0
    await fresh.close()
    books = await tenant.books()
    assert (books.reserved, books.balance, books.usage) == (Decimal(1), Decimal(5), {})
    async with services.get(Database).unit_of_work(tenant.id) as uow:
        assert await uow.session.get(Reservation, fresh._reservation_id) is not None
