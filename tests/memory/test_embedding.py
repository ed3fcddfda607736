"""Asking a model server: every vector goes to its text, and what is wrong is told from what will pass."""

import asyncio
import json
import logging

import httpx
import pytest

from tests.memory.conftest import MODEL
from tests.memory.embedding_server import embed
from tunery.app.settings import Settings
from tunery.core.errors import Unavailable
from tunery.memory.embedding import (
    Embedders,
    HttpEmbedder,
    TextRefused,
    TextsFailed,
    embed_around_failures,
    embed_what_goes,
)


@pytest.fixture
async def embedder(embeddings):
    async with httpx.AsyncClient() as client:
        yield HttpEmbedder(client, embeddings.url + "/", MODEL, "sk-test")


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr("tunery.memory.embedding._PAUSES", (0.01, 0.01))
    monkeypatch.setattr("tunery.memory.embedding._LONGEST_PAUSE", 0.02)


def cosine(one, other):
    return sum(x * y for x, y in zip(one, other, strict=True))


async def test_each_text_gets_its_own_vector_of_unit_length(embedder, embeddings):
    texts = [f"text {number}" for number in range(130)]
    vectors = await embedder.embed(texts)
    assert [len(batch) for batch in embeddings.asked] == [64, 64, 2]
    assert embeddings.keys == {"Bearer sk-test"}
    for text, vector in zip(texts, vectors, strict=True):
        raw = embed(text, embeddings.dimensions, MODEL)
        assert cosine(vector, vector) == pytest.approx(1)
        assert cosine(vector, raw) == pytest.approx(cosine(raw, raw) ** 0.5), "whatever order the server answers in"
    assert await embedder.embed([]) == []


@pytest.mark.parametrize("statuses", [[429], [500, 503], [408], [502, 429]])
async def test_what_passes_is_asked_again(embedder, embeddings, statuses):
    embeddings.statuses = list(statuses)
    assert len(await embedder.embed(["text"])) == 1
    assert len(embeddings.asked) == len(statuses) + 1


async def test_a_server_that_stays_away_is_unavailable(embedder, embeddings):
    embeddings.away = True
    with pytest.raises(Unavailable, match=f"{MODEL} answers 503"):
        await embedder.embed(["text"])
    assert len(embeddings.asked) == 3


async def test_nobody_at_the_address_is_unavailable(embeddings):
    async with httpx.AsyncClient() as client:
        with pytest.raises(Unavailable, match="does not answer"):
            await HttpEmbedder(client, "http://127.0.0.1:9/v1", MODEL).embed(["text"])


async def test_a_server_that_takes_too_long_is_unavailable(embedder, embeddings, monkeypatch):
    monkeypatch.setattr("tunery.memory.embedding._DEADLINE", 0.1)
    embeddings.held = asyncio.Event()
    try:
        with pytest.raises(Unavailable, match="takes too long"):
            await embedder.embed(["text"])
    finally:
        embeddings.held.set()


@pytest.mark.parametrize("status", [401, 403, 404, 301])
async def test_a_wrong_key_or_address_is_not_asked_again(embedder, embeddings, status):
    embeddings.statuses = [status] * 3
    with pytest.raises(Unavailable, match="can't be asked"):
        await embedder.embed(["text"])
    assert len(embeddings.asked) == 1


VECTOR = [1.0, 2.0]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": []},
        {"data": [{"index": 0, "embedding": VECTOR}]},
        {"data": [{"index": 0, "embedding": VECTOR}, {"index": 0, "embedding": VECTOR}]},
        {"data": [{"index": 1, "embedding": VECTOR}, {"index": 2, "embedding": VECTOR}]},
        {"data": [{"index": 0, "embedding": VECTOR}, {"index": 1, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": VECTOR}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": VECTOR}, {"index": 1, "embedding": [1.0] * 4001}]},
        {"data": [{"index": 0, "embedding": VECTOR}, {"index": 1, "embedding": "base64"}]},
        {"data": [{"index": 0, "embedding": VECTOR}, {"index": 1, "embedding": [1.7e308, 1.7e308]}]},
        ["nothing"],
    ],
)
async def test_a_wrong_answer_is_no_answer(embedder, embeddings, answer):
    embeddings.answer = answer
    with pytest.raises(Unavailable):
        await embedder.embed(["one", "two"])


