"""What attackers try on GraphQL servers: each check of graphql-cop (https://github.com/dolevf/graphql-cop) and each item of
OWASP's GraphQL cheat sheet (https://cheatsheetseries.owasp.org/cheatsheets/GraphQL_Cheat_Sheet.html), on the whole
application in its production setting.

Beside each check stands a flaw: the same application with one protection off. The check passes the one and must fail on
the other, so that none passes for want of trying.
"""

import asyncio
import contextlib
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from graphql import GraphQLError, GraphQLField, GraphQLInputObjectType, get_named_type, is_required_argument

import tunery.app.application
import tunery.graphql.requests
import tunery.tenants.remembered_keys
from tests.app.shops import Shops, open_shops
from tunery.app.application import Application
from tunery.app.schema import core_schema
from tunery.core import ids
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.graphql.access import PUBLIC
from tunery.graphql.context import Context
from tunery.graphql.documents import Operation
from tunery.graphql.endpoint import GraphQLEndpoint
from tunery.graphql.planner.mapping import declared_of
from tunery.graphql.planner.planner import Planner
from tunery.graphql.requests import GraphQLRequest
from tunery.tenants.api_keys import generate_secret
from tunery.tenants.remembered_keys import RememberedKeys

ANSWER_BYTES = 5_000
"""More than any refusal has reason to be."""
SECONDS = 1.0
"""Of this process's own time, in which every attack is refused."""
SLEEP = 20
"""Seconds that an injected statement would take."""

Flaw = Callable[[pytest.MonkeyPatch, Shops], None]


@dataclass
class Site:
    """The application under attack, the organisation that attacks, and one that is attacked."""

    client: httpx.AsyncClient
    mine: Any
    theirs: Any
    services: Services
    patch: pytest.MonkeyPatch
    """For what a check needs to go wrong."""

    async def send(self, query: str, tenant: Any = None, /, **variables: Any) -> httpx.Response:
        return await self.post(json.dumps({"query": query, "variables": variables}), tenant)

    async def post(self, body: str | bytes, tenant: Any = None, kind: str = "application/json") -> httpx.Response:
        headers = {"content-type": kind, **(tenant.headers if tenant else {})}
        return await self.client.post("/graphql", content=body, headers=headers)


def codes(response: httpx.Response) -> set[str | None]:
    return {error.get("extensions", {}).get("code") for error in response.json().get("errors", [])}


def assert_refused(response: httpx.Response, code: str | None = None) -> None:
    assert 400 <= response.status_code < 500, response.text
    assert code == "RATE_LIMITED" or response.status_code != 429, "it says nothing about the attack"
    assert "data" not in response.json(), response.text
    assert code is None or codes(response) == {code}, response.text
    assert len(response.content) < ANSWER_BYTES


def assert_harmless(response: httpx.Response) -> None:
    """Answered or refused, but nothing broke."""
    assert response.status_code < 500, response.text
    assert response.status_code != 429, "it says nothing about the attack"
    assert not {"INTERNAL_ERROR", "UNAVAILABLE"} & codes(response), response.text


# Flaws


