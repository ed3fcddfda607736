"""GraphQL over HTTP: media types, statuses, trusted documents, caching, events, prices."""

import asyncio
import gzip
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from arq.connections import ArqRedis
from graphql import GraphQLError, build_schema
from starlette.types import ASGIApp

import tunery.graphql.event_stream
from tests.conftest import Api
from tests.graphql.listener import Listener, scope_of
from tunery.app.application import Application, create_app
from tunery.app.embedded.programs import setting_texts
from tunery.app.middleware import RequestContext
from tunery.app.settings import Settings
from tunery.app.up import Up
from tunery.core.errors import Unauthenticated, Unavailable
from tunery.core.identity import Identity
from tunery.core.services import Services
from tunery.graphql.context import Context
from tunery.graphql.documents import Documents, Operation
from tunery.graphql.endpoint import GraphQLEndpoint
from tunery.graphql.executor import Answer
from tunery.graphql.limits import Limits
from tunery.graphql.options import GraphQLOptions
from tunery.graphql.pricing import READING_POINTS, UNKNOWN_KEY_POINTS, buckets_of, lookup_of_key
from tunery.graphql.rate_limits import RateLimiter
from tunery.graphql.requests import LARGEST_BODY
from tunery.graphql.trusted_documents import TrustedDocuments, committed_operations, document_id

SCHEMA = build_schema(
    """
    type Item { id: ID owner: Item totalCount: Int }
    type Query { n: Int item: Item items(first: Int! = 20): [Item!]! ids(ids: [ID!]): [Item] }
    type Payload { item: Item }
    type Mutation { write: Payload }
    type Subscription { events: Item }
    """
)
RESPONSE = "application/graphql-response+json"
PUBLIC = "query Public { item { id } }"
PRIVATE = "query Private($first: Int! = 2) { items(first: $first) { id } }"
WRITE = "mutation Write { write { item { id } } }"
EVENTS = "subscription Events { events { id } }"
BOTH = "query Public { item { id } } query Other { n }"


@dataclass
class FakeExecutor:
    """Answers what a test wants, and remembers what was executed."""

    answer: Answer = field(default_factory=lambda: Answer(b'{"item":{"id":"1"}}'))
    stream: Callable[[], AsyncIterator[Answer]] | None = None
    executed: list[tuple[Operation, dict[str, Any], Context]] = field(default_factory=list)

    def prepare(self, _operation: Operation, _variables: dict[str, Any]) -> None:
        return None

    async def execute(self, operation: Operation, variables: dict[str, Any], context: Context, _run: None) -> Answer:
        self.executed.append((operation, variables, context))
        return self.answer

    async def subscribe(self, operation: Operation, variables: dict[str, Any], context: Context) -> Any:
        self.executed.append((operation, variables, context))
        return self.stream() if self.stream else self.answer


@dataclass
class Endpoint:
    client: httpx.AsyncClient
    executor: FakeExecutor
    app: ASGIApp
    remembered: dict[str, Identity]
    """By what was presented; emptied, everybody is looked up again."""
    looked_up: list[str]

    async def post(self, query: str | None = None, accept: str | None = None, **given: Any) -> httpx.Response:
        headers = given.pop("headers", {}) | ({} if accept is None else {"accept": accept})
        body = given if query is None else {"query": query} | given
        return await self.client.post("/graphql", json=body, headers=headers)

    async def get(self, document: str, headers: dict[str, str] | None = None, **parameters: str) -> httpx.Response:
        parameters = {"documentId": document_id(document)} | parameters
        return await self.client.get("/graphql", params=parameters, headers=headers or {})


@pytest.fixture
def make_endpoint(services: Services):
    def make(client: str | None = None, **options: Any) -> Endpoint:
        executor = FakeExecutor()
        chosen = GraphQLOptions(**options)
        known = TrustedDocuments(SCHEMA, [PUBLIC, PRIVATE, WRITE, EVENTS, BOTH])
        public = known.find(document_id(PUBLIC))
        assert public is not None
        vars(public.operation(None))["is_public"] = True
        identities: dict[str, Identity] = {}
        looked_up: list[str] = []

        async def confirm(authorization: str) -> Identity:
            looked_up.append(authorization)
            if authorization == "down":
                raise Unavailable("the database does not answer; try again in a moment")
            if authorization.startswith("guessed"):
                raise Unauthenticated("this API key is unknown")
            return identities.setdefault(authorization, Identity(uuid4(), uuid4(), uuid4()))

        graphql = GraphQLEndpoint(
            Documents(SCHEMA, chosen.limits, suggestions=chosen.development),
            known,
            executor,  # type: ignore[arg-type]
            services,
            identities.get,
            confirm,
            RateLimiter(services.get(ArqRedis)),
            chosen,
        )
        app = RequestContext(graphql)
        # An address of its own: the buckets in Valkey outlive a test.
        transport = httpx.ASGITransport(app, client=(client or f"test-{secrets.token_hex(8)}", 1))
        http = httpx.AsyncClient(transport=transport, base_url="http://tunery.test")
        for header in ("accept", "accept-encoding"):
            del http.headers[header]
        return Endpoint(http, executor, app, identities, looked_up)

    return make


@pytest.fixture
def endpoint(make_endpoint: Callable[..., Endpoint]) -> Endpoint:
    return make_endpoint()


def code(response: httpx.Response) -> str:
    (error,) = response.json()["errors"]
    assert "data" not in response.json()
    return error["extensions"]["code"]


