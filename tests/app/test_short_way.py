"""Queries that were asked before are answered without ASGI, and nobody can tell."""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, replace

import httpx
import pytest
from structlog.testing import capture_logs

from tunery.app.application import Application, create_app
from tunery.app.http_protocol import HttpProtocol
from tunery.app.servers import listen, serve_http
from tunery.core.logs import add_request_id
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


LAST = request({"query": "{ nothing }"}, {}, last=True)


async def alone(door: Door, whole: bytes) -> bytes:
    """What comes back for a request that arrives by itself and leaves the connection open; then for `LAST`."""
    return await door.raw(whole, LAST, split=len(whole))


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
        await client.post("/graphql", json=body, headers=plain)
        uncompressed = await client.post("/graphql", json=body, headers=plain)
    assert (door.short, door.long) == (2, 2)
    assert len(uncompressed.content) >= 1500
    assert short.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in uncompressed.headers
    same(long, short)
    assert uncompressed.json()["data"] == short.json()["data"]


async def test_an_answer_that_is_compressed_elsewhere_is_read_once(door: Door, api, sign_up, services, monkeypatch):
    monkeypatch.setattr("tunery.graphql.short_way.THREAD_BYTES", 1000)
    tenant, read = await sign_up(), []
    await with_many_keys(api, tenant, 12)
    reader = services.get(Planner)._reader
    value = reader.value
    monkeypatch.setattr(reader, "value", lambda sql, values: (read.append(sql), value(sql, values))[1])
    async with httpx.AsyncClient(base_url=door.url) as client:
        for _ in range(4):
            assert (await client.post("/graphql", json=KEYS, headers=tenant.headers)).json()["data"]
    assert (door.short, len(read)) == (0, 5)  # the second request found out


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
        with capture_logs([add_request_id]) as logs:
            short = await client.post("/graphql", json=MODELS, headers=tenant.headers)
            assert (door.short, len(ran)) == (1, 1)
            long = await client.post("/graphql", json=MODELS, headers={**tenant.headers, **LONG_WAY})
    logged = [entry["request_id"] for entry in logs if entry["event"] == "unexpected fault"]
    assert logged == [short.headers["x-request-id"], long.headers["x-request-id"]]
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
    closing = request(ORGANISATION, tenant.headers, last=True)
    pieces = await door.raw(closing, split=len(closing) - 5)
    whole, again = await door.raw(closing), await door.raw(closing)
    old = await door.raw(request(ORGANISATION, tenant.headers, version="1.0"))
    for answer in (pieces, whole, again, old):
        assert b"connection: close\r\n" in answer
        assert answer.split(b"\r\n\r\n")[1].startswith(b'{"data":{"organisation":')
    assert (door.short, door.long) == (0, 4)


async def test_the_end_of_a_longer_head_is_not_taken_for_a_whole_one(door: Door, sign_up):
    """Else its bytes, sent by somebody else, would be answered as if the beginning were there."""
    tenant = await sign_up()
    tail = request(ORGANISATION, {})
    start = f"POST /graphql HTTP/1.1\r\nauthorization: {tenant.headers['authorization']}\r\nx-more: ".encode()
    closing = request(ORGANISATION, {}, last=True)
    mine = await door.raw(start + tail, closing, split=len(start))
    assert f'"slug":"{tenant.slug}"'.encode() in mine
    for _ in range(2):
        nobodys = await door.raw(tail, closing)
        assert nobodys.count(b"UNAUTHENTICATED") == 2
    assert door.short == 0


async def test_what_the_parser_is_in_the_middle_of_is_no_request(door: Door, sign_up):
    tenant = await sign_up()
    known = request(ORGANISATION, tenant.headers)
    await alone(door, known)
    in_a_head = b"GET /health HTTP/1.1\r\nx-more: "
    in_a_body = f"POST /v1/files HTTP/1.1\r\ncontent-length: {len(known)}\r\n\r\n".encode()
    for start in (in_a_head, in_a_body):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for piece in (start, known, LAST):
            writer.write(piece)
            await asyncio.sleep(0.02)
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert answer.count(b"HTTP/1.1 ") == 2
        assert tenant.slug.encode() not in answer
    assert door.short == 0