async def test_only_the_refused_text_is_left_without_a_vector(embedder, embeddings):
    embeddings.refused = {"bad", "worse"}
    with pytest.raises(TextRefused, match="context_length_exceeded"):
        await embedder.embed(["good", "bad"])
    vectors = await embed_what_goes(embedder, ["bad", "good", "fine", "worse", "nice"])
    assert [vector is not None for vector in vectors] == [False, True, True, False, True]


async def test_a_text_of_zeros_is_one_that_the_model_does_not_take(embedder, embeddings):
    embeddings.zeros = {"bad"}
    vectors = await embed_what_goes(embedder, ["good", "bad", "fine"])
    assert [vector is not None for vector in vectors] == [True, False, True]


async def test_a_text_on_which_the_server_fails_keeps_no_other_from_its_vector(embedder, embeddings):
    embeddings.choked = {"bad", "worse"}
    texts = ["good", "bad", "fine", "worse", "nice"]
    with pytest.raises(TextsFailed, match="answers 500"):
        await embed_what_goes(embedder, texts)
    vectors = await embed_around_failures(embedder, texts)
    assert [vector is not None for vector in vectors] == [True, False, True, False, True]


@pytest.mark.parametrize("status", [500, 503])
async def test_a_server_that_fails_on_any_text_is_asked_for_no_more_of_them(embedder, embeddings, status):
    embeddings.statuses = [status] * 100
    with pytest.raises(Unavailable, match=f"answers {status}"):
        await embed_around_failures(embedder, ["one", "two", "three", "four"])
    assert len(embeddings.asked) == (6 if status == 500 else 3)


async def test_neither_texts_nor_keys_are_logged(embedder, embeddings, caplog, capfd):
    with caplog.at_level(logging.DEBUG):
        for statuses in ([503] * 3, [401], [400]):
            embeddings.statuses = statuses
            with pytest.raises((Unavailable, TextRefused)):
                await embedder.embed(["canarytext"])
    logged = caplog.text + "".join(capfd.readouterr())
    assert "503" in logged
    for secret in ("canarytext", "sk-test"):
        assert secret not in logged


def test_the_first_embedder_is_the_current_one():
    class Named:
        def __init__(self, model):
            self.model = model

    newest, oldest = Named("new"), Named("old")
    embedders = Embedders([newest, oldest])
    assert embedders.current is newest
    assert (embedders.find("old"), embedders.find("new"), embedders.find("gone")) == (oldest, newest, None)
    # What an operator sets up goes before what is there anyway, whatever it is called.
    assert Embedders([newest, Named("new")]).find("new") is newest
    with pytest.raises(ValueError, match="at least one"):
        Embedders([])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nonsense", "JSON"),
        ({"model": "m"}, "list"),
        ([{"model": "m"}], "0.url"),
        ([{"model": "two words", "url": "http://x/v1"}], "0.model"),
        ([{"model": "m" * 101, "url": "http://x/v1"}], "0.model"),
        ([{"model": "m", "url": "ftp://x/v1"}], "0.url"),
        ([{"model": "m", "url": "http://x/v1?key=1"}], "0.url"),
        ([{"model": "m", "url": "http://x/v1", "key": "k"}], "0.key"),
        ([{"model": "m", "url": "http://x/v1"}] * 2, "same model"),
    ],
)
def test_wrong_settings_are_named(given, says):
    with pytest.raises(ValueError, match=says):
        Settings(_env_file=None, embeddings=given if isinstance(given, str) else json.dumps(given))


def test_settings_name_servers_with_their_models():
    given = [
        {"model": "org/m:v1", "url": "https://x.example/v1", "api_key": "sk-secret"},
        {"model": "n", "url": "http://y"},
    ]
    settings = Settings(_env_file=None, embeddings=json.dumps(given))
    assert [(server.model, server.url) for server in settings.embedding_servers] == [
        ("org/m:v1", "https://x.example/v1"), ("n", "http://y")
    ]  # fmt: skip
    assert settings.embedding_servers[0].api_key.get_secret_value() == "sk-secret"
    assert "sk-secret" not in repr(settings)
