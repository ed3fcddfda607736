"""How GraphQL is spoken: errors, codes, limits, subscriptions."""

import asyncio
import json
import time
from types import SimpleNamespace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from tests.graphql.listener import Listener
from tests.training.shop import jsonl
from tunery.core import ids
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.graphql.subscriptions import CONFIRM_SECONDS


async def test_a_query_without_a_key_is_unauthenticated(api):
    answer = await api.graphql("{ organisation { name } }")
    assert answer["data"] is None
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_wrong_key_says_why(api, sign_up):
    tenant = await sign_up()
    response = await api.client.post(
        "/graphql", json={"query": "{ organisation { name } }"}, headers={"authorization": f"Bearer {tenant.api_key}x"}
    )
    assert "no Tunery API key" in response.json()["errors"][0]["message"]


async def test_sign_up_through_the_api(api):
    document = "mutation($input: SignUpInput!) { signUp(input: $input) { secret organisation { slug } userErrors { field code } } }"
    given = {"organisation": "Moss & Co", "email": "a@moss.example", "slug": "moss-and-co"}
    made = (await api.graphql(document, input=given))["data"]["signUp"]
    assert made["secret"].startswith("tnr_")
    again = (await api.graphql(document, input=given))["data"]["signUp"]
    assert again == {"secret": None, "organisation": None, "userErrors": [{"field": "slug", "code": "CONFLICT"}]}

    headers = {"authorization": f"Bearer {made['secret']}"}
    query = "{ organisation { name slug } billingAccount { plan credit { balance reserved } } apiKeys { nodes { name revokedAt } } }"
    seen = (await api.client.post("/graphql", json={"query": query}, headers=headers)).json()["data"]
    assert seen["organisation"] == {"name": "Moss & Co", "slug": "moss-and-co"}
    assert seen["billingAccount"]["plan"] == "free"
    assert float(seen["billingAccount"]["credit"]["balance"]) == 5


async def test_a_revoked_key_is_refused(api, sign_up):
    tenant = await sign_up()
    made = await api.mutate("createApiKey", "secret apiKey { id }", tenant, name="ci")
    revoked = await api.mutate("revokeApiKey", "apiKey { revokedAt }", tenant, id=made["apiKey"]["id"])
    assert revoked["apiKey"]["revokedAt"]
    headers = {"authorization": f"Bearer {made['secret']}"}
    answer = (await api.client.post("/graphql", json={"query": "{ organisation { name } }"}, headers=headers)).json()
    assert "revoked" in answer["errors"][0]["message"]
    assert (await api.client.get("/v1/files", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "made", ["job_00000000000000000000000000000000", "nonsense", "lst_00000000000000000000000000000000", ""]
)
async def test_unknown_and_malformed_ids_get_the_same_answer(api, sign_up, made: str):
    answer = await api.graphql("query($id: ID!) { trainingJob(id: $id) { status } }", await sign_up(), id=made)
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "NOT_FOUND"
    assert error["message"] == f"there is no training job {made!r}"


async def test_an_unexpected_fault_is_shown_as_its_request_id_alone(api, sign_up, services: Services, monkeypatch):
    async def break_down(*_arguments: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("tunery.billing.statements.current_statement", break_down)
    answer = await api.graphql("{ usage { meter } }", await sign_up())
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INTERNAL_ERROR"
    assert "secret detail" not in json.dumps(answer)
    assert error["extensions"]["requestId"] in error["message"]


async def test_a_lost_database_is_unavailable(api, sign_up, monkeypatch):
    async def lose(*_arguments: object) -> None:
        raise OperationalError("SELECT 1", {}, ConnectionRefusedError("gone"))

    monkeypatch.setattr("tunery.billing.statements.current_statement", lose)
    answer = await api.graphql("{ usage { meter } }", await sign_up())
    assert answer["errors"][0]["extensions"]["code"] == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ("{ organisation { nam } }", "Cannot query field"),
        ("{ organisation ", "Syntax Error"),
        ("{ " + " ".join(f"a{n}: organisation {{ id }}" for n in range(40)) + " }", "aliases"),
        ("{ " + " ".join("organisation { id }" for _ in range(600)) + " }", "more than 2000 tokens"),
        ("{ " + " ".join("organisation { id }" for _ in range(1010)) + " }", "20000 characters"),
    ],
)
async def test_malformed_and_oversized_documents_are_refused(api, sign_up, document: str, says: str):
    answer = await api.graphql(document, await sign_up())
    assert "data" not in answer
    assert says in answer["errors"][0]["message"]
    assert "Did you mean" not in json.dumps(answer)


async def test_concurrent_root_fields_do_not_share_a_session(api, sign_up):
    query = "{ " + " ".join(f"u{n}: usage {{ meter }} o{n}: organisation {{ id }}" for n in range(10)) + " }"
    answer = await api.graphql(query, await sign_up())
    assert len({json.dumps(value) for key, value in answer["data"].items() if key[0] == "o"}) == 1