async def test_a_known_body_under_a_head_that_announces_more_waits_for_it(door: Door, sign_up):
    tenant = await sign_up()
    longer, shorter = request(ORGANISATION, tenant.headers), request({"query": "{ __typename }"}, tenant.headers)
    await alone(door, longer)
    await alone(door, shorter)
    head = longer.partition(b"\r\n\r\n")[0]
    start = head + b"\r\n\r\n" + shorter.partition(b"\r\n\r\n")[2]
    answer = await door.raw(start.ljust(len(longer)), LAST, split=len(start))
    assert door.short == 0
    assert answer.count(b"HTTP/1.1 ") == 2


async def test_requests_in_one_piece_are_not_mixed_up(door: Door, sign_up):
    one, other = await sign_up("One"), await sign_up("Other")
    of_one, of_other = request(ORGANISATION, one.headers), request(ORGANISATION, other.headers)
    await door.raw(of_one, of_other, LAST, split=len(of_one + of_other))
    for _ in range(2):
        answer = await alone(door, of_one)
        assert one.slug.encode() in answer
    assert door.short == 1


class Gate:
    """Holds back what the database has answered."""

    def __init__(self, services: Services, monkeypatch) -> None:
        reader = services.get(Planner)._reader
        value = reader.value
        self.open = asyncio.Event()
        self.waiting = 0

        async def held(sql, values):
            self.waiting += 1
            await self.open.wait()
            return await value(sql, values)

        monkeypatch.setattr(reader, "value", held)

    async def wait(self, number: int) -> None:
        async with asyncio.timeout(5):
            while self.waiting < number:  # noqa: ASYNC110 - nothing tells but the count
                await asyncio.sleep(0.005)


async def test_what_comes_while_a_request_is_under_way_waits(door: Door, sign_up, services, monkeypatch):
    tenant = await sign_up()
    first, second = request(ORGANISATION, tenant.headers), request(MODELS, tenant.headers)
    await alone(door, first)
    await alone(door, second)
    gate = Gate(services, monkeypatch)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(first)
    await gate.wait(1)
    writer.write(second[:100])
    await asyncio.sleep(0.02)
    writer.write(second[100:] + LAST)
    await asyncio.sleep(0.02)
    assert gate.waiting == 1
    gate.open.set()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    found = [answer.index(part) for part in (b'"organisation"', b'"baseModels"', b'"errors"')]
    assert found == sorted(found)
    assert answer.count(b"HTTP/1.1 ") == 3
    assert door.short == 1


async def test_a_known_request_waits_for_the_unknown_one_before_it(door: Door, sign_up, services, monkeypatch):
    tenant = await sign_up()
    known = request({"query": "{ __typename }"}, tenant.headers)
    await alone(door, known)
    gate = Gate(services, monkeypatch)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(request(ORGANISATION, tenant.headers))
    await gate.wait(1)
    writer.write(known)
    await asyncio.sleep(0.02)
    writer.write(LAST)
    gate.open.set()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert 0 < answer.index(b'"organisation"') < answer.index(b'"__typename"')


async def test_a_connection_that_waits_for_its_answer_is_not_idle(door: Door, sign_up, services, monkeypatch):
    tenant = await sign_up()
    known = request(ORGANISATION, tenant.headers)
    await alone(door, known)
    connections, made = [], HttpProtocol.connection_made
    monkeypatch.setattr(HttpProtocol, "connection_made", lambda self, to: (connections.append(self), made(self, to)))
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    await asyncio.sleep(0.02)
    connections[0].timeout_keep_alive = 0.1
    writer.write(known)
    await reader.readuntil(b"}}}")
    gate = Gate(services, monkeypatch)
    writer.write(known)
    await gate.wait(1)
    await asyncio.sleep(0.3)
    gate.open.set()
    assert b'"organisation"' in await asyncio.wait_for(reader.read(), 5)  # and then, idle, it is closed
    writer.close()
    assert door.short == 2


