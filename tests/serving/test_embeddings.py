"""Embeddings of the real MiniLM: right, in order, refused with a reason, and nobody waits for somebody else's import."""

import asyncio
import math
import operator
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from loopback import eventually, running
from lora_adapters import TINY
from scripted_engine import ScriptedEngine

from tunery.core.database import Database
from tunery.core.services import Services
from tunery.memory.embedding import TextRefused
from tunery.serving.embedding_request import LONGEST_TEXT, MODEL, MOST_TEXTS
from tunery.serving.engines import embedding_engine
from tunery.serving.engines.embedding_engine import DIMENSIONS, MOST_TOKENS, MiniLMEngine, find_model_folder
from tunery.serving.engines.engine import EngineBusy
from tunery.serving.engines.server import create_engine_app
from tunery.serving.engines.transformers_engine import TransformersEngine
from tunery.serving.node_embedder import NodeEmbedder
from tunery.serving.nodes import NodeClient, NodeToken, NoNode

TOKEN = "t0ken"
HEADERS = {"authorization": f"Bearer {TOKEN}"}
QUESTION = "Which lamps can be repaired?"
RELATED = "A broken light goes back to the workshop and is mended there."
UNRELATED = "Invoices are sent on the first of each month."

Register = Callable[..., Awaitable[None]]


@pytest.fixture(scope="session")
async def embeddings() -> AsyncIterator[MiniLMEngine]:
    engine = MiniLMEngine()
    yield engine
    await engine.close()


@pytest.fixture
async def node(embeddings: MiniLMEngine) -> AsyncIterator[str]:
    """A node that chats by script and embeds for real."""
    async with running(create_engine_app(ScriptedEngine(["Good ", "day"]), TOKEN, embeddings)) as url:
        yield url


@pytest.fixture
async def chatting_node(engine: TransformersEngine, embeddings: MiniLMEngine) -> AsyncIterator[str]:
    async with running(create_engine_app(engine, TOKEN, embeddings)) as url:
        yield url


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(headers=HEADERS, timeout=60) as client:
        yield client


@pytest.fixture
def embedder(services: Services, client: httpx.AsyncClient) -> NodeEmbedder:
    return NodeEmbedder(services.get(Database), NodeClient(client, NodeToken(TOKEN)))


def cosine(first: list[float], second: list[float]) -> float:
    return sum(map(operator.mul, first, second))


def words(count: int, first: int = 0) -> str:
    """That many words of one token each."""
    return " ".join(("lamp", "shop", "green", "table", "river", "north")[(first + index) % 6] for index in range(count))


async def embed(client: httpx.AsyncClient, node: str, **body: Any) -> httpx.Response:
    return await client.post(f"{node}/v1/embeddings", json={"model": MODEL, **body})


async def test_the_vectors_are_sentence_transformers(embeddings: MiniLMEngine) -> None:
    done = await embeddings.embed(["The lamp's bulb is broken.", "größe und farbe – 灯 💡"])  # noqa: RUF001
    # As sentence-transformers 6.2 gives them.
    assert done.vectors[0][:4] == pytest.approx([0.013351, -0.044858, 0.065336, -0.006823], abs=1e-5)
    assert done.vectors[1][:4] == pytest.approx([-0.010095, 0.10292, -0.006549, 0.016312], abs=1e-5)
    for vector in done.vectors:
        assert len(vector) == DIMENSIONS
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-6)