# Media types


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        (None, RESPONSE),
        ("*/*", RESPONSE),
        ("application/*", RESPONSE),
        (RESPONSE, RESPONSE),
        (RESPONSE.upper(), RESPONSE),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        (f"{RESPONSE}, application/json", RESPONSE),
        (f"application/json, {RESPONSE}", "application/json"),
        (f"application/json;q=0.9, {RESPONSE}", RESPONSE),
        (f"{RESPONSE};q=0.5, application/json;charset=utf-8;q=0.8", "application/json"),
        (f"{RESPONSE};q=0, */*", "application/json"),
        (f"{RESPONSE};q=0.000, application/*;q=0.1", "application/json"),
        (f"application/json;q=nonsense, {RESPONSE};q=0.1", RESPONSE),
        (f"text/html, {RESPONSE}, text/event-stream", RESPONSE),
        ("text/x, " * 100 + "application/json", "application/json"),
    ],
)
async def test_the_media_type_is_what_the_client_prefers(endpoint: Endpoint, accept: str | None, answered: str):
    response = await endpoint.post("{ item { id } }", accept)
    assert response.status_code == 200
    assert response.headers["content-type"] == f"{answered}; charset=utf-8"


@pytest.mark.parametrize("accept", ["text/plain", "application/xml", f"{RESPONSE};q=0", "text/*", "", "*/*;q=0"])
async def test_a_client_that_reads_nothing_we_speak_is_told_and_nothing_is_executed(endpoint: Endpoint, accept: str):
    response = await endpoint.post("{ item { id } }", accept)
    assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")
    assert endpoint.executor.executed == []


@pytest.mark.parametrize(
    "given", ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"']
)
async def test_json_in_utf_8_is_read(endpoint: Endpoint, given: str):
    response = await endpoint.client.post("/graphql", content='{"query":"{ n }"}', headers={"content-type": given})
    assert response.status_code == 200


@pytest.mark.parametrize(
    "given",
    [None, "", "text/plain", "application/graphql", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/jsonx"],
)  # fmt: skip
async def test_no_other_content_is(endpoint: Endpoint, given: str | None):
    # Forms and plain text are what a browser sends to strangers without asking: CSRF.
    headers = {} if given is None else {"content-type": given}
    response = await endpoint.client.post("/graphql", content=b'{"query":"{ n }"}', headers=headers)
    assert (response.status_code, code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert endpoint.executor.executed == []


# Malformed requests


@pytest.mark.parametrize("accept", [RESPONSE, "application/json"])
@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no JSON"),
        (b"NONSENSE", "no JSON"),
        (b'{"query":', "no JSON"),
        (b'{"query":"{ n }"} x', "no JSON"),
        (b'{"query":"\xff"}', "no JSON"),
        (b'{"variables":{"a":' + b"[" * 50_000 + b"]" * 50_000 + b"}}", "no JSON"),
        (b'[{"query":"{ n }"}]', "batching is off"),
        (b" \n[]", "batching is off"),
        (b"null", "Expected `object`"),
        (b'"{ n }"', "Expected `object`"),
        (b"{}", "no `query`"),
        (b'{"qeury":"{ n }"}', "no `query`"),
        (b'{"query":null}', "no `query`"),
        (b'{"query":1}', "query"),
        (b'{"query":["{ n }"]}', "query"),
        (b'{"query":"{ n }","variables":[7]}', "variables"),
        (b'{"query":"{ n }","variables":"{}"}', "variables"),
        (b'{"query":"{ n }","operationName":1}', "operationName"),
        (b'{"query":"{ n }","extensions":[]}', "extensions"),
        (b'{"documentId":5}', "documentId"),
        (b'{"documentId":"a","query":"{ n }"}', "either"),
        (b'{"extensions":{"persistedQuery":{"version":1}}}', "no `query`"),
        (b'{"extensions":{"persistedQuery":"a"}}', "no `query`"),
    ],
)
async def test_a_request_that_is_none_is_400_in_any_media_type(endpoint: Endpoint, accept: str, body: bytes, says: str):
    headers = {"content-type": "application/json", "accept": accept}
    response = await endpoint.client.post("/graphql", content=body, headers=headers)
    assert response.status_code == 400
    assert says in response.json()["errors"][0]["message"]
    assert code(response) in ("BAD_REQUEST", "BATCHING_OFF")
    assert response.headers["content-type"].startswith(accept)
    assert endpoint.executor.executed == []


async def test_null_and_unknown_entries_are_as_good_as_absent(endpoint: Endpoint):
    response = await endpoint.post("{ n }", variables=None, operationName=None, extensions=None, more=[1])
    assert response.status_code == 200
    assert endpoint.executor.executed[0][1] == {}


async def test_a_body_beyond_its_limit_is_refused_before_it_is_read(endpoint: Endpoint):
    read = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * (LARGEST_BODY // 10)

    headers = {"content-type": "application/json"}
    response = await endpoint.client.post("/graphql", content=chunks(), headers=headers)
    assert (response.status_code, code(response)) == (413, "REQUEST_TOO_LARGE")
    assert read == 11

    whole = await endpoint.client.post("/graphql", content=b" " * (LARGEST_BODY + 1), headers=headers)
    assert whole.status_code == 413
    start, _ = await raw_post(endpoint, [(b"content-type", b"application/json")], b" " * (LARGEST_BODY + 1))
    assert start["status"] == 413, "without a length"
    fits = b'{"query":"{ n }"}'.ljust(LARGEST_BODY)
    assert (await endpoint.client.post("/graphql", content=fits, headers=headers)).status_code == 200

    read = 0
    announced = await endpoint.client.post(
        "/graphql", content=chunks(), headers=headers | {"content-length": "9" * 5000}
    )
    assert announced.status_code == 413
    assert read == 0


async def test_a_body_in_pieces_is_put_together(endpoint: Endpoint):
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"query":', b"", b'"{ n ', b'}"}'):
            yield piece

    response = await endpoint.client.post("/graphql", content=pieces(), headers={"content-type": "application/json"})
    assert response.status_code == 200