async def test_what_waits_behind_the_last_answer_is_not_run(door: Door, api, sign_up, services, monkeypatch):
    tenant = await sign_up()
    known = request(ORGANISATION, tenant.headers)
    await alone(door, known)
    connections, made = [], HttpProtocol.connection_made
    monkeypatch.setattr(HttpProtocol, "connection_made", lambda self, to: (connections.append(self), made(self, to)))
    gate = Gate(services, monkeypatch)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(known)
    await gate.wait(1)
    writer.write(
        request({"query": 'mutation { createApiKey(input: {name: "ghost"}) { apiKey { id } } }'}, tenant.headers)
    )
    await asyncio.sleep(0.02)
    connections[0].shutdown()
    long = door.long
    gate.open.set()
    assert (await asyncio.wait_for(reader.read(), 5)).count(b"HTTP/1.1 ") == 1
    writer.close()
    assert door.long == long


async def test_a_server_that_shuts_down_answers_what_is_under_way(services, sign_up, monkeypatch):
    tenant = await sign_up()
    app: Application = create_app(services)
    bound = listen("127.0.0.1", 0)
    server = asyncio.ensure_future(serve_http(app, bound, short_way=app.short_way))
    await asyncio.sleep(0.05)
    door = Door(bound.getsockname()[1], app)
    first = request(ORGANISATION, tenant.headers)
    await alone(door, first)
    gate = Gate(services, monkeypatch)
    monkeypatch.setattr(app, "_graphql", None)  # the long way would fail
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(first)
    await gate.wait(1)
    server.cancel()
    await asyncio.sleep(0.3)
    assert not reader.at_eof()
    gate.open.set()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"organisation"' in answer
    with suppress(asyncio.CancelledError):
        await asyncio.wait_for(server, 5)


async def test_an_answer_that_breaks_a_promise_takes_the_long_way(door: Door, sign_up, services, monkeypatch):
    tenant = await sign_up()
    await alone(door, request(ORGANISATION, tenant.headers))
    reader = services.get(Planner)._reader
    value, broken = reader.value, [b'{"organisation":{"name":\x01}}']

    async def breaks_once(sql, values):
        return broken.pop() if broken else await value(sql, values)

    monkeypatch.setattr(reader, "value", breaks_once)
    long = door.long
    answer = await alone(door, request(ORGANISATION, tenant.headers))
    assert not broken
    assert door.long == long + 2
    assert f'"slug":"{tenant.slug}"'.encode() in answer


async def test_a_key_that_is_no_longer_remembered_is_looked_up(door: Door, sign_up):
    tenant = await sign_up()
    async with httpx.AsyncClient(base_url=door.url) as client:
        for _ in range(2):
            await client.post("/graphql", json=ORGANISATION, headers=tenant.headers)
        assert (door.short, door.long) == (1, 1)
        known = door.app.short_way._remembered.__self__._known
        for digest, (_until, identity) in known.items():
            known[digest] = (0.0, identity)
        answer = await client.post("/graphql", json=ORGANISATION, headers=tenant.headers)
        assert answer.json()["data"]["organisation"]["slug"] == tenant.slug
        assert (door.short, door.long) == (1, 2)


async def test_an_empty_bucket_refuses_on_both_ways(door: Door, sign_up, monkeypatch):
    tenant = await sign_up()
    endpoint = door.app.short_way._endpoint
    monkeypatch.setattr(endpoint, "_options", replace(endpoint._options, points=60, points_per_second=0.01))
    async with httpx.AsyncClient(base_url=door.url) as client:
        answers = [await client.post("/graphql", json=ORGANISATION, headers=tenant.headers) for _ in range(70)]
    statuses = [answer.status_code for answer in answers]
    assert door.short > 10
    refused = statuses.index(429)
    assert set(statuses[:refused]) == {200}
    assert set(statuses[refused:]) == {429}
    assert int(answers[-1].headers["retry-after"]) >= 1


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
