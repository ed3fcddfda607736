"""The gateway through the unmodified `openai` client, real servers and a real engine; and what it leaves in the books."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import openai
import pytest
from listings import entitle, publish, revoke
from lora_adapters import TINY, MadeAdapter
from scripted_engine import TOKENIZER, ScriptedEngine
from serving_tenant import ServingTenant
from sqlalchemy import update

from tunery.billing.models import Account
from tunery.serving.chat_request import ChatRequest
from tunery.serving.deployments import delete_deployment
from tunery.serving.engines.transformers_engine import TransformersEngine
from tunery.tenants.api_keys import revoke_api_key

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

MESSAGES: Any = [{"role": "user", "content": "When do you open?"}]
GREEDY: Any = {"model": "shop", "messages": MESSAGES, "temperature": 0, "max_tokens": 24}
ServeNode = Callable[..., Awaitable[str]]


async def nothing_happened(tenant: ServingTenant, engine: ScriptedEngine | None = None) -> None:
    books = await tenant.books()
    books.check()
    assert books.usage == {}
    assert engine is None or engine.asked == []


async def test_streaming_is_openais_protocol_and_bills_the_usage_that_it_reports(
    tenant: ServingTenant, engine: TransformersEngine, serve_node: ServeNode
) -> None:
    await serve_node(engine)
    await tenant.deploy()
    stream = await tenant.openai.chat.completions.create(**GREEDY, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert stream.response.headers["x-request-id"].startswith("req_")
    *body, last, usage = chunks
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert {chunk.model for chunk in chunks} == {"shop"}
    assert body[0].choices[0].delta.role == "assistant"
    assert all(chunk.usage is None for chunk in [*body, last])
    assert [chunk.choices[0].finish_reason for chunk in body] == [None] * len(body)
    assert last.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage is not None
    assert usage.usage.prompt_tokens == len(TOKENIZER.encode_prompt(MESSAGES))
    books = await tenant.books()
    books.check()
    assert books.usage == {
        "input_tokens": usage.usage.prompt_tokens,
        "output_tokens": usage.usage.completion_tokens,
    }

    whole = await tenant.openai.chat.completions.create(**GREEDY)
    assert whole.choices[0].message.content == "".join(chunk.choices[0].delta.content or "" for chunk in body)
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage == usage.usage
    books = await tenant.books()
    books.check()
    assert books.usage["output_tokens"] == 2 * usage.usage.completion_tokens


async def test_an_adapter_is_loaded_when_it_is_first_asked_for(
    tenant: ServingTenant, engine: TransformersEngine, serve_node: ServeNode, new_adapters: list[MadeAdapter]
) -> None:
    await serve_node(engine)
    await tenant.deploy("base", base_model_name=TINY)
    for name, adapter in zip(("one", "two"), new_adapters, strict=True):
        await tenant.deploy(name, adapter_version_id=await tenant.own(adapter))

    async def answer(model: str) -> str | None:
        completion = await tenant.openai.chat.completions.create(**{**GREEDY, "model": model})
        return completion.choices[0].message.content

    answers = [await answer(model) for model in ("base", "one", "two")]
    assert len(set(answers)) == 3
    for adapter, expected in zip(new_adapters, answers[1:], strict=True):
        request = ChatRequest(adapter.digest, MESSAGES, max_tokens=24, temperature=0.0)
        assert "".join([delta.text async for delta in engine.chat(request)]) == expected
    (await tenant.books()).check()


async def test_models_are_the_deployments_that_can_be_asked(
    tenant: ServingTenant, other_tenant: ServingTenant, new_adapters: list[MadeAdapter]
) -> None:
    await tenant.deploy("base", base_model_name=TINY)
    await tenant.deploy("mine", adapter_version_id=await tenant.own(new_adapters[0]))
    await tenant.deploy("gone")
    async with tenant.database.unit_of_work(tenant.id) as uow:
        await delete_deployment(uow, "gone")
    await other_tenant.deploy("theirs")
    listed = [model async for model in tenant.openai.models.list()]
    assert [(model.id, model.owned_by) for model in listed] == [("base", "tunery"), ("mine", tenant.slug)]
    assert await tenant.openai.models.retrieve("mine") == listed[1]
    for name in ("gone", "theirs", "unknown", TINY):
        with pytest.raises(openai.NotFoundError) as refusal:
            await tenant.openai.models.retrieve(name)
        assert refusal.value.code == "model_not_found"


async def test_a_bought_adapter_is_served_until_the_right_to_it_is_revoked(
    tenant: ServingTenant, other_tenant: ServingTenant, serve_node: ServeNode, new_adapters: list[MadeAdapter]
) -> None:
    engine = ScriptedEngine(["Hi"])
    await serve_node(engine)
    listing_id = await publish(other_tenant, new_adapters[0])
    await entitle(tenant, other_tenant, listing_id)
    await tenant.deploy(listing_id=listing_id)
    assert (await tenant.openai.chat.completions.create(**GREEDY)).choices[0].message.content == "Hi"
    assert engine.asked[0].model == new_adapters[0].digest
    before = await tenant.books()
    await revoke(tenant, listing_id)
    with pytest.raises(openai.PermissionDeniedError) as refusal:
        await tenant.openai.chat.completions.create(**GREEDY)
    assert refusal.value.code == "entitlement_revoked"
    assert await tenant.books() == before
    assert len(engine.asked) == 1
    assert [model async for model in tenant.openai.models.list()] == []


async def test_what_is_asked_reaches_the_node(tenant: ServingTenant, serve_node: ServeNode) -> None:
    engine = ScriptedEngine(["a", "b", "c"])
    await serve_node(engine)
    await tenant.deploy()
    settings: Any = {"temperature": 0.3, "top_p": 0.8, "seed": 7, "stop": ["x", "y"], "max_completion_tokens": 2}
    completion = await tenant.openai.chat.completions.create(model="shop", messages=MESSAGES, **settings)
    assert completion.choices[0].finish_reason == "length"
    asked = engine.asked[0]
    assert (asked.temperature, asked.top_p, asked.seed, asked.stop, asked.max_tokens) == (0.3, 0.8, 7, ("x", "y"), 2)
    assert asked.messages == MESSAGES


@pytest.mark.parametrize(
    ("body", "status", "code", "parameter"),
    [
        ({"model": "unknown"}, 404, "model_not_found", "model"),
        ({"model": TINY}, 404, "model_not_found", "model"),
        ({"messages": []}, 400, "invalid_input", "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "invalid_input", "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "chat_template_error", "messages"),
        ({"messages": [{"role": "user", "content": "lamp " * 2000}]}, 400, "context_length_exceeded", "messages"),
        ({"n": 2}, 400, "unsupported_parameter", "n"),
        ({"tools": [{"type": "function"}]}, 400, "unsupported_parameter", "tools"),
        ({"colour": "red"}, 400, "unknown_parameter", "colour"),
    ],
)
async def test_refusals_have_openais_shape_and_cost_nothing(
    tenant: ServingTenant,
    serve_node: ServeNode,
    gateway: str,
    body: dict[str, Any],
    status: int,
    code: str,
    parameter: str,
) -> None:
    engine = ScriptedEngine(["Hi"])
    await serve_node(engine)
    await tenant.deploy()
    async with httpx.AsyncClient(base_url=gateway, headers=tenant.headers) as client:
        response = await client.post("/v1/chat/completions", json={**GREEDY, **body})
    assert response.status_code == status
    error = response.json()["error"]
    assert (error["code"], error["param"], error["type"]) == (code, parameter, "invalid_request_error")
    assert response.headers["x-request-id"]
    await nothing_happened(tenant, engine)


async def test_bodies_that_are_too_large_or_no_json_are_refused(tenant: ServingTenant, gateway: str) -> None:
    async with httpx.AsyncClient(base_url=gateway, headers=tenant.headers) as client:
        for content in (b"{", b" " * (4 * 1024**2 + 1)):
            assert (await client.post("/v1/chat/completions", content=content)).status_code == 400
    await nothing_happened(tenant)


async def test_unknown_and_revoked_keys_are_refused(tenant: ServingTenant, serve_node: ServeNode) -> None:
    engine = ScriptedEngine(["Hi"])
    await serve_node(engine)
    await tenant.deploy()
    with pytest.raises(openai.AuthenticationError):
        await tenant.openai.with_options(api_key="sk-nonsense").models.list()
    async with tenant.database.unit_of_work(tenant.id) as uow:
        await revoke_api_key(uow, tenant.identity.api_key_id)
    with pytest.raises(openai.AuthenticationError):
        await tenant.openai.chat.completions.create(**GREEDY)
    with pytest.raises(openai.AuthenticationError):
        await tenant.openai.models.retrieve("shop")
    await nothing_happened(tenant, engine)


async def test_without_credit_for_the_worst_case_nothing_starts(tenant: ServingTenant, serve_node: ServeNode) -> None:
    engine = ScriptedEngine(["Hi"])
    await serve_node(engine)
    await tenant.deploy()
    async with tenant.database.unit_of_work(tenant.id) as uow:
        await uow.session.execute(update(Account).where(Account.kind == "credit").values(reserved=Account.balance))
    before = await tenant.books()
    with pytest.raises(openai.APIStatusError) as refusal:
        await tenant.openai.chat.completions.create(**GREEDY)
    assert (refusal.value.status_code, refusal.value.code) == (402, "insufficient_funds")
    assert await tenant.books() == before
    assert engine.asked == []


async def test_another_tenants_deployment_is_not_found(
    tenant: ServingTenant, other_tenant: ServingTenant, serve_node: ServeNode
) -> None:
    engine = ScriptedEngine(["Hi"])
    await serve_node(engine)
    await other_tenant.deploy()
    with pytest.raises(openai.NotFoundError):
        await tenant.openai.chat.completions.create(**GREEDY)
    for one in (tenant, other_tenant):
        await nothing_happened(one, engine)


async def test_a_vllm_style_running_usage_is_passed_on(tenant: ServingTenant, serve_node: ServeNode) -> None:
    await serve_node(ScriptedEngine(["a", "b"]))
    await tenant.deploy()
    stream = await tenant.openai.chat.completions.create(
        **GREEDY, stream=True, extra_body={"stream_options": {"continuous_usage_stats": True}}
    )
    counts = [chunk.usage.completion_tokens async for chunk in stream if chunk.usage]
    assert counts == [1, 2, 3]
