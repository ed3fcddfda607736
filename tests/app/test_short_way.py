"""Queries that were asked before are answered without ASGI, and nobody can tell."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import httpx
import pytest

from tunery.app.application import Application, create_app
from tunery.app.http_protocol import HttpProtocol
from tunery.app.servers import listen, serve_http
from tunery.core.services import Services
from tunery.core.telemetry import Sampler
from tunery.graphql.planner.planner import Planner
from tunery.graphql.rate_limits import Taken

LONG_WAY = {"x-forwarded-for": "127.0.0.1"}
"""A header that the short way leaves to others. It changes nothing, as no proxy is trusted."""
ORGANISATION = {"query": "{ organisation { name slug } }"}
MODELS = {"query": "query($n: Int) { baseModels(first: $n) { nodes { name } totalCount } }", "variables": {"n": 3}}


@dataclass
class Door:
    """A server on loopback, and how many requests each way answered."""

    port: int
    app: Application
    short: int = 0
    long: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def raw(self, *requests: bytes, split: int | None = None) -> bytes:
        """All that comes back until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        data = b"".join(requests)
        writer.write(data[:split])
        if split is not None:
            await writer.drain()
            await asyncio.sleep(0.02)
            writer.write(data[split:])
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return answer


@pytest.fixture
async def door(services: Services) -> AsyncIterator[Door]:
    app: Application = create_app(services)
    bound = listen("127.0.0.1", 0)
    door = Door(bound.getsockname()[1], app)
    finish, graphql = app.short_way.finish, app._graphql

    def counted_finish(*arguments):
        response = finish(*arguments)
        door.short += response is not None
        return response

    async def counted_graphql(scope, receive, send):
        door.long += 1
        await graphql(scope, receive, send)

    app.short_way.finish = counted_finish
    app._graphql = counted_graphql
    server = asyncio.ensure_future(serve_http(app, bound, short_way=app.short_way))
    await asyncio.sleep(0.05)
    yield door
    server.cancel()
    with suppress(asyncio.CancelledError):
        await server


def request(body: dict, headers: dict[str, str], *, last: bool = False, version: str = "1.1") -> bytes:
    content = json.dumps(body).encode()
    lines = [f"POST /graphql HTTP/{version}", "host: tunery.test", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"content-length: {len(content)}", *(["connection: close"] if last else [])]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + content


