"""The room through GraphQL: its whole surface, what it costs, and what it says to bad input."""

import json

import pytest

from tests.memory.conftest import MODEL, rows_of
from tests.memory.memories import NOTHING, all_said, said
from tests.memory.test_forget import talked
from tunery.memory.switch import move_memories

MEMORY = (
    "id subject subjectId agent kind text key provenance source importance validFrom validTo expiresAt createdAt"
    " lastSeenAt seen mergedInto conversationId"
)
REMEMBERED = "memories { id subjectId outcome mergedInto embedded closed }"
RECALL = (
    "query($q: String!, $s: String, $a: String, $n: [String!], $k: Int! = 10, $t: DateTime) {"
    " recall(query: $q, subject: $s, agent: $a, kinds: $n, k: $k, asOf: $t)"
    f" {{ legs memories {{ score legs {{ name place }} memory {{ {MEMORY} }} }} }} }}"
)
LIST = (
    "query($s: String!, $f: Int! = 20, $a: ID) { memories(subject: $s, first: $f, after: $a)"
    " { nodes { id text } hasNextPage endCursor } }"
)


def error_of(answer: dict) -> dict:
    [error] = answer["errors"]
    return {"message": error["message"], **error["extensions"]}


async def test_remember_recall_list_and_forget(api, tenant, embeddings):
    items = [
        {
            "subject": "anna", "text": "lives in Oslo", "key": "home", "agent": "sales", "importance": 0.75,
            "provenance": {"chat": [1, {"a": None}]}, "ttl": 86_400, "validFrom": "2026-01-02T03:04:05+02:00",
        },
        {"subject": "anna", "text": "likes tea", "kind": "preference"},
    ]  # fmt: skip
    payload = await api.mutate("remember", REMEMBERED, tenant, items=items)
    assert payload["userErrors"] == []
    first, second = payload["memories"]
    assert (first["outcome"], first["embedded"], first["closed"]) == ("stored", True, [])
    assert (first["id"][:4], first["subjectId"][:4]) == ("mem_", "sub_")

    found = (await api.graphql(RECALL, tenant, q="where does Anna live", s="anna"))["data"]["recall"]
    assert found["legs"] == ["vector", "terms", "recency"]
    memory = found["memories"][0]["memory"]
    assert {name: memory[name] for name in ("id", "subject", "agent", "kind", "text", "key", "source", "seen")} == {
        "id": first["id"], "subject": "anna", "agent": "sales", "kind": "fact", "text": "lives in Oslo", "key": "home",
        "source": "api", "seen": 1,
    }  # fmt: skip
    assert (memory["importance"], memory["provenance"]) == (0.75, {"chat": [1, {"a": None}]})
    assert (memory["validFrom"], memory["validTo"]) == ("2026-01-02T01:04:05+00:00", None)
    assert memory["expiresAt"] > memory["createdAt"]
    assert {"name": "terms", "place": 1} in found["memories"][0]["legs"]
    filtered = await api.graphql(RECALL, tenant, q="x", s=None, n=["preference"], a="default", k=1)
    assert [one["memory"]["id"] for one in filtered["data"]["recall"]["memories"]] == [second["id"]]
    then = await api.graphql(RECALL, tenant, q="x", s="anna", t="2026-02-01T00:00:00Z")
    assert [one["memory"]["id"] for one in then["data"]["recall"]["memories"]] == [first["id"]]

    page = (await api.graphql(LIST, tenant, s="anna", f=1))["data"]["memories"]
    assert (page["nodes"], page["hasNextPage"]) == ([{"id": second["id"], "text": "likes tea"}], True)
    rest = (await api.graphql(LIST, tenant, s="anna", f=1, a=page["endCursor"]))["data"]["memories"]
    assert (rest["nodes"][0]["id"], rest["hasNextPage"]) == (first["id"], False)

    payload = await api.mutate("forget", "count", tenant, ids=[first["id"]])
    assert payload == {"count": 1, "userErrors": []}
    payload = await api.mutate(
        "forget", "count", tenant, subject="anna", kinds=["preference"], before="2999-01-01T00:00:00Z"
    )
    assert payload == {"count": 1, "userErrors": []}
    empty = (await api.graphql(LIST, tenant, s="anna"))["data"]["memories"]
    assert empty == {"nodes": [], "hasNextPage": False, "endCursor": None}


