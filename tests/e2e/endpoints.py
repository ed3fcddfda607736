"""Every operation of the public API, callable with any id: what the tests of keys and of foreign ids go through."""

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from tests.e2e.caller import EVENTS, Caller
from tests.e2e.shop import CHECKOUT
from tunery.core import ids

Send = Callable[[Caller, str], httpx.Response]

WITHOUT_KEY = {"Mutation.signUp"}
"""What anybody may do, and is not called here: it makes an organisation."""

PUBLIC = {"Query.baseModels", "Query.signingKeys", "Query.listings", "Query.listing"}
"""What anybody may read."""


@dataclass(frozen=True)
class Endpoint:
    """`kind` is what `send`'s id identifies (`core.ids`), a deployment or a subject by its name, a repository as namespace/name;
    None: it takes no id.
    """

    name: str
    kind: str | None
    send: Send

    def __str__(self) -> str:
        return self.name


def _graphql(name: str, kind: str | None, document: str, make: Callable[[str], dict[str, Any]]) -> Endpoint:
    def send(caller: Caller, identifier: str) -> httpx.Response:
        return caller.http.post("/graphql", json={"query": document, "variables": make(identifier)})

    return Endpoint(name, kind, send)


def _query(name: str, selection: str, kind: str | None = None) -> Endpoint:
    if kind is None:
        return _graphql(f"Query.{name}", None, f"{{ {name} {{ {selection} }} }}", lambda _id: {})
    document = f"query($id: ID!) {{ {name}(id: $id) {{ {selection} }} }}"
    return _graphql(f"Query.{name}", kind, document, lambda identifier: {"id": identifier})


def _mutation(
    name: str, selection: str, kind: str | None, make: Callable[[str], dict[str, Any]], how: str = ""
) -> Endpoint:
    errors = "userErrors { field code message }"
    document = (
        f"mutation($input: {name[0].upper() + name[1:]}Input!) {{ {name}(input: $input) {{ {selection} {errors} }} }}"
    )
    return _graphql(f"Mutation.{name}{how}", kind, document, lambda identifier: {"input": make(identifier)})


def _rest(method: str, path: str, kind: str | None = None, *, how: str = "", **request: Any) -> Endpoint:
    def send(caller: Caller, identifier: str) -> httpx.Response:
        return caller.http.request(method, path.replace("{id}", identifier), **request)

    return Endpoint(f"{method} {path}{how}", kind, send)


def _subscribe(caller: Caller, identifier: str) -> httpx.Response:
    body = {"query": EVENTS, "variables": {"id": identifier, "after": 0}}
    return caller.http.post("/graphql", json=body, headers={"accept": "text/event-stream"})


def _chat(caller: Caller, model: str) -> httpx.Response:
    messages = [{"role": "user", "content": "Hello"}]
    return caller.http.post("/v1/chat/completions", json={"model": model, "messages": messages})


def _of_subject(name: str, selection: str, more: str = "") -> Endpoint:
    document = f"query($subject: String!) {{ {name}({more}subject: $subject) {{ {selection} }} }}"
    return _graphql(f"Query.{name}", "subject", document, lambda subject: {"subject": subject})


OFFER = {"title": "An adapter", "description": "For sale.", "licence": "mit", "price": 100}