def same(one: httpx.Response, other: httpx.Response) -> None:
    """But for what differs from request to request."""
    changing = {"x-request-id", "date", "x-ratelimit-remaining", "x-ratelimit-reset", "content-length"}
    assert one.status_code == other.status_code
    assert {k: v for k, v in one.headers.items() if k not in changing} == {
        k: v for k, v in other.headers.items() if k not in changing
    }
    assert list(one.headers).count("x-request-id") == 1
    assert one.headers.keys() == other.headers.keys()
    first, second = one.json(), other.json()
    for answer in (first, second):
        del answer["extensions"]["cost"]["remaining"]
    assert json.dumps(first) == json.dumps(second)


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", "*/*"])
@pytest.mark.parametrize("body", [ORGANISATION, MODELS, {"query": "{ __typename }"}])
async def test_both_ways_give_the_same_answer(door: Door, sign_up, body: dict, accept: str):
    tenant = await sign_up()
    headers = {**tenant.headers, "accept": accept}
    async with httpx.AsyncClient(base_url=door.url) as client:
        first = await client.post("/graphql", json=body, headers=headers)
        assert (door.short, door.long) == (0, 1)
        short = await client.post("/graphql", json=body, headers=headers)
        assert (door.short, door.long) == (1, 1)
        long = await client.post("/graphql", json=body, headers={**headers, **LONG_WAY})
        assert (door.short, door.long) == (1, 2)
    same(first, short)
    same(long, short)


KEYS = {"query": "{ apiKeys(first: 100) { nodes { id name hint createdAt } } }"}


async def with_many_keys(api, tenant, number: int) -> None:
    for _ in range(number):
        await api.mutate("createApiKey", "apiKey { id }", tenant, name="n" * 100)


async def test_a_long_answer_is_compressed_on_both_ways(door: Door, api, sign_up):
    tenant, body = await sign_up(), KEYS
    await with_many_keys(api, tenant, 12)
    plain = {**tenant.headers, "accept-encoding": "identity"}
    async with httpx.AsyncClient(base_url=door.url) as client:
        long = await client.post("/graphql", json=body, headers=tenant.headers)
        short = await client.post("/graphql", json=body, headers=tenant.headers)
        uncompressed = await client.post("/graphql", json=body, headers=plain)
    assert door.short == 2
    assert len(uncompressed.content) >= 1500
    assert short.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in uncompressed.headers
    same(long, short)
    assert uncompressed.json()["data"] == short.json()["data"]


async def test_a_revoked_key_is_refused_at_once(door: Door, api, sign_up):
    tenant = await sign_up()
    made = await api.mutate("createApiKey", "secret apiKey { id }", tenant, name="short")
    headers = {"authorization": f"Bearer {made['secret']}"}
    async with httpx.AsyncClient(base_url=door.url) as client:
        for _ in range(2):
            assert (await client.post("/graphql", json=ORGANISATION, headers=headers)).json()["data"]
        assert door.short == 1
        await api.mutate("revokeApiKey", "apiKey { revokedAt }", tenant, id=made["apiKey"]["id"])
        refused = (await client.post("/graphql", json=ORGANISATION, headers=headers)).json()
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert door.short == 1


async def test_what_is_known_of_one_caller_is_not_given_to_another(door: Door, sign_up):
    one, other = await sign_up("One"), await sign_up("Other")
    async with httpx.AsyncClient(base_url=door.url) as client:
        for _ in range(2):
            for tenant in (one, other):
                answer = (await client.post("/graphql", json=ORGANISATION, headers=tenant.headers)).json()
                assert answer["data"]["organisation"]["slug"] == tenant.slug
        nobody = (await client.post("/graphql", json=ORGANISATION)).json()
    assert door.short == 2
    assert nobody["data"] is None


async def test_mutations_errors_and_other_paths_take_the_long_way(door: Door, sign_up):
    tenant = await sign_up()
    bodies = [
        {"query": 'mutation { createApiKey(input: {name: "x"}) { apiKey { name } } }'},
        {"query": "{ nothing }"},
        {"query": '{ node(id: "x") { id } purchase(id: "pur_1") { id } }'},
        {"query": "{ organisation { name } invoicePreview { subtotal } }"},
    ]
    async with httpx.AsyncClient(base_url=door.url) as client:
        for body in bodies:
            for _ in range(2):
                await client.post("/graphql", json=body, headers=tenant.headers)
        assert (await client.get("/health")).json()["status"] == "ok"
    assert door.short == 0


async def test_a_fault_is_told_as_on_the_long_way_and_nothing_is_run_twice(door: Door, sign_up, services, monkeypatch):
    tenant = await sign_up()
    reader, ran = services.get(Planner)._reader, []

    async def fail(*_arguments):
        ran.append(1)
        raise ZeroDivisionError("secret detail")

    async with httpx.AsyncClient(base_url=door.url) as client:
        await client.post("/graphql", json=MODELS, headers=tenant.headers)
        monkeypatch.setattr(reader, "value", fail)
        short = await client.post("/graphql", json=MODELS, headers=tenant.headers)
        assert (door.short, len(ran)) == (1, 1)
        long = await client.post("/graphql", json=MODELS, headers={**tenant.headers, **LONG_WAY})
    for answer in (short, long):
        [error] = answer.json()["errors"]
        assert error["extensions"] == {"code": "INTERNAL_ERROR", "requestId": answer.headers["x-request-id"]}
        assert "secret" not in answer.text
    assert (short.status_code, short.json()["data"]) == (long.status_code, long.json()["data"])


async def test_known_requests_are_traced_too(door: Door, sign_up, monkeypatch):
    tenant = await sign_up()
    sampler = Sampler(1000)
    monkeypatch.setattr(door.app.short_way, "_sampler", sampler)
    async with httpx.AsyncClient(base_url=door.url) as client:
        for _ in range(2):
            await client.post("/graphql", json=MODELS, headers=tenant.headers)
        assert door.short == 0  # each was due, and left to the middleware that makes spans
        monkeypatch.setattr(sampler, "_due", math.inf)
        await client.post("/graphql", json=MODELS, headers=tenant.headers)
    assert door.short == 1


class Generous:
    """A rate limiter that never has to ask Valkey, which would take the long way."""

    def take_here(self, *_what: object) -> Taken:
        return Taken(True, 1, 1, 0, 0)

    def give_back(self, *_what: object) -> None: ...


async def test_a_client_that_does_not_read_is_waited_for(door: Door, api, sign_up, monkeypatch):
    tenant = await sign_up()
    monkeypatch.setattr(door.app.short_way, "_rate_limiter", Generous())
    connections, made = [], HttpProtocol.connection_made
    monkeypatch.setattr(HttpProtocol, "connection_made", lambda self, to: (connections.append(self), made(self, to)))
    await with_many_keys(api, tenant, 30)
    await door.raw(request(KEYS, tenant.headers, last=True))
    _reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1)
    writer.transport.pause_reading()
    one = request(KEYS, tenant.headers)

    async def send() -> None:
        """And wait for the answer to be written, but not for long."""
        before, until = door.short, time.monotonic() + 0.05
        writer.write(one)
        while door.short == before and time.monotonic() < until:  # noqa: ASYNC110 - nothing tells but the count
            await asyncio.sleep(0)

    await send()
    connection = connections[-1]
    for _ in range(10_000):
        await send()
        if connection.flow.write_paused:
            break
    else:
        pytest.fail("the buffer never filled")
    filled = connection.transport.get_write_buffer_size()
    for _ in range(20):
        await send()
    assert connection.transport.get_write_buffer_size() < filled + 20_000
    writer.transport.abort()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def test_pipelined_requests_are_answered_in_their_order(door: Door, sign_up):
    tenant = await sign_up()
    await door.raw(request(ORGANISATION, tenant.headers, last=True))
    await door.raw(request(MODELS, tenant.headers, last=True))
    order = [ORGANISATION, MODELS, {"query": "{ nothing }"}, MODELS, ORGANISATION]
    requests = [request(body, tenant.headers, last=body is order[-1] and at == 4) for at, body in enumerate(order)]
    answer = await door.raw(*requests)
    found = [answer.index(part) for part in (b'"organisation"', b'"baseModels"', b'"errors"')]
    assert found == sorted(found)
    assert answer.count(b"HTTP/1.1 ") == 5
    assert answer.rindex(b'"organisation"') > answer.rindex(b'"baseModels"')


async def test_a_request_in_pieces_and_one_that_closes(door: Door, sign_up):
    tenant = await sign_up()
    whole = request(ORGANISATION, tenant.headers, last=True)
    first = await door.raw(whole)
    again = await door.raw(whole)
    assert door.short == 1
    assert b"connection: close\r\n" in first
    assert b"connection: close\r\n" in again
    pieces = await door.raw(whole, split=len(whole) - 5)
    assert pieces.split(b"\r\n\r\n")[1].startswith(b'{"data":')
    old = await door.raw(request(ORGANISATION, tenant.headers, version="1.0"))
    assert b'"organisation"' in old


async def test_a_client_that_leaves_harms_nobody(door: Door, sign_up):
    tenant = await sign_up()
    whole = request(MODELS, tenant.headers)
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(whole)
        await writer.drain()
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
    answer = await door.raw(request(MODELS, tenant.headers, last=True))
    assert b'"baseModels"' in answer


async def test_many_identical_requests_at_once(door: Door, sign_up):
    tenant = await sign_up()
    async with httpx.AsyncClient(base_url=door.url, limits=httpx.Limits(max_connections=20)) as client:
        await client.post("/graphql", json=MODELS, headers=tenant.headers)
        answers = await asyncio.gather(
            *(client.post("/graphql", json=MODELS, headers=tenant.headers) for _ in range(60))
        )
    assert len({json.dumps(answer.json()["data"]) for answer in answers}) == 1
    assert len({answer.headers["x-request-id"] for answer in answers}) == 60