@pytest.mark.parametrize("sent", [[], [{"type": "http.request", "body": b'{"query"', "more_body": True}]])
async def test_a_client_that_leaves_before_its_request_is_whole_gets_nothing(endpoint: Endpoint, sent: list):
    messages = iter([*sent, {"type": "http.disconnect"}])
    answered: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        answered.append(message)

    await endpoint.app(scope_of("POST", [(b"content-type", b"application/json")]), receive, send)
    assert answered == []
    assert endpoint.executor.executed == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_405(endpoint: Endpoint, method: str):
    response = await endpoint.client.request(method, "/graphql", json={"query": "{ n }"})
    assert (response.status_code, code(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "GET, HEAD, POST"
    assert endpoint.executor.executed == []


# Statuses


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"query": "{ n "}, "Syntax Error"),
        ({"query": ""}, "Syntax Error"),
        ({"query": "{ gone }"}, "Cannot query field"),
        ({"query": "{ n }", "operationName": "Gone"}, "Unknown operation"),
        ({"query": "query A { n } query B { n }"}, "Must provide operation name"),
        ({"query": "fragment F on Query { n }"}, "never used"),
        ({"documentId": "gone"}, "no trusted document 'gone'"),
    ],
)
async def test_request_errors_are_400_or_in_plain_json_200(endpoint: Endpoint, body: dict, says: str):
    for accept, status in ((RESPONSE, 400), ("application/json", 200)):
        response = await endpoint.post(accept=accept, **body)
        assert response.status_code == status
        assert response.json().keys() == {"errors"}
        assert says in response.json()["errors"][0]["message"]
        assert "Did you mean" not in response.text
    assert endpoint.executor.executed == []


async def test_an_answer_without_data_is_a_request_error_and_one_with_null_is_not(endpoint: Endpoint):
    endpoint.executor.answer = Answer(None, [GraphQLError("not so")])
    refused = await endpoint.post("{ n }", RESPONSE)
    assert refused.status_code == 400
    assert refused.json().keys() == {"errors", "extensions"}
    assert (await endpoint.post("{ n }", "application/json")).status_code == 200

    endpoint.executor.answer = Answer(b"null", [GraphQLError("not so", path=["n"])])
    partial = await endpoint.post("{ n }", RESPONSE)
    assert partial.status_code == 200
    assert partial.json() == {
        "data": None,
        "errors": [{"message": "not so", "path": ["n"]}],
        "extensions": partial.json()["extensions"],
    }


async def test_who_is_not_known_is_the_resolvers_business(endpoint: Endpoint):
    await endpoint.post("{ n }")
    await endpoint.post("{ n }", headers={"authorization": "a"})
    (_, _, stranger), (_, _, known) = endpoint.executor.executed
    assert stranger.identity is None
    with pytest.raises(Unauthenticated, match="send your API key"):
        stranger.require("anything")
    assert known.identity is not None
    assert known.request_id.startswith("req_")
    assert known.request_id != stranger.request_id


async def test_an_authentication_that_is_down_is_503(endpoint: Endpoint):
    response = await endpoint.post("{ n }", headers={"authorization": "down"})
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "UNAVAILABLE"
    assert response.headers["x-request-id"] == response.json()["error"]["requestId"]
    assert endpoint.executor.executed == []


async def test_a_request_id_is_ours_alone(endpoint: Endpoint):
    response = await endpoint.post("{ n }", headers={"x-request-id": "forged\n"})
    assert response.headers.get_list("x-request-id") != ["forged\n"]
    assert response.headers["x-request-id"].startswith("req_")
    assert (await endpoint.post("{ n }")).headers["x-request-id"] != response.headers["x-request-id"]


# Trusted documents


@pytest.mark.parametrize(
    "body",
    [
        {"documentId": document_id(PRIVATE)},
        {"documentId": f"sha256:{document_id(PRIVATE)}"},
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": document_id(PRIVATE)}}},
    ],
)
async def test_trusted_documents_are_executed_by_id(endpoint: Endpoint, body: dict):
    response = await endpoint.post(variables={"first": 5}, **body)
    assert response.status_code == 200
    ((operation, variables, _),) = endpoint.executor.executed
    assert operation.name == "Private"
    assert variables == {"first": 5}


async def test_an_unknown_id_is_never_learned(endpoint: Endpoint):
    query = "{ n }"
    extensions = {"persistedQuery": {"version": 1, "sha256Hash": document_id(query)}}
    assert code(await endpoint.post(extensions=extensions)) == "PERSISTED_QUERY_NOT_FOUND"
    assert (await endpoint.post(query, extensions=extensions)).status_code == 200, "Apollo's second try has the text"
    assert code(await endpoint.post(extensions=extensions)) == "PERSISTED_QUERY_NOT_FOUND"
    assert code(await endpoint.post(documentId=document_id(query))) == "PERSISTED_QUERY_NOT_FOUND"
    assert len(endpoint.executor.executed) == 1


# GET


async def test_get_takes_trusted_queries_with_their_variables(endpoint: Endpoint):
    response = await endpoint.get(PRIVATE, variables='{"first":3}', operationName="Private", extensions="{}")
    assert response.status_code == 200
    assert response.headers["cache-control"] == "private, no-store"
    assert "etag" not in response.headers
    assert endpoint.executor.executed[0][1] == {"first": 3}

    chosen = await endpoint.get(BOTH, operationName="Other")
    assert chosen.status_code == 200
    assert endpoint.executor.executed[1][0].name == "Other"
    assert (await endpoint.get(PRIVATE, operationName="")).status_code == 200, "empty is absent"
    extensions = json.dumps({"persistedQuery": {"sha256Hash": document_id(PRIVATE)}})
    assert (await endpoint.client.get("/graphql", params={"extensions": extensions})).status_code == 200


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"query": "{ n }"},
        {"query": "{ n }", "documentId": document_id(PUBLIC)},
        {"documentId": document_id(PUBLIC), "variables": "[1]"},
        {"documentId": document_id(PUBLIC), "variables": "{"},
        {"documentId": document_id(PUBLIC), "variables": "\ud800".encode("utf-8", "surrogatepass")},
        {"documentId": document_id(PUBLIC), "extensions": "null"},
        {"documentId": document_id(PUBLIC)} | {f"a{n}": "1" for n in range(20)},
    ],
)
async def test_get_refuses_everything_else(endpoint: Endpoint, parameters: dict):
    response = await endpoint.client.get("/graphql", params=parameters)
    assert (response.status_code, code(response)) == (400, "BAD_REQUEST")
    assert response.headers["cache-control"] == "private, no-store"
    assert endpoint.executor.executed == []