def options(**changes: Any) -> Flaw:
    def make(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
        sound = tunery.app.application.graphql_options
        patch.setattr("tunery.app.application.graphql_options", lambda settings: replace(sound(settings), **changes))

    return make


def limits(**changes: Any) -> Flaw:
    def make(patch: pytest.MonkeyPatch, shops: Shops) -> None:
        options(limits=replace(tunery.app.application.Limits(), **changes))(patch, shops)

    return make


def patched(target: str, value: Any) -> Flaw:
    return lambda patch, _shops: patch.setattr(target, value)


def all_of(*flaws: Flaw) -> Flaw:
    def make(patch: pytest.MonkeyPatch, shops: Shops) -> None:
        for flaw in flaws:
            flaw(patch, shops)

    return make


def unchecked(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
    """Variables go to the database as they come."""
    patch.setattr(Operation, "takes_as_they_are", lambda _self, _variables: True)


def forged(patch: pytest.MonkeyPatch, shops: Shops) -> None:
    """Everybody is taken for the organisation that is attacked."""

    async def confirm(_self: Any, _authorization: str | None) -> Any:
        return shops.other.identity

    def context(services: Any, request_id: str, *_: Any) -> Context:
        return Context(services, request_id, shops.other.identity, None)

    patch.setattr(RememberedKeys, "confirm", confirm)
    patch.setattr("tunery.graphql.endpoint.Context", context)


def pasting(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
    """Values are pasted into the SQL between quotes."""
    sound = Reader.value

    async def value(self: Reader, sql: str, values: list[Any]) -> Any:
        for position, given in enumerate(values, 1):
            if isinstance(given, str):
                pasted = f"('{given}' || left(${position}::text, 0))::"
                sql = re.sub(rf"\${position}::(?=TEXT|VARCHAR)", lambda _match, pasted=pasted: pasted, sql)
        return await sound(self, sql, values)

    patch.setattr(Reader, "value", value)


async def read_anything(_headers: Any, receive: Callable[[], Awaitable[Any]]) -> bytes:
    """Whatever the content-type."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


def decode_anything(body: bytes) -> GraphQLRequest:
    """Forms, JSON, and lists of requests, of which the last one counts."""
    given = json.loads(body) if body.lstrip()[:1] in b"[{" else dict(parse_qsl(body.decode()))
    given = given[-1] if isinstance(given, list) else given
    return GraphQLRequest(given["query"], given.get("operationName"), given.get("variables"))


def get_anything(query_string: bytes) -> GraphQLRequest:
    return GraphQLRequest(dict(parse_qsl(query_string.decode()))["query"])


def raw_errors(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
    patch.setattr("tunery.graphql.executor.public_error", lambda error, _request_id: error)
    patch.setattr("tunery.graphql.executor.as_error", lambda fault, _request_id: GraphQLError(str(fault)))


def tracing(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
    """Apollo's tracing extension on each answer."""
    patch.setattr(
        "tunery.graphql.endpoint._send", _rewriting(b'"extensions":{', b'"extensions":{"tracing":{"version":1},')
    )


def _rewriting(old: bytes, new: bytes) -> Callable[..., Awaitable[None]]:
    sound = tunery.graphql.endpoint._send

    async def send(exchange: Any, status: int, media: Any, body: bytes, headers: Any) -> None:
        await sound(exchange, status, media, body.replace(old, new), headers)

    return send


# graphql-cop's checks


async def check_alias_overloading(site: Site) -> None:
    aliases = " ".join(f"alias{n}: __typename" for n in range(101))
    assert_refused(await site.send(f"query cop {{ {aliases} }}", site.mine))


async def check_array_batching(site: Site) -> None:
    body = json.dumps([{"query": "query cop { __typename }"}] * 10)
    assert_refused(await site.post(body, site.mine), "BATCHING_OFF")


async def check_circular_introspection(site: Site) -> None:
    nested = "fields { type { " * 4 + "name" + " } }" * 4
    assert_refused(await site.send(f"query cop {{ __schema {{ types {{ {nested} }} }} }}", site.mine))


async def check_directive_overloading(site: Site) -> None:
    one_place = await site.send(f"query cop {{ __typename {'@aa' * 10} }}", site.mine)
    assert_refused(one_place, "DUPLICATE_DIRECTIVE")
    assert len(one_place.json()["errors"]) == 1
    everywhere = " ".join("... @include(if: true) { __typename }" for _ in range(100))
    assert "TOO_MANY_DIRECTIVES" in codes(await site.send(f"{{ {everywhere} }}", site.mine))


async def check_field_duplication(site: Site) -> None:
    """500 times the same field, at the root and (where comparing each with each other takes a second) below it."""
    for document in (
        "query cop { " + "__typename \n" * 500 + "}",
        "{ apiKeys { " + "edges { node { id } } " * 250 + "} }",
        "{ apiKeys { " + "... { edges { node { id } } } " * 200 + "} }",
        "{ apiKeys { " + "...F " * 20 + "} } fragment F on ApiKeyConnection { " + "edges { node { id } } " * 200 + "}",
    ):
        began = time.process_time()
        assert_refused(await site.send(document, site.mine))
        assert time.process_time() - began < SECONDS


async def check_circular_fragments(site: Site) -> None:
    circle = "query cop { ...A } fragment A on Query { ...B } fragment B on Query { ...A }"
    assert_refused(await site.send(circle, site.mine))


async def check_field_suggestions(site: Site) -> None:
    for document in (
        "query cop { __schema { directive } }",
        "{ organisatio { id } }",
        "{ listings(firts: 1) { totalCount } }",
        "{ node(id: 1) { ... on Listin { id } } }",
        'mutation { createApiKey(input: {nam: "x"}) { secret } }',
        "query($input: CreateApiKeyInput!) { __typename }",
    ):
        response = await site.send(document, site.mine, input={"nam": "x"})
        assert "Did you mean" not in response.text
        assert_harmless(response)


async def check_queries_by_get(site: Site) -> None:
    assert_refused(await site.client.get("/graphql", params={"query": "query cop { __typename }"}), "BAD_REQUEST")


async def check_mutations_by_get(site: Site) -> None:
    assert_refused(await site.client.get("/graphql", params={"query": "mutation cop { __typename }"}))


async def check_url_encoded_posts(site: Site) -> None:
    form = await site.client.post("/graphql", data={"query": "query cop { __typename }"})
    assert_refused(form, "UNSUPPORTED_MEDIA_TYPE")


async def check_graphiql(site: Site) -> None:
    page = await site.client.get("/graphql", headers={"accept": "text/html"})
    assert page.status_code == 404
    for word in ("graphiql", "playground"):
        assert word not in page.text.lower()


async def check_introspection(site: Site) -> None:
    for document in (
        "query cop { __schema { types { name fields { name } } } }",
        '{ a: __type(name: "Query") { name } }',
        "{ ...F } fragment F on Query { ... { __schema { queryType { name } } } }",
    ):
        assert_refused(await site.send(document, site.mine), "INTROSPECTION_OFF")


async def check_tracing(site: Site) -> None:
    response = await site.send("query cop { __typename }", site.mine)
    assert response.json()["data"] == {"__typename": "Query"}
    assert response.json()["extensions"].keys() == {"cost"}


async def check_unhandled_errors(site: Site) -> None:
    """A document that is none, and a resolver that breaks down."""
    for response in (await site.send("qwerty cop { abc }", site.mine), await break_down(site)):
        assert "exception" not in response.text.lower()
        assert "Traceback" not in response.text
        assert "secret detail" not in response.text


async def break_down(site: Site) -> httpx.Response:
    async def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("secret detail")

    site.patch.setattr("tunery.billing.statements.current_statement", fail)
    return await site.send("{ usage { meter } }", site.mine)


# OWASP's items


WRONG_VALUES: tuple[Any, ...] = (True, 1.5, "x", [], [1], {"a": 1}, None, -1, 0, 2**31, 2**63, 10**400)


async def check_input_validation(site: Site) -> None:
    """Values of wrong types and out of range: refused, never passed on."""
    for value in WRONG_VALUES:
        page = await site.send("query($n: Int) { apiKeys(first: $n) { nodes { id } } }", site.mine, n=value)
        assert_harmless(page)
        assert value is None or page.json().get("data") is None, value
        assert_harmless(await site.send("query($id: ID!) { trainingJob(id: $id) { id } }", site.mine, id=value))
        assert_harmless(await site.send("query($t: String) { listings(text: $t) { totalCount } }", None, t=value))
        assert_harmless(await site.send("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", site.mine, ids=[value]))


META = (
    "'",
    "' OR '1'='1",
    "'; DROP TABLE listings; --",
    '"',
    "\\",
    f"\\'; SELECT pg_sleep({SLEEP}); --",
    "$1",
    "$$",
    "%s %(x)s {0} :name ::text",
    "*/ /*",
    "\u2028\u0000",
    "%' AND 1=1 --",
    "()&|!:* <-> '''",
)


async def check_sql_injection(site: Site) -> None:
    """SQL's meta-characters in every argument of every root field, and in every field of its input."""
    for field in ROOTS:
        for text in META:
            began = time.perf_counter()
            await send_everywhere(site, field, text)
            assert time.perf_counter() - began < SLEEP / 2
    everything = await site.send('{ listings(text: "Number") { totalCount } }')
    assert everything.json()["data"]["listings"]["totalCount"] > 0, "the table is there"
    for text in ("' OR '1'='1", "x') OR true --"):
        found = await site.send("query($t: String) { listings(baseModel: $t) { totalCount } }", t=text)
        assert found.json()["data"]["listings"]["totalCount"] == 0


ROOTS: list[tuple[str, str, GraphQLField]] = [
    (kind, name, field)
    for kind, root in (("query", core_schema.query_type), ("mutation", core_schema.mutation_type))
    for name, field in root.fields.items()
    if field.args
]


SELECTIONS = {
    "userErrors": "userErrors { code }",
    "totalCount": "nodes { __typename } pageInfo { endCursor } totalCount",
    "id": "id",
    "fingerprint": "fingerprint",
    "legs": "legs",
    "hasNextPage": "hasNextPage",
}


async def send_everywhere(site: Site, root: tuple[str, str, GraphQLField], text: str) -> None:
    """In one argument after the other, what is required always: a bad cursor would keep the rest from the database."""
    kind, name, field = root
    required = [argument for argument, definition in field.args.items() if is_required_argument(definition)]
    # So that the database has to look: what isn't selected isn't read.
    names = get_named_type(field.type).fields
    selection = next(part for name, part in SELECTIONS.items() if name in names)
    for optional in [argument for argument in field.args if argument not in required] or [None]:
        given = {each: value_of(field.args[each].type, text) for each in [*required, *([optional] if optional else [])]}
        declared = ", ".join(f"${argument}: {field.args[argument].type}" for argument in given)
        passed = ", ".join(f"{argument}: ${argument}" for argument in given)
        document = f"{kind}({declared}) {{ {name}({passed}) {{ {selection} }} }}"
        assert_harmless(await site.send(document, site.mine, **given))


def value_of(kind: Any, text: str) -> Any:
    named = get_named_type(kind)
    if isinstance(named, GraphQLInputObjectType):
        return {name: value_of(field.type, text) for name, field in named.fields.items() if wanted(field)}
    value = {"Int": 2, "Float": 0.5, "Boolean": True, "DateTime": "2026-01-01T00:00:00Z"}.get(named.name, text)
    return [value] if str(kind).startswith("[") else value


def wanted(field: Any) -> bool:
    return is_required_argument(field) or get_named_type(field.type).name in ("String", "ID")


async def check_nul(site: Site) -> None:
    for text in ("\0", "a\0b"):
        for root in ROOTS:
            await send_everywhere(site, root, text)


async def check_unicode(site: Site) -> None:
    """Half a surrogate pair is no character; others that look odd are."""
    for text in ("\ud800", "a\udfffb", "\U0010ffff", "\ufeff", "\u202e", "e\u0301", "\uffff"):
        for root in ROOTS:
            await send_everywhere(site, root, text)


async def check_depth(site: Site) -> None:
    for deep in (
        "{ " + "a { " * 13 + "b" + " }" * 14,
        "{ ...F } fragment F on Query { " + "a { " * 13 + "b" + " }" * 14,
    ):
        assert "DOCUMENT_TOO_DEEP" in codes(await site.send(deep, site.mine))
    deeper = await site.send("{ " + "a { " * 900 + "b" + " }" * 901, site.mine)
    assert_refused(deeper)


async def check_amounts(site: Site) -> None:
    for document in (
        "{ apiKeys(first: 101) { nodes { id } } }",
        "{ apiKeys(last: 1000000) { totalCount } }",
        "{ listings(first: 1) { nodes { versions(first: 101) { number } } } }",
    ):
        assert codes(await site.send(document, site.mine)) == {"INVALID_INPUT"}
    many = [ids.encode("listing", site.theirs.tenant_id)] * 101
    response = await site.send("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", site.mine, ids=many)
    assert codes(response) == {"INVALID_INPUT"}


async def check_timeouts(site: Site) -> None:
    async def dawdle(*_arguments: object) -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    site.patch.setattr("tunery.billing.statements.current_statement", dawdle)
    site.patch.setattr("tunery.graphql.executor.QUERY_SECONDS", 0.1)
    assert codes(await site.send("{ usage { meter } }", site.mine)) == {"TOO_SLOW"}
    reader = site.services.get(Planner)._reader
    assert await reader.value("SELECT current_setting('statement_timeout')", []) == "5s"


async def check_query_cost(site: Site) -> None:
    document = "{ listings(first: 100) { nodes { versions(first: 100) { number } } } }"
    assert_refused(await site.send(document, site.mine), "QUERY_TOO_EXPENSIVE")


async def check_rate_limits(site: Site) -> None:
    """Without a key, which costs nothing to throw away."""
    for _ in range(3_000):
        response = await site.send('{ listing(id: "lst_0") { id } nodes(ids: ["a"]) { id } }')
        if response.status_code == 429:
            assert_refused(response, "RATE_LIMITED")
            assert int(response.headers["retry-after"]) >= 1
            return
    raise AssertionError("nobody stopped it")


async def check_reading_is_paid(site: Site) -> None:
    """Documents that are refused, all of them new to the process."""
    for _ in range(300):
        filling = " ".join(f"f{secrets.token_hex(4)}" for _ in range(100))
        response = await site.send(f"{{ organisation {{ {filling} }} }}")
        if response.status_code == 429:
            return
    raise AssertionError("nobody stopped it")


async def check_guessed_keys(site: Site) -> None:
    """Well-formed ones, so that only the database can tell that nobody has them."""
    asked = 0
    sound = tunery.tenants.remembered_keys.authenticate

    async def counted(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return await sound(*arguments)

    site.patch.setattr("tunery.tenants.remembered_keys.authenticate", counted)
    began = time.monotonic()
    for _ in range(600):
        headers = {"authorization": f"Bearer {generate_secret()}"}
        await site.client.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
    regained = 50 * (time.monotonic() - began)
    assert 5 * asked <= 2_000 + regained


async def check_access(site: Site) -> None:
    """Without a key, of all root fields only the public ones answer."""
    for kind, root in (("query", core_schema.query_type), ("mutation", core_schema.mutation_type)):
        for name, field in root.fields.items():
            if declared_of(field).permission == PUBLIC:
                continue
            given = {argument: value_of(definition.type, "x") for argument, definition in field.args.items()}
            declared = ", ".join(f"${argument}: {definition.type}" for argument, definition in field.args.items())
            passed = ", ".join(f"{argument}: ${argument}" for argument in given)
            arguments = (f"({declared})", f"({passed})") if given else ("", "")
            document = f"{kind}{arguments[0]} {{ {name}{arguments[1]} {{ __typename }} }}"
            response = await site.send(document, **given)
            assert codes(response) == {"UNAUTHENTICATED"}, (name, response.text)


async def check_others_objects(site: Site) -> None:
    """IDOR: another organisation's ids, by every way that leads to an object."""
    query = "{ apiKeys { nodes { id } } ownListings { nodes { id } } trainingJobs { nodes { id } } dataSets { nodes { id } } }"
    owned = (await site.send(query, site.theirs)).json()["data"]
    foreign = {name: page["nodes"][0]["id"] for name, page in owned.items()}
    for identifier in foreign.values():
        found = (await site.send("query($id: ID!) { node(id: $id) { id } }", site.mine, id=identifier)).json()
        assert found["data"] == {"node": None} or identifier == foreign["ownListings"]
    ids_ = [foreign["apiKeys"], foreign["trainingJobs"], foreign["dataSets"]]
    nodes = await site.send("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", site.mine, ids=ids_)
    assert nodes.json()["data"] == {"nodes": [None] * 3}
    for root, identifier in (("trainingJob", foreign["trainingJobs"]), ("dataSet", foreign["dataSets"])):
        response = await site.send(f"query($id: ID!) {{ {root}(id: $id) {{ id }} }}", site.mine, id=identifier)
        assert codes(response) == {"NOT_FOUND"}
    for name, identifier in (
        ("revokeApiKey", foreign["apiKeys"]),
        ("cancelTrainingJob", foreign["trainingJobs"]),
        ("withdrawListing", foreign["ownListings"]),
    ):
        kind = f"{name[0].upper()}{name[1:]}Input!"
        document = f"mutation($input: {kind}) {{ {name}(input: $input) {{ userErrors {{ code }} }} }}"
        answer = (await site.send(document, site.mine, input={"id": identifier})).json()
        assert answer["data"][name]["userErrors"] == [{"code": "NOT_FOUND"}], answer


async def check_brute_force_by_aliases(site: Site) -> None:
    """25 guesses in one request. (API keys travel in a header, one in each request.)"""
    name = f"guess-{secrets.token_hex(4)}"
    guesses = " ".join(
        f'g{n}: signUp(input: {{organisation: "G", email: "g@g.example", slug: "{name}-{n}"}}) {{ secret }}'
        for n in range(25)
    )
    assert_refused(await site.send(f"mutation {{ {guesses} }}"))


async def check_verbose_errors(site: Site) -> None:
    """A fault on the planner's way, as the database words it."""

    async def fail(*_arguments: object) -> None:
        raise RuntimeError('relation "secret_table" does not exist')

    site.patch.setattr(Reader, "value", fail)
    response = await site.send("{ organisation { name } }", site.mine)
    assert codes(response) == {"INTERNAL_ERROR"}
    assert "secret_table" not in response.text


async def check_csrf_by_plain_text(site: Site) -> None:
    """What a page may make a browser send to strangers without asking: text, forms, and no type at all."""
    body = json.dumps({"query": "mutation cop { __typename }"})
    for kind in ("text/plain", "text/plain; application/json", "multipart/form-data; boundary=x", ""):
        assert_refused(await site.post(body, kind=kind), "UNSUPPORTED_MEDIA_TYPE")


async def check_cors(site: Site) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for answer in (
        await site.client.options("/graphql", headers=asked),
        await site.client.post(
            "/graphql", json={"query": "{ __typename }"}, headers={"origin": "https://evil.example"}
        ),
    ):
        assert "access-control-allow-origin" not in answer.headers


async def check_nested_variables(site: Site) -> None:
    for depth in (500, 5_000, 100_000):
        began = time.process_time()
        nested = "[" * depth + "]" * depth
        body = f'{{"query": "query($ids: [ID!]!) {{ nodes(ids: $ids) {{ id }} }}", "variables": {{"ids": {nested}}}}}'
        assert_harmless(await site.post(body, site.mine))
        assert time.process_time() - began < SECONDS


async def check_huge_requests(site: Site) -> None:
    many = json.dumps({"query": "{ __typename }", "variables": {"a": ["x" * 1000] * 2000}})
    assert_refused(await site.post(many, site.mine), "REQUEST_TOO_LARGE")


async def check_many_variables(site: Site) -> None:
    """As many as fit: what isn't declared is not looked at, lists that are too long are refused."""
    began = time.process_time()
    response = await site.send("{ __typename }", site.mine, **{f"v{n}": n for n in range(50_000)})
    assert response.json()["data"] == {"__typename": "Query"}
    long = await site.send("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", site.mine, ids=["x"] * 100_000)
    assert_refused(long, "QUERY_TOO_EXPENSIVE")
    assert time.process_time() - began < SECONDS


async def check_huge_documents(site: Site) -> None:
    for document in (
        "{ " + "a" * 20_000 + " }",
        "{ organisation { id } }" + "#" * 20_000,
        '{ a(b: """' + "\n" * 20_000,
    ):
        began = time.process_time()
        assert_refused(await site.send(document, site.mine), "DOCUMENT_TOO_LARGE")
        assert time.process_time() - began < SECONDS


async def check_tokens(site: Site) -> None:
    document = "query { nodes(ids: [" + "1 " * 3_000 + "]) { id } }"
    response = await site.send(document, site.mine)
    assert_refused(response)
    assert "2000 tokens" in response.text


async def check_echoes(site: Site) -> None:
    """What is wrong is not sent back at length."""
    long = "x" * 500_000
    for document, variables in (
        ("query($id: ID!) { trainingJob(id: $id) { id } }", {"id": long}),
        ("query($n: Int) { apiKeys(first: $n) { totalCount } }", {"n": long}),
        ("query($input: CreateApiKeyInput!) { __typename }", {"input": {long: long}}),
        ("mutation { signUp(input: {" + "a: 1 " * 600 + "}) { secret } }", {}),
        ("{ " + "y" * 19_000 + " }", {}),
    ):
        response = await site.send(document, site.mine, **variables)
        assert len(response.content) < 15_000, response.text[:200]
    unknown = await site.post(json.dumps({"query": "{ __typename }", "operationName": long}), site.mine)
    assert len(unknown.content) < ANSWER_BYTES


def no_limits(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
    patch.setattr("tunery.graphql.documents.check_limits", lambda *_: [])


def unpaged(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
    """Whatever size is asked for."""
    for module in ("page", "compile"):
        patch.setattr(f"tunery.graphql.planner.{module}.page_size", lambda size, _argument: size, raising=False)


def undecoded(body: bytes) -> GraphQLRequest:
    """A decoder whose errors nobody expects."""
    try:
        return GraphQLRequest(**json.loads(body))
    except RecursionError:
        raise RuntimeError("nested too deeply") from None


def unvalidated(patch: pytest.MonkeyPatch, _shops: Shops) -> None:
    patch.setattr("tunery.graphql.documents.validate", lambda *_, **__: [])


def endless(value: Any) -> Any:
    """As deep as the variable is nested."""
    return tuple(endless(item) for item in value) if isinstance(value, list) else type(value)


CHECKS: dict[str, tuple[Callable[[Site], Awaitable[None]], Flaw]] = {
    "alias overloading": (check_alias_overloading, limits(aliases=1000, root_fields=1000, repeats=1000)),
    "array batching": (check_array_batching, patched("tunery.graphql.endpoint.decode_post", decode_anything)),
    "circular introspection": (check_circular_introspection, all_of(limits(introspection=True), unvalidated)),
    "directive overloading": (check_directive_overloading, no_limits),
    "field duplication": (check_field_duplication, limits(root_fields=10**6, fields=10**6, repeats=10**6)),
    "circular fragments": (check_circular_fragments, unvalidated),
    "field suggestions": (check_field_suggestions, options(development=True)),
    "queries by GET": (check_queries_by_get, patched("tunery.graphql.endpoint.read_get", get_anything)),
    "mutations by GET": (
        check_mutations_by_get,
        all_of(
            patched("tunery.graphql.endpoint.read_get", get_anything),
            lambda patch, _shops: patch.setattr(GraphQLEndpoint, "_check_kind", lambda *_: None),
        ),
    ),
    "url-encoded posts": (
        check_url_encoded_posts,
        all_of(
            patched("tunery.graphql.endpoint.read_post", read_anything),
            patched("tunery.graphql.endpoint.decode_post", decode_anything),
        ),
    ),
    "GraphiQL": (check_graphiql, options(development=True)),
    "introspection": (check_introspection, limits(introspection=True)),
    "tracing": (check_tracing, tracing),
    "unhandled errors": (check_unhandled_errors, raw_errors),
    "input validation": (check_input_validation, unchecked),
    "SQL injection": (check_sql_injection, pasting),
    "NUL": (check_nul, patched("tunery.core.http.NOT_IN_REPERTOIRE", "no such state")),
    "unicode": (check_unicode, patched("tunery.graphql.requests._decode_request", undecoded)),
    "depth": (check_depth, limits(depth=1000)),
    "amounts": (check_amounts, unpaged),
    "timeouts": (
        check_timeouts,
        patched("tunery.graphql.executor.asyncio", SimpleNamespace(timeout=contextlib.nullcontext)),
    ),
    "query cost": (check_query_cost, limits(nodes=10**9)),
    "rate limits": (check_rate_limits, options(anonymous_points=10**9)),
    "reading is paid": (check_reading_is_paid, patched("tunery.graphql.pricing.READING_POINTS", 0)),
    "guessed keys": (check_guessed_keys, patched("tunery.graphql.pricing.UNKNOWN_KEY_POINTS", 0)),
    "access": (check_access, forged),
    "others' objects": (check_others_objects, forged),
    "brute force by aliases": (check_brute_force_by_aliases, limits(root_fields=100)),
    "verbose errors": (check_verbose_errors, raw_errors),
    "CSRF by plain text": (check_csrf_by_plain_text, patched("tunery.graphql.requests._is_json", lambda _type: True)),
    "CORS": (
        check_cors,
        patched("tunery.app.settings.Settings.cors_origin_list", property(lambda _self: ["*"])),
    ),
    "nested variables": (check_nested_variables, patched("tunery.graphql.documents._shape", endless)),
    "huge requests": (check_huge_requests, patched("tunery.graphql.requests.LARGEST_BODY", 10**9)),
    "many variables": (check_many_variables, limits(nodes=10**9)),
    "huge documents": (check_huge_documents, limits(characters=10**9)),
    "tokens": (check_tokens, limits(tokens=10**9)),
    "echoes": (check_echoes, patched("tunery.graphql.errors.LONGEST_MESSAGE", 10**9)),
}


@pytest.fixture(scope="module")
async def shops(services: Services, sign_up) -> Shops:
    return await open_shops(services, sign_up)


@contextlib.asynccontextmanager
async def attacked(
    services: Services, shops: Shops, patch: pytest.MonkeyPatch, flaw: Flaw | None = None
) -> AsyncIterator[Site]:
    # Faults are logged with their tracebacks, which structlog draws in colours, a minute for one of 1000 frames.
    patch.setattr("tunery.core.http.log", SimpleNamespace(error=lambda *_, **__: None, warning=lambda *_, **__: None))
    options(points=10**9, points_per_second=10**6)(patch, shops)  # attackers without a key have as few as ever
    if flaw is not None:
        flaw(patch, shops)
    app = tunery.app.application.create_app(services)
    assert isinstance(app, Application)
    # An address of its own: the buckets in Valkey outlive a test.
    transport = httpx.ASGITransport(app, client=(f"test-{secrets.token_hex(8)}", 1), raise_app_exceptions=False)
    async with (
        app._others.router.lifespan_context(app._others),  # gives back the points that it holds
        httpx.AsyncClient(transport=transport, base_url="http://tunery.test") as client,
    ):
        yield Site(client, shops.one, shops.other, services, patch)


@pytest.mark.parametrize("name", CHECKS)
async def test_the_attack_fails(services: Services, shops: Shops, monkeypatch: pytest.MonkeyPatch, name: str):
    check, _ = CHECKS[name]
    async with attacked(services, shops, monkeypatch) as site:
        await check(site)


@pytest.mark.parametrize("name", CHECKS)
async def test_the_check_sees_a_flaw(services: Services, shops: Shops, monkeypatch: pytest.MonkeyPatch, name: str):
    check, flaw = CHECKS[name]
    async with attacked(services, shops, monkeypatch, flaw) as site:
        with pytest.raises(AssertionError):
            await check(site)


def test_every_check_has_a_name():
    assert {check for check, _ in CHECKS.values()} == {
        value for name, value in globals().items() if name.startswith("check_")
    }