async def test_conversations_are_shown_and_forgotten(api, services, tenant, embeddings):
    talk = await talked(services, tenant, "I like tea", "do you")
    identifier = f"conv_{talk.hex}"
    payload = await api.mutate(
        "remember", REMEMBERED, tenant, items=[{"subject": "anna", "text": "likes tea", "conversationId": identifier}]
    )
    assert payload["userErrors"] == []
    query = '{ conversations(subject: "anna") { nodes { id agent createdAt messages { role content } } hasNextPage endCursor } }'
    page = (await api.graphql(query, tenant))["data"]["conversations"]
    assert (page["endCursor"], page["hasNextPage"]) == (identifier, False)
    assert page["nodes"][0]["messages"] == [
        {"role": "user", "content": "I like tea"},
        {"role": "user", "content": "do you"},
    ]
    payload = await api.mutate("forget", "count", tenant, ids=[identifier, payload["memories"][0]["id"]])
    assert payload == {"count": 2, "userErrors": []}


async def test_the_store_says_how_it_is_kept_and_switches(api, services, tenant, embeddings):
    query = "{ memoryStore { search switching embeddingModel dimensions complete ownIndex subjects memories conversations } }"
    assert (await api.graphql(query, tenant))["data"]["memoryStore"] == {
        "search": "open", "switching": False, "embeddingModel": None, "dimensions": None, "complete": True,
        "ownIndex": False, "subjects": 0, "memories": 0, "conversations": 0,
    }  # fmt: skip
    await all_said(services, tenant, "likes tea", "likes coffee")
    await talked(services, tenant, "hello", subject="bert")
    payload = await api.mutate("setMemorySearch", "memoryStore { search switching }", tenant, search="sealed")
    assert payload == {"memoryStore": {"search": "sealed", "switching": True}, "userErrors": []}
    await move_memories(services, tenant.tenant_id)
    store = (await api.graphql(query, tenant))["data"]["memoryStore"]
    assert (store["search"], store["switching"]) == ("sealed", False)
    assert (store["embeddingModel"], store["dimensions"]) == (MODEL, 48)
    assert (store["subjects"], store["memories"], store["conversations"]) == (2, 2, 1)
    payload = await api.mutate("setMemorySearch", "memoryStore { search }", tenant, search="hidden")
    assert (payload["memoryStore"], payload["userErrors"][0]["field"]) == (None, "search")


async def test_a_subject_is_erased_with_a_certificate(api, services, tenant, embeddings):
    remembered = await said(services, tenant, "likes tea")
    payload = await api.mutate(
        "eraseSubject", "erasure { id number certificate signature createdAt }", tenant, subject="anna"
    )
    assert payload["userErrors"] == []
    certificate = json.loads(payload["erasure"]["certificate"])
    assert certificate["subject"] == f"sub_{remembered.subject_id.hex}"
    assert certificate["requested_by"] == f"key_{tenant.identity.api_key_id.hex}"
    assert payload["erasure"]["signature"]["context"] == "tunery-erasure/1"
    shown = (await api.graphql("{ erasures { nodes { id } } }", tenant))["data"]["erasures"]["nodes"]
    assert shown == [{"id": payload["erasure"]["id"]}]
    payload = await api.mutate("eraseSubject", "erasure { id }", tenant, subject="anna")
    assert (payload["erasure"], payload["userErrors"][0]["code"]) == (None, "NOT_FOUND")


@pytest.mark.parametrize("k", [0, 101, 10_000, -1])
async def test_k_out_of_bounds_is_an_error_that_names_the_limit(api, services, tenant, embeddings, k):
    await said(services, tenant, "likes tea")
    error = error_of(await api.graphql(RECALL, tenant, q="tea", s="anna", k=k))
    assert (error["code"], error["field"]) == ("INVALID_INPUT", "k")
    assert "1 to 100" in error["message"]