@pytest.mark.parametrize("document", [WRITE, EVENTS])
async def test_get_changes_nothing(endpoint: Endpoint, document: str):
    response = await endpoint.get(document, {"accept": f"{RESPONSE}, text/event-stream"})
    assert (response.status_code, code(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"
    assert endpoint.executor.executed == []


async def test_public_answers_may_be_cached_and_revalidated(make_endpoint):
    endpoint = make_endpoint(public_cache_seconds=30)
    first = await endpoint.get(PUBLIC)
    assert first.status_code == 200
    assert first.headers["cache-control"] == "public, max-age=30"
    assert first.headers["vary"] == "accept, accept-encoding, origin"
    assert first.json() == {"data": {"item": {"id": "1"}}}, "nothing of this caller's: no price"
    assert not [name for name in first.headers if name.startswith("x-ratelimit")]
    etag = first.headers["etag"]
    for given in (etag, etag.removeprefix("W/"), f'"other", {etag}', "*"):
        again = await endpoint.get(PUBLIC, {"if-none-match": given})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert again.headers["cache-control"] == "public, max-age=30"
        assert "content-type" not in again.headers
    assert (await endpoint.get(PUBLIC, {"if-none-match": '"other"'})).status_code == 200

    endpoint.executor.answer = Answer(b'{"item":{"id":"2"}}')
    changed = await endpoint.get(PUBLIC, {"if-none-match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


async def test_a_public_answer_with_errors_is_not_cached(endpoint: Endpoint):
    endpoint.executor.answer = Answer(b'{"item":null}', [GraphQLError("not so", path=["item"])])
    response = await endpoint.get(PUBLIC)
    assert response.headers["cache-control"] == "private, no-store"
    assert "etag" not in response.headers


async def test_head_is_answered_like_get(endpoint: Endpoint):
    response = await endpoint.client.head("/graphql", params={"documentId": document_id(PUBLIC)})
    assert (response.status_code, response.headers["etag"][:3]) == (200, 'W/"')


async def test_the_ide_is_on_in_development_only(make_endpoint):
    accept = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    shown = await make_endpoint(development=True).client.get("/graphql", headers=accept)
    assert shown.status_code == 200
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "GraphiQL" in shown.text
    hidden = await make_endpoint().client.get("/graphql", headers=accept)
    assert (hidden.status_code, code(hidden)) == (404, "NOT_FOUND")


async def test_suggestions_and_introspection_follow_the_options(make_endpoint):
    closed, opened = make_endpoint(), make_endpoint(development=True, limits=Limits(introspection=True))
    query = "{ __schema { types { name } } }"
    assert code(await closed.post(query)) == "INTROSPECTION_OFF"
    assert closed.executor.executed == []
    assert (await opened.post(query)).status_code == 200
    assert "Did you mean" in (await opened.post("{ itme { id } }")).text
    assert "Did you mean" not in (await closed.post("{ itme { id } }")).text


# Events


async def stream_of(*answers: Answer) -> AsyncIterator[Answer]:
    for answer in answers:
        yield answer


async def test_a_subscription_is_a_stream_of_events(endpoint: Endpoint):
    two = [Answer(b'{"events":{"id":"1"}}'), Answer(b"null", [GraphQLError("not so", path=["events"])])]
    endpoint.executor.stream = lambda: stream_of(*two)
    response = await endpoint.post("subscription { events { id } }", "text/event-stream")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-ratelimit-limit"] == "2000"
    assert response.text == (
        'event: next\ndata: {"data":{"events":{"id":"1"}}}\n\n'
        'event: next\ndata: {"data":null,"errors":[{"message":"not so","path":["events"]}]}\n\n'
        "event: complete\ndata:\n\n"
    )


@pytest.mark.parametrize("accept", [None, RESPONSE, "application/json", "*/*", "text/event-stream;q=0, */*"])
async def test_a_subscription_without_the_header_is_told_which(endpoint: Endpoint, accept: str | None):
    response = await endpoint.post("subscription { events { id } }", accept)
    assert (response.status_code, code(response)) == (406, "NOT_ACCEPTABLE")
    assert "accept: text/event-stream" in response.json()["errors"][0]["message"]
    assert endpoint.executor.executed == []


@pytest.mark.parametrize("query", ["{ item { id } }", "mutation { write { item { id } } }"])
async def test_others_can_be_read_as_one_event(endpoint: Endpoint, query: str):
    endpoint.executor.answer = Answer(b'{"a" : 1, \r\n "b":"\\n"}')
    response = await endpoint.post(query, "text/event-stream")
    assert response.headers["content-type"].startswith("text/event-stream")
    event, end, rest = response.text.split("\n\n")
    assert event.startswith('event: next\ndata: {"data":{"a" : 1,  "b":"\\n"}')
    assert "\n" not in event.partition("data: ")[2]
    assert (end, rest) == ("event: complete\ndata:", "")


async def test_request_errors_come_as_an_event_too(endpoint: Endpoint):
    response = await endpoint.post("subscription { gone }", "text/event-stream")
    assert response.status_code == 200
    first, end, _ = response.text.split("\n\n")
    assert "Cannot query field" in json.loads(first.partition("data: ")[2])["errors"][0]["message"]
    assert end.startswith("event: complete")


async def test_events_are_never_compressed(endpoint: Endpoint):
    endpoint.executor.stream = lambda: stream_of(Answer(b'{"events":{"id":"' + b"1" * 5000 + b'"}}'))
    response = await endpoint.post(
        "subscription { events { id } }", "text/event-stream", headers={"accept-encoding": "gzip"}
    )
    assert "content-encoding" not in response.headers


async def test_a_fault_in_a_stream_is_its_last_event(endpoint: Endpoint):
    async def fail() -> AsyncIterator[Answer]:
        yield Answer(b'{"events":null}')
        raise ZeroDivisionError("secret detail")

    endpoint.executor.stream = fail
    response = await endpoint.post("subscription { events { id } }", "text/event-stream")
    _, fault, end, _ = response.text.split("\n\n")
    assert "secret detail" not in response.text
    (error,) = json.loads(fault.partition("data: ")[2])["errors"]
    assert error["extensions"]["code"] == "INTERNAL_ERROR"
    assert error["extensions"]["requestId"] == response.headers["x-request-id"]
    assert end.startswith("event: complete")


@dataclass
class Source:
    """Events that come when the test says so, for any number of streams. `closed` is set when one ends."""

    events: asyncio.Queue[Answer] = field(default_factory=asyncio.Queue)
    closed: bool = False

    async def stream(self) -> AsyncIterator[Answer]:
        try:
            while True:
                yield await self.events.get()
        finally:
            self.closed = True


async def test_a_client_that_leaves_ends_the_stream_at_once(endpoint: Endpoint):
    source = Source()
    endpoint.executor.stream = source.stream
    listener = Listener(endpoint.app, "a")
    await source.events.put(Answer(b'{"events":null}'))
    async with asyncio.timeout(5):
        assert (await listener.messages.get())["type"] == "http.response.start"
        assert (await listener.messages.get())["body"].startswith(b"event: next")
        assert not source.closed
        await listener.leave()
    assert source.closed
    assert listener.messages.empty(), "nobody hears a `complete`"


async def test_a_request_that_is_cancelled_ends_the_stream(endpoint: Endpoint):
    source = Source()
    endpoint.executor.stream = source.stream
    listener = Listener(endpoint.app, "a")
    async with asyncio.timeout(5):
        await listener.messages.get()
        listener.task.cancel()
        await asyncio.wait([listener.task])
    assert source.closed


async def test_a_connection_that_breaks_ends_the_stream(endpoint: Endpoint):
    source = Source()
    endpoint.executor.stream = source.stream
    await source.events.put(Answer(b'{"events":null}'))
    body = json.dumps({"query": "subscription { events { id } }"}).encode()
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        for message in requests:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            raise OSError("broken pipe")

    headers = [(b"content-type", b"application/json"), (b"accept", b"text/event-stream")]
    with pytest.raises(OSError, match="broken pipe"):
        await endpoint.app(scope_of("POST", headers), receive, send)
    assert source.closed


async def test_a_silent_stream_is_kept_alive(endpoint: Endpoint, monkeypatch):
    monkeypatch.setattr(tunery.graphql.event_stream, "KEEP_ALIVE_SECONDS", 0.01)
    source = Source()
    endpoint.executor.stream = source.stream
    listener = Listener(endpoint.app, "a")
    async with asyncio.timeout(5):
        await listener.messages.get()
        for _ in range(2):
            assert await listener.messages.get() == {"type": "http.response.body", "body": b":\n\n", "more_body": True}
        await source.events.put(Answer(b'{"events":null}'))
        while (message := await listener.messages.get())["body"] == b":\n\n":
            pass
        assert message["body"] == b'event: next\ndata: {"data":{"events":null}}\n\n'
        await listener.leave()


async def test_a_key_has_so_many_subscriptions_open_at_once(make_endpoint):
    endpoint = make_endpoint(subscriptions=2)
    endpoint.executor.stream = Source().stream
    async with asyncio.timeout(5):
        first, second = Listener(endpoint.app, "a"), Listener(endpoint.app, "a")
        for listener in (first, second):
            assert (await listener.messages.get())["status"] == 200
        refused = await endpoint.post(
            "subscription { events { id } }", "text/event-stream", headers={"authorization": "a"}
        )
        assert (refused.status_code, code(refused)) == (429, "TOO_MANY_SUBSCRIPTIONS")
        assert "up to 2 subscriptions of an API key" in refused.text
        assert len(endpoint.executor.executed) == 2
        others = Listener(endpoint.app, "b")
        assert (await others.messages.get())["status"] == 200, "another key"
        assert (await endpoint.post("{ n }", headers={"authorization": "a"})).status_code == 200, "no subscription"

        await first.leave()
        third = Listener(endpoint.app, "a")
        assert (await third.messages.get())["status"] == 200
        for listener in (second, third, others):
            await listener.leave()
        endpoint.executor.stream = None  # an answer instead of a stream takes no place for long
        for _ in range(3):
            ended = await endpoint.post(
                "subscription { events { id } }", "text/event-stream", headers={"authorization": "a"}
            )
            assert ended.status_code == 200


async def test_a_tenant_has_so_many_subscriptions_open_at_once_however_many_keys(make_endpoint):
    endpoint = make_endpoint(subscriptions=1)
    endpoint.executor.stream = Source().stream
    tenant = uuid4()
    endpoint.remembered.update({key: Identity(tenant, uuid4(), uuid4()) for key in "abc"})
    async with asyncio.timeout(5):
        first, second, others = (Listener(endpoint.app, key) for key in ("a", "b", "of another tenant"))
        for listener in (first, second, others):
            assert (await listener.messages.get())["status"] == 200
        refused = await endpoint.post(EVENTS, "text/event-stream", headers={"authorization": "c"})
        assert (refused.status_code, code(refused)) == (429, "TOO_MANY_SUBSCRIPTIONS")
        assert "up to 2 subscriptions of an organisation" in refused.text
        assert len(endpoint.executor.executed) == 3

        await first.leave()
        third = Listener(endpoint.app, "c")
        assert (await third.messages.get())["status"] == 200
        for listener in (second, third, others):
            await listener.leave()


# Prices


def price(response: httpx.Response) -> dict[str, int]:
    return response.json()["extensions"]["cost"]


async def test_every_executed_answer_says_what_it_cost_and_the_rest_is_given_back(make_endpoint):
    endpoint = make_endpoint(points=1000, points_per_second=0.001)
    headers = {"authorization": secrets.token_hex(8)}
    endpoint.executor.answer = Answer(b'{"items":[{"id":"1"},{"id":"2"}]}')
    first = await endpoint.post("{ items(first: 50) { id } }", headers=headers)
    left = 1000 - READING_POINTS - 2
    assert price(first) == {"requested": 50, "actual": 2, "remaining": left, "limit": 1000}
    assert first.headers["x-ratelimit-limit"] == "1000"
    assert first.headers["x-ratelimit-remaining"] == str(left)
    assert int(first.headers["x-ratelimit-reset"]) > 0
    second = await endpoint.post("{ items(first: 50) { id } }", headers=headers)
    assert price(second)["remaining"] == left - 2, "a document that is known needs no reading"


@pytest.mark.parametrize(
    ("query", "data", "requested", "actual"),
    [
        ("{ item { totalCount } }", b'{"item":{"totalCount":7}}', 11, 11),
        ("{ items { n: totalCount } }", b'{"items":[]}', 220, 200),
        ("{ n }", b'{"n":1}', 1, 1),
        ("{ item { id } }", b'{"item":null}', 1, 1),
        ("{ items { id } }", b'{"items":[]}', 20, 1),
        ("{ items { id } }", b'{"items":[{"id":"{{{"}]}', 20, 4),
        ("{ item { id } }", b'{"item":{"id":"{{{{"}}', 1, 1),
        ("mutation { write { item { id } } }", b'{"write":{"item":null}}', 12, 11),
        ("mutation { a: write { item { id } } b: write { item { id } } }", b"null", 24, 19 + 0),
    ],
)
async def test_what_came_is_what_it_costs(endpoint: Endpoint, query: str, data: bytes, requested: int, actual: int):
    endpoint.executor.answer = Answer(data, [GraphQLError("x", path=["a"])] if data == b"null" else [])
    cost = price(await endpoint.post(query))
    assert (cost["requested"], cost["actual"]) == (requested, actual)


async def test_who_has_spent_everything_waits(make_endpoint):
    endpoint = make_endpoint(anonymous_points=30, anonymous_points_per_second=0.5)
    assert (await endpoint.post("{ items { id } }")).status_code == 200  # 10 to read it, 1 in the end
    endpoint.executor.answer = Answer(b'{"items":[' + b",".join([b"{}"] * 19) + b"]}")
    assert (await endpoint.get(PRIVATE, variables='{"first":19}')).status_code == 200
    count = len(endpoint.executor.executed)
    for accept in (RESPONSE, "application/json", "text/event-stream"):
        response = await endpoint.post("{ items { id } }", accept)
        assert (response.status_code, code(response)) == (429, "RATE_LIMITED")
        assert int(response.headers["retry-after"]) > 10
        assert response.headers["x-ratelimit-limit"] == "30"
        assert int(response.headers["x-ratelimit-remaining"]) < 20
    assert len(endpoint.executor.executed) == count
    other = make_endpoint(anonymous_points=30, anonymous_points_per_second=0.5)
    assert (await other.post("{ items { id } }")).status_code == 200, "another address has a bucket of its own"


async def test_documents_that_are_refused_cost_their_reading(make_endpoint):
    endpoint = make_endpoint(anonymous_points=25, anonymous_points_per_second=0.001)
    statuses = [(await endpoint.post(f"{{ gone{n} }}", RESPONSE)).status_code for n in range(3)]
    assert statuses == [400, 400, 429]
    assert (await endpoint.post("{ gone0 }", RESPONSE)).status_code == 400, "read before: nothing is left to pay"


async def test_reading_and_planning_are_paid(make_endpoint):
    endpoint = make_endpoint(anonymous_points=1000, anonymous_points_per_second=0.001)
    query = "query($first: Int!) { items(first: $first) { id } }"

    async def left(text: str, **variables: Any) -> int:
        return (await endpoint.post(text, variables=variables)).json()["extensions"]["cost"]["remaining"]

    endpoint.executor.answer = Answer(b'{"items":[{}]}')
    assert await left(query, first=3) == 1000 - READING_POINTS - 1
    assert await left(query, first=3) == 1000 - READING_POINTS - 2
    assert await left(query, first=4) == 1000 - 2 * READING_POINTS - 3, "another page size is another plan"
    assert await left(query, first=4) == 1000 - 2 * READING_POINTS - 4
    longer = query + " " * 2_000
    assert await left(longer, first=4) == 1000 - 5 * READING_POINTS - 5, "the longer, the dearer"
    assert await left(longer, first=5) == 1000 - 8 * READING_POINTS - 6, "as another plan of it is"


async def test_remembered_requests_are_bounded_by_their_bytes(api: Api, monkeypatch):
    monkeypatch.setattr("tunery.graphql.endpoint.MOST_REMEMBERED", 100)
    app: Any = api.client._transport.app  # type: ignore[attr-defined]
    while not isinstance(app, GraphQLEndpoint):
        app = getattr(app, "_graphql", None) or app._app
    for number in range(6):
        await api.graphql(f"{{ listings {{ totalCount }} }} #{number}")
    assert 0 < sum(map(len, app._prepared)) <= 100
    assert app._prepared_bytes == sum(map(len, app._prepared))


async def test_an_operation_beyond_the_limit_of_nodes_is_refused(make_endpoint):
    endpoint = make_endpoint(limits=Limits(nodes=50))
    query = "query($n: Int!) { items(first: $n) { owner { id } } }"
    assert (await endpoint.post(query, variables={"n": 25})).status_code == 200
    refused = await endpoint.post(query, RESPONSE, variables={"n": 26})
    assert (refused.status_code, code(refused)) == (400, "QUERY_TOO_EXPENSIVE")
    assert "may cost 50 points, this one costs 52" in refused.json()["errors"][0]["message"]
    assert len(endpoint.executor.executed) == 1
    assert (await endpoint.post(documentId=document_id(PRIVATE), variables={"first": 60})).status_code == 200, "trusted"


async def test_what_no_bucket_holds_is_too_expensive_rather_than_too_early(make_endpoint):
    endpoint = make_endpoint(anonymous_points=30)
    for body in (
        {"query": "{ items(first: 31) { id } }"},
        {"documentId": document_id(PRIVATE), "variables": {"first": 31}},
    ):
        assert code(await endpoint.post(**body)) == "QUERY_TOO_EXPENSIVE"


async def test_a_document_that_no_bucket_pays_for_is_too_expensive_as_well(make_endpoint):
    endpoint = make_endpoint(anonymous_points=30)
    for accept, status in ((RESPONSE, 400), ("application/json", 200)):
        response = await endpoint.post("{ n }" + " " * 3_000, accept)
        assert (response.status_code, code(response)) == (status, "QUERY_TOO_EXPENSIVE")
        assert "this costs 40 points, and there are never more than 30" in response.text
        assert "retry-after" not in response.headers
    assert endpoint.executor.executed == []


async def test_guessed_keys_are_looked_up_as_long_as_their_address_has_points(make_endpoint):
    endpoint = make_endpoint(anonymous_points=2 * UNKNOWN_KEY_POINTS + 4, anonymous_points_per_second=0.001)

    async def status(key: str) -> int:
        return (await endpoint.get(PUBLIC, {"authorization": key})).status_code

    assert await status("mine") == 200
    assert [await status(f"guessed {n}") for n in range(4)] == [200, 200, 429, 429], "public fields are everybody's"
    assert endpoint.looked_up == ["mine", "guessed 0", "guessed 1"]
    assert await status("mine") == 200, "who is remembered needs no points of the address"
    refused = await endpoint.get(PUBLIC, {"authorization": "another valid one"})
    assert (refused.status_code, code(refused)) == (429, "RATE_LIMITED")
    assert "looking up an API key costs 5 points, 4 of 14 are left" in refused.text
    assert int(refused.headers["retry-after"]) > 1


async def test_valid_keys_are_looked_up_for_nothing(make_endpoint):
    endpoint = make_endpoint(anonymous_points=UNKNOWN_KEY_POINTS, anonymous_points_per_second=0.001)
    for n in range(5):
        assert (await endpoint.get(PRIVATE, {"authorization": f"valid {n}"})).status_code == 200
    endpoint.remembered.clear()
    assert (await endpoint.get(PRIVATE, {"authorization": "valid 0"})).status_code == 200
    assert len(endpoint.looked_up) == 6


async def test_queries_without_a_key_leave_the_points_for_looking_up_keys(make_endpoint):
    endpoint = make_endpoint(anonymous_points=UNKNOWN_KEY_POINTS, anonymous_points_per_second=0.001)
    statuses = [(await endpoint.get(PUBLIC)).status_code for _ in range(UNKNOWN_KEY_POINTS + 1)]
    assert statuses == [200] * UNKNOWN_KEY_POINTS + [429]
    assert (await endpoint.get(PRIVATE, {"authorization": "valid"})).status_code == 200


async def test_a_key_is_not_to_blame_when_the_database_is_down(make_endpoint):
    endpoint = make_endpoint(anonymous_points=UNKNOWN_KEY_POINTS, anonymous_points_per_second=0.001)
    for _ in range(2):
        assert (await endpoint.get(PRIVATE, {"authorization": "down"})).status_code == 503
    assert (await endpoint.get(PRIVATE, {"authorization": "valid"})).status_code == 200
    assert endpoint.looked_up == ["down", "down", "valid"]


async def test_keys_are_looked_up_however_small_the_bucket_of_an_address(make_endpoint):
    endpoint = make_endpoint(anonymous_points=1)
    assert (await endpoint.get(PRIVATE, {"authorization": "valid"})).status_code == 200


async def test_a_tenant_s_keys_share_twice_a_key_s_points():
    options = GraphQLOptions(points=100, points_per_second=5, anonymous_points=10, anonymous_points_per_second=1)
    identity = Identity(UUID(int=1), UUID(int=2), UUID(int=3))
    key, tenant = buckets_of(identity, "192.0.2.1", options)
    assert (key.name, key.capacity, key.per_second) == (f"key:{{{UUID(int=1)}}}:{UUID(int=2)}", 100, 5)
    assert (tenant.name, tenant.capacity, tenant.per_second) == (f"tenant:{{{UUID(int=1)}}}", 200, 10)
    (address,) = buckets_of(None, "192.0.2.1", options)
    assert (address.name, address.capacity, address.per_second) == ("address:192.0.2.1", 10, 1)


def test_an_ipv6_client_is_known_by_its_network():
    options = GraphQLOptions()
    names = {
        buckets_of(None, client, options)[0].name for client in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:0:9::")
    }
    assert names == {"address:2001:db8::/64"}
    assert buckets_of(None, "2001:db8:0:1::1", options)[0].name == "address:2001:db8:0:1::/64"


@pytest.mark.parametrize("client", ["192.0.2.1", "::ffff:192.0.2.1", "::ffff:c000:201"])
def test_an_ipv4_client_is_known_by_its_address_on_a_socket_for_both_kinds(client: str):
    assert buckets_of(None, client, GraphQLOptions())[0].name == "address:192.0.2.1"
    assert lookup_of_key(client, GraphQLOptions())[0].name == "lookups:192.0.2.1"


# Compression


@pytest.mark.parametrize(
    ("given", "compressed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("*", True),
        ("*;q=0, gzip", True),
        (None, False),
        ("", False),
        ("br", False),
        ("gzip;q=0, *", False),
        ("gzip;q=0.000", False),
    ],
)
async def test_long_answers_are_compressed_for_who_can_read_it(endpoint: Endpoint, given: str | None, compressed: bool):
    data = b'{"item":{"id":"' + b"text " * 1000 + b'"}}'
    endpoint.executor.answer = Answer(data)
    headers = [(b"content-type", b"application/json")]
    if given is not None:
        headers.append((b"accept-encoding", given.encode()))
    start, body = await raw_post(endpoint, headers, b'{"query":"{ item { id } }"}')
    fields = dict(start["headers"])
    assert (fields.get(b"content-encoding") == b"gzip") is compressed
    assert fields[b"content-length"] == str(len(body)).encode()
    assert json.loads(gzip.decompress(body) if compressed else body)["data"] == json.loads(data)


async def test_very_long_answers_are_compressed_as_well(endpoint: Endpoint):
    endpoint.executor.answer = Answer(b'{"n":"' + b"text " * 100_000 + b'"}')
    response = await endpoint.post("{ n }", headers={"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    assert len(response.json()["data"]["n"]) == 500_000


async def test_short_answers_are_not_compressed(endpoint: Endpoint):
    response = await endpoint.post("{ item { id } }", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in response.headers


async def test_an_etag_is_the_same_compressed_or_not(endpoint: Endpoint):
    endpoint.executor.answer = Answer(b'{"item":{"id":"' + b"text " * 1000 + b'"}}')
    plain, packed = await endpoint.get(PUBLIC), await endpoint.get(PUBLIC, {"accept-encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["etag"] == packed.headers["etag"]


async def raw_post(endpoint: Endpoint, headers: list[tuple[bytes, bytes]], body: bytes) -> tuple[dict, bytes]:
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        messages.append(message)

    await endpoint.app(scope_of("POST", headers), receive, send)
    start, answer = messages
    return start, answer["body"]


# The whole application


async def test_committed_operations_are_called_by_the_sha256_of_their_file(api: Api, sign_up):
    tenant = await sign_up()
    text = committed_operations()["Organisation.graphql"]
    identifier = hashlib.sha256(text.encode()).hexdigest()
    response = await api.client.get("/graphql", params={"documentId": identifier}, headers=tenant.headers)
    assert response.status_code == 200
    assert response.json()["data"]["organisation"]["slug"] == tenant.slug
    assert response.headers["cache-control"] == "private, no-store"


async def test_cross_origin_calls_are_off_unless_an_origin_is_set(services: Services, settings: Settings, api: Api):
    asked = {"origin": "https://console.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in (await api.client.options("/graphql", headers=asked)).headers

    allowing = Services()
    allowing._parts = {
        **services._parts,
        Settings: settings.model_copy(update={"cors_origins": "https://console.example/, https://b.example"}),
    }
    app = create_app(allowing)
    assert isinstance(app, Application)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://tunery.test") as client:
        for path in ("/graphql", "/v1/models"):
            allowed = await client.options(path, headers=asked)
            assert allowed.status_code == 200
            assert allowed.headers["access-control-allow-origin"] == "https://console.example"
            assert allowed.headers["x-request-id"].startswith("req_")
            foreign = await client.options(path, headers=asked | {"origin": "https://evil.example"})
            assert "access-control-allow-origin" not in foreign.headers
        answered = await client.post(
            "/graphql", json={"query": "{ __typename }"}, headers={"origin": "https://b.example"}
        )
        assert answered.headers["access-control-allow-origin"] == "https://b.example"
        assert "x-ratelimit-remaining" in answered.headers["access-control-expose-headers"]


async def test_production_is_closed_unless_development_is_asked_for(services: Services, settings: Settings, api: Api):
    query = {"query": "{ __schema { queryType { name } } }"}
    assert code(await api.client.post("/graphql", json=query)) == "INTROSPECTION_OFF"
    assert (await api.client.get("/graphql", headers={"accept": "text/html"})).status_code == 404
    opened = Services()
    opened._parts = {**services._parts, Settings: settings.model_copy(update={"environment": "development"})}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(opened)), base_url="http://t") as client:
        assert (await client.post("/graphql", json=query)).json()["data"] == {
            "__schema": {"queryType": {"name": "Query"}}
        }
        assert "GraphiQL" in (await client.get("/graphql", headers={"accept": "text/html"})).text
        assert "Did you mean" in (await client.post("/graphql", json={"query": "{ organisatio { id } }"})).text


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ({}, "development"),
        ({"host": "::1"}, "development"),
        ({"environment": "production"}, "production"),
        ({"host": "192.0.2.1"}, "production"),
        ({"public_url": "https://api.example.com"}, "production"),
        ({"host": "192.0.2.1", "environment": "development"}, "development"),
    ],
)
def test_tunery_up_is_open_only_where_nobody_else_can_call(given: dict[str, Any], environment: str):
    assert Settings(_env_file=None).environment == "production"
    up = Up(Settings(_env_file=None, **given))
    assert up.settings.environment == environment
    assert setting_texts(up.settings, without=set())["environment"] == environment, "as its processes get it"