GRAPHQL: tuple[Endpoint, ...] = (
    _query("organisation", "id"),
    _query("node", "id", "training job"),
    _graphql(
        "Query.nodes",
        "quote",
        "query($ids: [ID!]!) { nodes(ids: $ids) { id } }",
        lambda identifier: {"ids": [identifier]},
    ),
    _query("apiKeys", "nodes { id }"),
    _query("signingKeys", "publicKey"),
    _query("tenantKeys", "version"),
    _query("erasures", "nodes { id }"),
    _query("billingAccount", "plan"),
    _query("usage", "quantity"),
    _query("invoicePreview", "subtotal"),
    _query("baseModels", "nodes { name }"),
    _query("dataSets", "nodes { id }"),
    _query("dataSet", "id name", "data set"),
    _query("trainingJobs", "nodes { id }"),
    _query("trainingJob", "id status adapterVersion { digest }", "training job"),
    _query("adapters", "nodes { id }"),
    _query("adapter", "id name versions { digest }", "adapter"),
    _query("listings", "pageInfo { hasNextPage }"),
    _query("listing", "id title versions { digest }", "listing"),
    _query("ownListings", "nodes { id }"),
    _query("purchase", "id price listing { id }", "purchase"),
    _query("purchases", "nodes { id }"),
    _query("sales", "nodes { gross }"),
    _query("deployments", "nodes { id }"),
    _of_subject("recall", "memories { score }", 'query: "lamps", '),
    _of_subject("memories", "nodes { text }"),
    _of_subject("conversations", "nodes { id }"),
    _query("memoryStore", "search"),
    _mutation("createApiKey", "secret", None, lambda _id: {"name": "another"}),
    _mutation("revokeApiKey", "apiKey { id }", "API key", lambda identifier: {"id": identifier}),
    _mutation("rotateTenantKey", "tenantKey { version }", None, lambda _id: {}),
    _mutation(
        "quoteTraining",
        "quote { id }",
        "data set",
        lambda identifier: {"dataSetId": identifier, "baseModel": "tunery/tiny"},
    ),
    _mutation(
        "createTrainingJob",
        "trainingJob { id }",
        "quote",
        lambda identifier: {"quoteId": identifier, "adapterName": "mine", "idempotencyKey": "once"},
    ),
    _mutation("cancelTrainingJob", "trainingJob { id }", "training job", lambda identifier: {"id": identifier}),
    _mutation(
        "publishListing",
        "listing { id }",
        "adapter version",
        lambda identifier: {"adapterVersionId": identifier, **OFFER},
    ),
    _mutation("withdrawListing", "listing { id }", "listing", lambda identifier: {"id": identifier}),
    _mutation(
        "purchaseListing",
        "purchase { id }",
        "listing",
        lambda identifier: {"listingId": identifier, "idempotencyKey": "once", **CHECKOUT},
    ),
    _mutation(
        "createDeployment",
        "deployment { id }",
        "adapter version",
        lambda identifier: {"name": "mine", "adapterVersionId": identifier},
        " of a version",
    ),
    _mutation(
        "createDeployment",
        "deployment { id }",
        "listing",
        lambda identifier: {"name": "mine", "listingId": identifier},
        " of a listing",
    ),
    _mutation("deleteDeployment", "deployment { id }", "deployment", lambda name: {"name": name}),
    _mutation("setDeploymentMemory", "deployment { id }", "deployment", lambda name: {"name": name, "memory": True}),
    _mutation(
        "remember",
        "memories { id }",
        "conversation",
        lambda identifier: {"items": [{"subject": "Ann", "text": "Likes lamps.", "conversationId": identifier}]},
    ),
    _mutation("forget", "count", "memory", lambda identifier: {"ids": [identifier]}),
    _mutation("forget", "count", "subject", lambda name: {"subject": name}, " of a subject"),
    _mutation("eraseSubject", "erasure { id }", "subject", lambda name: {"subject": name}),
    _mutation("setMemorySearch", "memoryStore { search }", None, lambda _id: {"search": "open"}),
    _mutation("eraseTenant", "erasure { id }", None, lambda _id: {"confirm": "another-organisation"}),
    Endpoint("Subscription.trainingJobEvents", "training job", _subscribe),
)

REST: tuple[Endpoint, ...] = (
    _rest("POST", "/v1/files", files={"file": ("rows.jsonl", b"{}")}),
    _rest("GET", "/v1/files"),
    _rest("GET", "/v1/files?after={id}", "data set"),
    _rest("GET", "/v1/files/{id}", "data set"),
    _rest("GET", "/v1/files/{id}/content", "data set"),
    _rest("DELETE", "/v1/files/{id}", "data set"),
    _rest("GET", "/v1/models"),
    _rest("GET", "/v1/models/{id}", "deployment"),
    Endpoint("POST /v1/chat/completions", "deployment", _chat),
    _rest("POST", "/v1/memories/import", content=b""),
    _rest("GET", "/v1/memories/export"),
    _rest("GET", "/v1/memories/export?subject={id}", "subject"),
    _rest("GET", "/hub/api/whoami-v2"),
    _rest("GET", "/hub/api/models/{id}", "repository"),
    _rest("GET", "/hub/api/models/{id}/auth-check", "repository"),
    _rest("GET", "/hub/api/models/{id}/revision/main", "repository"),
    _rest("GET", "/hub/api/models/{id}/tree/main", "repository"),
    _rest("GET", "/hub/{id}/resolve/main/adapter_config.json", "repository"),
    _rest("HEAD", "/hub/{id}/resolve/main/adapter_config.json", "repository"),
)

ENDPOINTS = GRAPHQL + REST


def unknown_id(kind: str | None) -> str:
    """Well formed, and nothing's."""
    if kind == "deployment":
        return f"nothing-{secrets.token_hex(4)}"
    if kind == "subject":
        return f"nobody {secrets.token_hex(4)}"
    if kind == "repository":
        return f"nobody-{secrets.token_hex(4)}/nothing"
    return "" if kind is None else ids.encode(kind, uuid7())


def uuid7() -> UUID:
    """A UUIDv7 of now: ids that exist look no different."""
    milliseconds = int(time.time() * 1000)
    return UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | secrets.randbits(62) | secrets.randbits(12) << 64)


def is_unauthenticated(response: httpx.Response) -> bool:
    """Whether the answer is a refusal of the key, and nothing else."""
    if response.status_code != httpx.codes.OK or not response.content:
        return response.status_code == httpx.codes.UNAUTHORIZED
    if response.headers["content-type"].startswith("text/event-stream"):
        (answer,) = [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: {")]
    else:
        answer = response.json()
    codes = [error["extensions"]["code"] for error in answer.get("errors") or []]
    return codes == ["UNAUTHENTICATED"] and not any((answer.get("data") or {}).values())