async def test_an_unknown_subject_is_an_error_that_says_so(api, tenant):
    for document, given in ((RECALL, {"q": "tea"}), (LIST, {})):
        error = error_of(await api.graphql(document, tenant, s="nobody", **given))
        assert (error["code"], error["field"]) == ("NOT_FOUND", "subject")
        assert "there is no subject 'nobody'" in error["message"]


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"text": "x" * 8_001}, "items[1].text"),
        ({"importance": 1.5}, "items[1].importance"),
        ({"provenance": [1]}, "items[1].provenance"),
        ({"provenance": "text"}, "items[1].provenance"),
        ({"ttl": -1}, "items[1].ttl"),
        ({"conversationId": "conv_1"}, "items[1].conversationId"),
        ({"validTo": "2001-01-01T00:00:00Z"}, "items[1].validTo"),
        ({"subject": ""}, "items[1].subject"),
        ({"text": "nul \0 is fine"}, None),
    ],
)
async def test_a_wrong_item_is_named_by_its_path(api, tenant, owner, embeddings, item, field):
    good = {"subject": "anna", "text": "likes tea"}
    payload = await api.mutate("remember", REMEMBERED, tenant, items=[good, {**good, **item}])
    assert [error["field"] for error in payload["userErrors"]] == ([] if field is None else [field])
    if field is not None:
        assert payload["memories"] is None
        assert await rows_of(owner, tenant) == NOTHING


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({}, "INVALID_INPUT"),
        ({"ids": [], "subject": "anna"}, "INVALID_INPUT"),
        ({"ids": []}, "INVALID_INPUT"),
        ({"ids": ["mem_1"]}, "NOT_FOUND"),
        ({"ids": ["sub_" + "0" * 32]}, "NOT_FOUND"),
        ({"ids": ["mem_" + "0" * 32], "agent": "sales"}, "INVALID_INPUT"),
        ({"subject": "nobody"}, "NOT_FOUND"),
        ({"subject": "anna", "kinds": ["rumour"]}, "INVALID_INPUT"),
        ({"subject": "anna", "kinds": []}, "INVALID_INPUT"),
    ],
)
async def test_a_wrong_wish_to_forget_deletes_nothing(api, services, tenant, owner, embeddings, given, code):
    await said(services, tenant, "likes tea")
    before = await rows_of(owner, tenant)
    payload = await api.mutate("forget", "count", tenant, **given)
    assert (payload["count"], payload["userErrors"][0]["code"]) == (None, code)
    assert await rows_of(owner, tenant) == before


async def test_an_empty_list_of_kinds_is_an_error_and_not_all_of_them(api, services, tenant, embeddings):
    await said(services, tenant, "likes tea")
    listed = 'query($n: [String!]) { memories(subject: "anna", kinds: $n) { nodes { id } } }'
    for document, given in ((RECALL, {"q": "tea", "s": "anna"}), (listed, {})):
        error = error_of(await api.graphql(document, tenant, n=[], **given))
        assert (error["code"], error["field"]) == ("INVALID_INPUT", "kinds")
        assert "data" in await api.graphql(document, tenant, n=None, **given)


@pytest.mark.parametrize("first", [0, 101])
async def test_pages_have_limits(api, services, tenant, embeddings, first):
    await said(services, tenant, "likes tea")
    assert error_of(await api.graphql(LIST, tenant, s="anna", f=first))["field"] == "first"