async def test_related_sentences_are_nearer_than_unrelated_ones(node: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{node}/v1", api_key=TOKEN, max_retries=0) as client:
        answer = await client.embeddings.create(model=MODEL, input=[QUESTION, RELATED, UNRELATED])
    question, related, unrelated = (embedding.embedding for embedding in answer.data)
    assert cosine(question, related) > cosine(question, unrelated) + 0.3
    assert answer.model == MODEL
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 20


async def test_a_batch_gives_what_each_text_gives_alone_in_the_order_asked(
    client: httpx.AsyncClient, node: str
) -> None:
    texts = [words(1 + 37 * index % 50, index) + f" {index}" for index in range(41)]
    batch = (await embed(client, node, input=texts)).json()
    assert [entry["index"] for entry in batch["data"]] == list(range(len(texts)))
    alone = [(await embed(client, node, input=text)).json() for text in texts]
    assert batch["usage"]["total_tokens"] == sum(answer["usage"]["total_tokens"] for answer in alone)
    for entry, answer in zip(batch["data"], alone, strict=True):
        assert entry["embedding"] == pytest.approx(answer["data"][0]["embedding"], abs=1e-5)


async def test_base64_holds_the_same_vector(client: httpx.AsyncClient, node: str) -> None:
    plain = (await embed(client, node, input=QUESTION, encoding_format="float")).json()
    assert len(plain["data"][0]["embedding"]) == DIMENSIONS
    async with openai.AsyncOpenAI(base_url=f"{node}/v1", api_key=TOKEN, max_retries=0) as official:
        unpacked = await official.embeddings.create(model=MODEL, input=QUESTION)  # it asks for base64
    assert unpacked.data[0].embedding == pytest.approx(plain["data"][0]["embedding"], abs=1e-6)


async def test_of_a_long_text_the_first_256_tokens_count(client: httpx.AsyncClient, node: str) -> None:
    most = MOST_TOKENS - 2  # the model's own first and last token
    kept = (await embed(client, node, input=[words(most), words(most) + " and an end that nobody reads"])).json()
    assert kept["data"][0]["embedding"] == kept["data"][1]["embedding"]
    assert kept["usage"]["total_tokens"] == 2 * MOST_TOKENS
    shorter = (await embed(client, node, input=words(most - 1))).json()
    assert shorter["data"][0]["embedding"] != kept["data"][0]["embedding"]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"input": "x", "model": "another"}, "model", "model_not_found"),
        ({"input": "x", "model": ""}, "model", "invalid_input"),
        ({"input": "x", "model": 5}, "model", "invalid_input"),
        ({}, "input", "invalid_input"),
        ({"input": None}, "input", "invalid_input"),
        ({"input": []}, "input", "invalid_input"),
        ({"input": ""}, "input", "invalid_input"),
        ({"input": {"text": "x"}}, "input", "invalid_input"),
        ({"input": ["x", ""]}, "input[1]", "invalid_input"),
        ({"input": ["x", None]}, "input[1]", "invalid_input"),
        ({"input": [1, 2]}, "input[0]", "unsupported_parameter"),
        ({"input": [[1], [2]]}, "input[0]", "unsupported_parameter"),
        ({"input": ["x"] * (MOST_TEXTS + 1)}, "input", "invalid_input"),
        ({"input": ["x", "x" * (LONGEST_TEXT + 1)]}, "input[1]", "invalid_input"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format", "invalid_input"),
        ({"input": "x", "dimensions": 12}, "dimensions", "unsupported_parameter"),
        ({"input": "x", "normalise": False}, "normalise", "unknown_parameter"),
    ],
)
async def test_a_bad_request_names_the_field(
    client: httpx.AsyncClient, node: str, body: dict[str, Any], param: str, code: str
) -> None:
    response = await embed(client, node, **body)
    assert response.status_code == (404 if code == "model_not_found" else 400)
    assert (response.json()["error"]["param"], response.json()["error"]["code"]) == (param, code)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_object_is_refused(client: httpx.AsyncClient, node: str, content: bytes) -> None:
    response = await client.post(f"{node}/v1/embeddings", content=content)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")


async def test_the_largest_request_is_taken(client: httpx.AsyncClient, node: str) -> None:
    # One word that is no token: 8,000 characters, and three tokens.
    texts = ["\N{ELECTRIC LIGHT BULB}" * LONGEST_TEXT] * MOST_TEXTS
    answer = (await embed(client, node, input=texts)).json()
    assert len(answer["data"]) == MOST_TEXTS
    assert answer["usage"]["total_tokens"] == 3 * MOST_TEXTS


