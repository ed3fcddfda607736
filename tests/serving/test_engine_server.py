"""The node's HTTP surface: closed to strangers, and shaped like vLLM's."""

from collections.abc import AsyncIterator

import httpx
import openai
import pytest
from loopback import eventually, running
from lora_adapters import TINY
from scripted_engine import ScriptedEngine

from tunery.serving.engines.server import create_engine_app

TOKEN = "t0ken"
ASK = {"model": TINY, "messages": [{"role": "user", "content": "Hello"}]}
LOAD = {"lora_name": "d" * 64, "lora_path": "adapters/d", "base_model": TINY}


@pytest.fixture
def scripted() -> ScriptedEngine:
    return ScriptedEngine(["Good ", "day"])


@pytest.fixture
async def node(scripted: ScriptedEngine) -> AsyncIterator[str]:
    async with running(create_engine_app(scripted, TOKEN)) as url:
        yield url


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", TOKEN, "Basic dDpr", "Bearer t0kén"])
async def test_strangers_get_nothing_but_health(node: str, scripted: ScriptedEngine, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization.encode("latin-1")}
    async with httpx.AsyncClient(base_url=node, headers=headers) as client:
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.post("/v1/chat/completions", json=ASK)).status_code == 401
        assert (await client.post("/v1/load_lora_adapter", json=LOAD)).status_code == 401
    assert (scripted.asked, scripted.load_calls) == ([], [])


async def test_the_openai_client_talks_to_a_node_directly(node: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{node}/v1", api_key=TOKEN, max_retries=0) as client:
        whole = await client.chat.completions.create(**ASK)  # type: ignore[call-overload]
        assert whole.choices[0].message.content == "Good day"
        stream = await client.chat.completions.create(  # type: ignore[call-overload]
            **ASK, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage == whole.usage
        with pytest.raises(openai.NotFoundError) as refusal:
            await client.chat.completions.create(**{**ASK, "model": "e" * 64})  # type: ignore[call-overload]
        assert refusal.value.code == "model_not_found"


async def test_adapters_are_loaded_and_listed_with_their_base(node: str, scripted: ScriptedEngine) -> None:
    async with httpx.AsyncClient(base_url=node, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        assert (await client.post("/v1/load_lora_adapter", json=LOAD)).status_code == 200
        models = (await client.get("/v1/models")).json()["data"]
        assert [(model["id"], model["parent"]) for model in models] == [(TINY, None), (LOAD["lora_name"], TINY)]
        scripted.refuses_loads = True
        assert (await client.post("/v1/load_lora_adapter", json=LOAD)).status_code == 400
        assert (await client.post("/v1/load_lora_adapter", json={"lora_name": 1})).status_code == 400


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_stops_the_generation(node: str, scripted: ScriptedEngine, stream: bool) -> None:
    scripted.paced = True
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(base_url=node, headers={"authorization": f"Bearer {TOKEN}"}) as client:
            await client.post("/v1/chat/completions", json={**ASK, "stream": stream}, timeout=0.2)
    await eventually(lambda: scripted.stopped == 1)