async def test_every_operation_takes_a_key_and_shows_nothing_of_others(api, services, tenant, sign_up, embeddings):
    other = await sign_up("Other")
    mine = await said(services, tenant, "likes canaries")
    identifier = f"mem_{mine.id.hex}"
    mutations = {
        "remember": {"items": [{"subject": "anna", "text": "x"}]},
        "forget": {"ids": [identifier]},
        "setMemorySearch": {"search": "sealed"},
        "eraseSubject": {"subject": "anna"},
    }
    for name, given in mutations.items():
        kind = name[0].upper() + name[1:] + "Input!"
        document = f"mutation($i: {kind}) {{ {name}(input: $i) {{ userErrors {{ code }} }} }}"
        assert error_of(await api.graphql(document, None, i=given))["code"] == "UNAUTHENTICATED"
    for document, given in ((RECALL, {"q": "canaries"}), (LIST, {}), ("{ memoryStore { search } }", {})):
        named = {"s": "anna"} if "$s" in document else {}
        assert error_of(await api.graphql(document, None, **given, **named))["code"] == "UNAUTHENTICATED"
    for document, given in ((RECALL, {"q": "canaries"}), (LIST, {})):
        assert error_of(await api.graphql(document, other, s="anna", **given))["code"] == "NOT_FOUND"
    for name in ("forget", "eraseSubject"):
        payload = await api.mutate(name, "__typename", other, **mutations[name])
        assert payload["userErrors"][0]["code"] == "NOT_FOUND"
    error = error_of(await api.graphql(LIST, other, s="anna", a=identifier))
    assert error["code"] == "NOT_FOUND"
    node = await api.graphql("query($id: ID!) { node(id: $id) { id } }", tenant, id=identifier)
    assert node["data"] == {"node": None}, "what is sealed is no node: SQL can't show it"
    everything = await api.graphql(RECALL, other, q="canaries", s=None)
    assert everything["data"]["recall"]["memories"] == []


async def test_a_conversation_costs_the_messages_that_it_may_have(api, services, tenant, embeddings):
    await talked(services, tenant, "hello", "are you there")
    document = 'query($f: Int) { conversations(subject: "anna", first: $f) { nodes { messages { content } } } }'
    cost = (await api.graphql(document.replace("($f: Int)", "").replace(", first: $f", ""), tenant))["extensions"][
        "cost"
    ]
    assert (cost["requested"], cost["actual"]) == (1 + 5 * (1 + 1_000), 1 + 1 + 2)
    error = error_of(await api.graphql(document, tenant, f=10))
    assert error["code"] == "QUERY_TOO_EXPENSIVE"


async def test_recall_costs_what_it_may_return_and_ten_more(api, services, tenant, embeddings):
    await all_said(services, tenant, "likes tea", "likes coffee")
    document = (
        'query($k: Int! = 10) { recall(query: "tea", subject: "anna", k: $k)'
        " { memories { legs { place } memory { text } } } }"
    )
    for given, k in (({}, 10), ({"k": 1}, 1), ({"k": 100}, 100)):
        answer = await api.graphql(document, tenant, **given)
        memories = answer["data"]["recall"]["memories"]
        cost = answer["extensions"]["cost"]
        assert cost["requested"] == 10 + 1 + k * (1 + 1 + 3)
        assert cost["actual"] == 10 + 1 + sum(1 + 1 + len(one["legs"]) for one in memories)


async def test_a_model_that_is_away_shows_in_the_answers(api, tenant, embeddings):
    embeddings.away = True
    payload = await api.mutate("remember", REMEMBERED, tenant, items=[{"subject": "anna", "text": "likes tea"}])
    assert payload["memories"][0]["embedded"] is False
    found = (await api.graphql(RECALL, tenant, q="tea", s="anna"))["data"]["recall"]
    assert found["legs"] == ["terms", "recency"]
    store = (await api.graphql("{ memoryStore { complete } }", tenant))["data"]["memoryStore"]
    assert store == {"complete": False}


async def test_a_row_that_does_not_open_is_an_error_of_its_own(api, services, tenant, owner, embeddings):
    remembered = await said(services, tenant, "likes tea")
    await owner.execute("UPDATE memories SET sealed_content = 'x' WHERE id = $1", remembered.id)
    error = error_of(await api.graphql(RECALL, tenant, q="tea", s="anna"))
    assert error["code"] == "UNSEALING_FAILED"
    assert f"mem_{remembered.id.hex}" in error["message"]