@pytest.mark.parametrize("authorization", [None, "Bearer wrong"])
async def test_strangers_get_no_embedding(node: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    async with httpx.AsyncClient(headers=headers) as client:
        assert (await embed(client, node, input="x")).status_code == 401


async def test_chats_stream_and_questions_are_embedded_while_an_import_is_under_way(
    client: httpx.AsyncClient, chatting_node: str
) -> None:
    ask = {"model": TINY, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 20, "stream": True}
    texts = [words(300, index) for index in range(64)]

    async def chat() -> list[str]:
        async with client.stream("POST", f"{chatting_node}/v1/chat/completions", json=ask) as response:
            return [line async for line in response.aiter_lines() if line]

    await chat()  # loads the base
    bulk = asyncio.create_task(embed(client, chatting_node, input=texts))
    await asyncio.sleep(0.1)
    lines, question = await asyncio.gather(chat(), embed(client, chatting_node, input=QUESTION))
    assert not bulk.done()
    assert (lines[-1], question.status_code) == ("data: [DONE]", 200)
    assert len((await bulk).json()["data"]) == len(texts)


async def test_a_client_that_leaves_stops_its_import(node: str, embeddings: MiniLMEngine) -> None:
    texts = [words(300)] * MOST_TEXTS
    with pytest.raises(httpx.ReadTimeout):
        async with httpx.AsyncClient(headers=HEADERS, timeout=0.3) as client:
            await embed(client, node, input=texts)
    await eventually(lambda: embeddings._requests == 0, 3)
    began = time.monotonic()
    await embeddings.embed([QUESTION])
    assert time.monotonic() - began < 3, "what the client that left had asked for is not computed"


async def test_a_node_with_too_much_to_do_says_so(embeddings: MiniLMEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_engine, "MOST_WAITING", 2)
    texts = [words(200)] * 16
    first, second = (asyncio.create_task(embeddings.embed(texts)) for _ in range(2))
    await asyncio.sleep(0)
    with pytest.raises(EngineBusy):
        await embeddings.embed([QUESTION])
    assert (await first).vectors == (await second).vectors
    await embeddings.embed([QUESTION])


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
async def test_a_model_with_other_files_is_not_used(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    found = find_model_folder()
    assert found is not None
    shutil.copytree(found, folder)
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    engine = MiniLMEngine(folder)
    engine.warm_up()  # says so in the log, and harms nobody
    async with (
        running(create_engine_app(ScriptedEngine(["Good ", "day"]), TOKEN, engine)) as url,
        httpx.AsyncClient(headers=HEADERS) as client,
    ):
        refused = await embed(client, url, input="x")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "embedding_model_unusable")
        assert name in refused.json()["error"]["message"]
        ask = {"model": TINY, "messages": [{"role": "user", "content": "Hello"}]}
        assert (await client.post(f"{url}/v1/chat/completions", json=ask)).status_code == 200
    await engine.close()


async def test_the_gateway_takes_no_embedding_model_for_a_base(client: httpx.AsyncClient, node: str) -> None:
    listed = (await client.get(f"{node}/v1/models")).json()["data"]
    assert [(model["id"], model["task"]) for model in listed] == [(TINY, "generate"), (MODEL, "embed")]
    nodes = NodeClient(client, NodeToken(TOKEN))
    assert await nodes.serving([node], TINY, None) == [node]
    with pytest.raises(NoNode):
        await nodes.serving([node], MODEL, None)


async def test_memory_embeds_on_a_live_node(
    embedder: NodeEmbedder, embeddings: MiniLMEngine, node: str, register_node: Register
) -> None:
    await register_node(node)
    texts = [f"{index} {words(index % 5)}" for index in range(MOST_TEXTS + 3)]
    texts[7] = "lamp " * LONGEST_TEXT
    found = await embedder.embed(texts)
    expected = (await embeddings.embed([text[:LONGEST_TEXT] for text in texts])).vectors
    assert len(found) == len(texts)
    for vector, other in zip(found, expected, strict=True):
        assert vector == pytest.approx(other, abs=1e-5)
    assert await embedder.embed([]) == []
    with pytest.raises(TextRefused):
        await embedder.embed([QUESTION, ""])


async def test_a_lost_node_and_one_that_does_not_embed_are_passed_over(
    embedder: NodeEmbedder, node: str, register_node: Register
) -> None:
    async with running(create_engine_app(ScriptedEngine([]), TOKEN)) as without:
        await register_node("http://127.0.0.1:9", "a-lost")
        await register_node(without, "b-without")
        await register_node(node, "c-embedding")
        for _ in range(3):  # whoever's turn it is
            assert len((await embedder.embed([QUESTION]))[0]) == DIMENSIONS


async def test_without_a_node_that_embeds_memory_is_told_so(embedder: NodeEmbedder, register_node: Register) -> None:
    with pytest.raises(NoNode, match=f"no node embeds with {MODEL}"):
        await embedder.embed([QUESTION])
    async with running(create_engine_app(ScriptedEngine([]), TOKEN)) as without:
        await register_node(without)
        with pytest.raises(NoNode, match=f"no node embeds with {MODEL}"):
            await embedder.embed([QUESTION])