async def start_job(api, tenant) -> str:
    upload = await api.client.post(
        "/v1/files", files={"file": ("shop.jsonl", jsonl())}, data={"purpose": "fine-tune"}, headers=tenant.headers
    )
    spec = {"epochs": 1}
    quoted = await api.mutate(
        "quoteTraining", "quote { id }", tenant, dataSetId=upload.json()["id"], baseModel="tunery/tiny", spec=spec
    )
    started = await api.mutate(
        "createTrainingJob",
        "trainingJob { id status }",
        tenant,
        quoteId=quoted["quote"]["id"],
        adapterName="x",
        idempotencyKey="1",
    )
    return started["trainingJob"]["id"]


async def test_events_come_as_server_sent_events_until_the_job_has_ended(api, sign_up, services: Services):
    tenant = await sign_up()
    job_id = await start_job(api, tenant)
    await api.mutate("cancelTrainingJob", "trainingJob { status }", tenant, id=job_id)
    body = {
        "query": "subscription($id: ID!) { trainingJobEvents(id: $id) { sequence kind } }",
        "variables": {"id": job_id},
    }
    headers = {**tenant.headers, "accept": "text/event-stream"}
    response = await api.client.post("/graphql", json=body, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    data = [line.removeprefix("data:").strip() for line in response.text.splitlines() if line.startswith("data:")]
    events = [json.loads(line)["data"]["trainingJobEvents"] for line in data if line]
    assert events == [{"sequence": 1, "kind": "queued"}, {"sequence": 2, "kind": "cancelled"}]
    assert "event: complete" in response.text

    later = {**body, "query": body["query"].replace("id: $id", "id: $id, after: 2")}
    ended = await api.client.post("/graphql", json=later, headers=headers)
    assert "event: complete" in ended.text
    assert "trainingJobEvents" not in ended.text

    stranger = await sign_up()
    foreign = await api.client.post("/graphql", json=body, headers={**headers, **stranger.headers})
    assert "there is no training job" in foreign.text
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert await uow.session.scalar(text("SELECT reserved FROM accounts WHERE kind = 'credit'")) == 0


async def follow(api, tenant, job_id: str) -> Listener:
    """Of a queued job's events; it has heard the first one."""
    listener = Listener(
        api.client._transport.app,
        f"Bearer {tenant.api_key}",
        f'subscription {{ trainingJobEvents(id: "{job_id}") {{ kind }} }}',
    )
    assert (await listener.messages.get())["status"] == 200
    assert b'"queued"' in (await listener.messages.get())["body"]
    return listener


async def test_a_subscription_ends_soon_after_its_key_was_revoked(api, sign_up, monkeypatch):
    monkeypatch.setattr("tunery.graphql.subscriptions.CONFIRM_SECONDS", 0.1)
    tenant = await sign_up()
    async with asyncio.timeout(20):
        listener = await follow(api, tenant, await start_job(api, tenant))
        await asyncio.sleep(0.3)
        assert listener.messages.empty(), "a key that is valid stays so"
        identifier = ids.encode("API key", tenant.identity.api_key_id)
        await api.mutate("revokeApiKey", "apiKey { revokedAt }", tenant, id=identifier)
        error = (await listener.messages.get())["body"]
        assert b'"message":"this API key was revoked"' in error
        assert b'"code":"UNAUTHENTICATED"' in error
        assert await listener.messages.get() == {"type": "http.response.body", "body": b"event: complete\ndata:\n\n"}
        await listener.task


async def test_a_subscriber_that_leaves_is_not_waited_for(api, sign_up):
    tenant = await sign_up()
    async with asyncio.timeout(20):
        listener = await follow(api, tenant, await start_job(api, tenant))
        await listener.leave()
    assert listener.messages.empty()


async def test_no_answer_leaves_on_the_word_of_a_key_that_was_not_looked_at_for_long(api, sign_up, monkeypatch):
    tenant = await sign_up()
    job_id = await start_job(api, tenant)
    now = time.monotonic()
    monkeypatch.setattr("tunery.graphql.subscriptions.time", SimpleNamespace(monotonic=lambda: now))
    async with asyncio.timeout(20):
        listener = await follow(api, tenant, job_id)
        other = await api.mutate("createApiKey", "secret", tenant, name="other")
        headers = {"authorization": f"Bearer {other['secret']}"}
        identifier = ids.encode("API key", tenant.identity.api_key_id)
        now += CONFIRM_SECONDS - 1
        await api.mutate("revokeApiKey", "apiKey { revokedAt }", tenant, id=identifier)
        await asyncio.sleep(0.5)
        assert listener.messages.empty(), "it is believed for so long"
        now += 1
        cancel = f'mutation {{ cancelTrainingJob(input: {{id: "{job_id}"}}) {{ trainingJob {{ status }} }} }}'
        assert "errors" not in (await api.client.post("/graphql", json={"query": cancel}, headers=headers)).json()
        events = [(await listener.messages.get())["body"] for _ in range(2)]
        assert b"UNAUTHENTICATED" in events[0]
        assert events[1].startswith(b"event: complete")
        await listener.task


async def test_text_that_the_database_cannot_store_is_invalid_input(api, sign_up):
    tenant = await sign_up()
    answer = await api.graphql(
        "mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }",
        tenant,
        input={"name": "a\0b"},
    )
    assert answer["errors"][0]["extensions"]["code"] == "INVALID_INPUT"
    chat = {"model": "a\0b", "messages": [{"role": "user", "content": "hi"}]}
    response = await api.client.post("/v1/chat/completions", json=chat, headers=tenant.headers)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_input")
