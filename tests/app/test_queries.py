"""What every list and every id has in common, whatever the type: paging, order, and that others' rows don't exist. And
what every committed operation has: it answers, by as many SQL statements as stand here.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from graphql import GraphQLObjectType, OperationDefinitionNode, get_named_type, is_leaf_type, parse
from sqlalchemy import select

from tests.app.shops import EACH, Shops, open_shops
from tests.recorder import recorded
from tunery.app.database_urls import role_url
from tunery.app.schema import core_schema
from tunery.app.settings import Settings
from tunery.billing.api import READ as BILLING_READ
from tunery.core import ids
from tunery.core.database import APPLICATION_ROLE, Database
from tunery.core.identity import Identity
from tunery.core.reader import SESSION
from tunery.core.services import Services
from tunery.graphql.access import AUTHENTICATED, PUBLIC
from tunery.graphql.documents import Document
from tunery.graphql.planner.mapping import declared_of, is_connection, mapping_of
from tunery.graphql.planner.planner import Planner
from tunery.graphql.trusted_documents import committed_operations, document_id

ROOTS = core_schema.query_type.fields
CONNECTIONS = sorted(name for name, field in ROOTS.items() if is_connection(field.type))
OPEN = {name for name in CONNECTIONS if declared_of(ROOTS[name]).permission == PUBLIC}
NODES = sorted(core_schema.get_possible_types(core_schema.type_map["Node"]), key=lambda kind: kind.name)
NODE = "query($id: ID!) { node(id: $id) { __typename id } }"
PERMISSIONS = {
    "Adapter": "training:read",
    "AdapterVersion": "training:read",
    "ApiKey": "keys:read",
    "BaseModel": PUBLIC,
    "DataSet": "training:read",
    "Deployment": "serving:read",
    "Erasure": "erasures:read",
    "Listing": "marketplace:read",
    "Organisation": "organisation:read",
    "Purchase": "marketplace:read",
    "Quote": "training:read",
    "TrainingJob": "training:read",
}


def type_of(connection: str) -> GraphQLObjectType:
    return get_named_type(get_named_type(ROOTS[connection].type).fields["nodes"].type)


@pytest.fixture(scope="module")
async def shops(services: Services, settings: Settings, sign_up) -> AsyncIterator[Shops]:
    owner = await asyncpg.connect(settings.database_url)
    await owner.executemany(
        "INSERT INTO base_models (name, revision, licence, parameters, context_length, train_price, input_price,"
        " output_price, created_at) VALUES ($1, '1', 'mit', 1, 8, 1, 1, 1, now())",
        [(f"zoo/{name}",) for name in ("Ape", "bee", "ä", "émeu")],
    )
    yield await open_shops(services, sign_up)
    await owner.execute("DELETE FROM base_models WHERE name LIKE 'zoo/%'")
    await owner.close()


class Pages:
    """One tenant's view of one connection."""

    def __init__(self, api: Any, name: str, tenant: Any) -> None:
        self._api = api
        self._name = name
        self._tenant = tenant

    async def get(self, **paging: object) -> dict[str, Any]:
        kinds = {"first": "Int", "last": "Int", "after": "String", "before": "String"}
        variables = ", ".join(f"${name}: {kinds[name]}" for name in paging)
        arguments = ", ".join(f"{name}: ${name}" for name in paging)
        leaf = next(name for name, field in type_of(self._name).fields.items() if not field.args)
        selection = (
            f"edges {{ cursor node {{ {leaf} }} }} nodes {{ {leaf} }} totalCount"
            " pageInfo { hasNextPage hasPreviousPage startCursor endCursor }"
        )
        document = f"query({variables}) {{ {self._name}({arguments}) {{ {selection} }} }}"
        answer = await self._api.graphql(document, self._tenant, **paging)
        assert "errors" not in answer, answer
        page = answer["data"][self._name]
        assert page["nodes"] == [edge["node"] for edge in page["edges"]]
        cursors = [edge["cursor"] for edge in page["edges"]]
        ends = (cursors[0], cursors[-1]) if cursors else (None, None)
        assert (page["pageInfo"]["startCursor"], page["pageInfo"]["endCursor"]) == ends
        return page

    async def cursors(self) -> list[str]:
        return [edge["cursor"] for edge in (await self.get(first=100))["edges"]]


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_pages_lead_through_a_list_both_ways(api, shops: Shops, name: str):
    pages = Pages(api, name, shops.one)
    everything = await pages.cursors()
    assert len(everything) == len(set(everything)) >= EACH
    for size, mark, more, end in (("first", "after", "hasNextPage", 1), ("last", "before", "hasPreviousPage", -1)):
        seen, paging = [], {}
        while True:
            page = await pages.get(**{size: 2}, **paging)
            assert page["totalCount"] == len(everything)
            info = page["pageInfo"]
            cursors = [edge["cursor"] for edge in page["edges"]]
            seen = seen + cursors if end == 1 else cursors + seen
            # Behind the page lies what it was asked to begin after.
            assert info["hasPreviousPage" if end == 1 else "hasNextPage"] is bool(paging)
            if not info[more]:
                break
            paging = {mark: info["endCursor" if end == 1 else "startCursor"]}
        assert seen == everything


@pytest.mark.parametrize("name", CONNECTIONS)
async def test_a_page_lies_between_two_cursors(api, shops: Shops, name: str):
    pages = Pages(api, name, shops.one)
    everything = await pages.cursors()
    for size in ("first", "last"):
        page = await pages.get(**{size: 100}, after=everything[0], before=everything[3])
        assert [edge["cursor"] for edge in page["edges"]] == everything[1:3]
        assert (page["pageInfo"]["hasPreviousPage"], page["pageInfo"]["hasNextPage"]) == (True, True)


@pytest.mark.parametrize("name", sorted(set(CONNECTIONS) - OPEN))
async def test_others_rows_are_in_no_list(api, shops: Shops, name: str):
    mine, theirs = [await Pages(api, name, tenant).cursors() for tenant in (shops.one, shops.other)]
    assert len(mine) == len(theirs) == EACH
    assert not set(mine) & set(theirs)
    nothing = await Pages(api, name, shops.empty).get(first=100)
    assert nothing["totalCount"] == len(nothing["edges"]) == (1 if name == "apiKeys" else 0)
    refused = await api.graphql(f"{{ {name} {{ totalCount }} }}")
    assert refused["data"] is None
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("name", sorted(set(CONNECTIONS) - OPEN))
async def test_a_page_is_read_from_an_index_in_its_order(
    services: Services, settings: Settings, shops: Shops, name: str
):
    operation = Document(core_schema, f"{{ {name} {{ nodes {{ __typename }} }} }}", None).operation(None)
    run = services.get(Planner).prepare(operation, {})
    values = run.plan.values_of(shops.one.identity, run.values)
    role = await asyncpg.connect(role_url(settings, APPLICATION_ROLE), server_settings=SESSION)
    for other_way in ("seqscan", "bitmapscan", "sort"):  # which small tables are rather read by
        await role.execute(f"SET enable_{other_way} = off")
    await role.execute(f"PREPARE page AS {run.plan.as_caller}")
    rows = await role.fetch(f"EXPLAIN EXECUTE page ('{values[0]}', '{values[1]}')")
    await role.close()
    plan = [row[0].strip() for row in rows]
    table = mapping_of(type_of(name)).table.name
    by_index = re.compile(rf"using (ix|uq)_{table}_tenant_id_id(_status)? on {table} t1")
    [at] = [at for at, line in enumerate(plan) if by_index.search(line)]
    assert plan[at].startswith("->  Index")
    assert plan[at + 1].startswith("Index Cond: (tenant_id = ")
    assert not any("Sort" in line for line in plan[:at])


@pytest.mark.parametrize("name", sorted(OPEN))
async def test_public_lists_are_the_same_for_everybody(api, shops: Shops, name: str):
    [expected, *others] = [
        await Pages(api, name, tenant).get(first=100) for tenant in (None, shops.one, shops.other, shops.empty)
    ]
    assert expected["edges"]
    assert all(page == expected for page in others)


async def test_public_roots_are_the_ones_that_are_meant_to_be():
    public = {
        f"{root.name}.{name}"
        for root in (core_schema.query_type, core_schema.mutation_type, core_schema.subscription_type)
        for name, field in root.fields.items()
        if declared_of(field).permission == PUBLIC
    }
    assert public == {
        "Query.baseModels",
        "Query.signingKeys",
        "Query.listings",
        "Query.listing",
        "Mutation.signUp",
    }


async def test_lists_are_in_the_order_that_they_promise(api, shops: Shops):
    for name in set(CONNECTIONS) - {"baseModels", "listings", "sales"}:
        answer = await api.graphql(f"{{ {name} {{ nodes {{ id }} }} }}", shops.one)
        found = [node["id"] for node in answer["data"][name]["nodes"]]
        assert found == sorted(found, reverse=True), name
    answer = await api.graphql(
        "{ baseModels { nodes { name } } listings { nodes { publishedAt } } sales { nodes { createdAt } } }", shops.one
    )
    moments = [datetime.fromisoformat(node["publishedAt"]) for node in answer["data"]["listings"]["nodes"]]
    assert moments == sorted(moments, reverse=True)
    names = [node["name"] for node in answer["data"]["baseModels"]["nodes"]]
    assert [name for name in names if name.startswith("zoo/")] == names[-4:]


async def test_deleted_and_withdrawn_ones_are_where_they_are_said_to_be(api, shops: Shops):
    answer = await api.graphql(
        "{ deployments { nodes { name deletedAt } } dataSets { nodes { name deletedAt } }"
        " listings { nodes { title seller { namespace } } } ownListings { nodes { id title status } } }",
        shops.one,
    )
    data = answer["data"]
    for name in ("deployments", "dataSets"):
        assert "gone" not in {node["name"] for node in data[name]["nodes"]}
        assert {node["deletedAt"] for node in data[name]["nodes"]} == {None}
    own = data["ownListings"]["nodes"]
    assert [listing["status"] for listing in own] == ["withdrawn"] + ["published"] * (EACH - 1)
    offered = {node["title"] for node in data["listings"]["nodes"] if node["seller"]["namespace"] == shops.one.slug}
    assert offered == {listing["title"] for listing in own[1:]}
    one = "query($id: ID!) { listing(id: $id) { status } }"
    for tenant in (None, shops.one, shops.other):
        hidden = await api.graphql(one, tenant, id=own[0]["id"])
        assert (hidden["data"]["listing"], hidden["errors"][0]["extensions"]["code"]) == (None, "NOT_FOUND")
        shown = await api.graphql(one, tenant, id=own[1]["id"])
        assert shown["data"] == {"listing": {"status": "published"}}


async def ids_of(services: Services, kind: GraphQLObjectType, tenant: Any) -> list[str]:
    """Of the tenant's own, the oldest first."""
    mapping = mapping_of(kind)
    columns = mapping.table.c
    found = select(columns.id).order_by(columns.id)
    if "tenant_id" in columns:
        found = found.where(columns.tenant_id == tenant.tenant_id)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return [ids.encode(mapping.kind, each) for each in await uow.session.scalars(found)]


async def id_of(services: Services, kind: GraphQLObjectType, tenant: Any) -> str:
    """Of the newest: of a listing, one that was withdrawn."""
    return (await ids_of(services, kind, tenant))[-1]


@pytest.mark.parametrize("kind", NODES, ids=lambda kind: kind.name)
async def test_a_node_is_its_owners_alone(api, services: Services, shops: Shops, kind: GraphQLObjectType):
    identifier = await id_of(services, kind, shops.one)
    mine = await api.graphql(NODE, shops.one, id=identifier)
    assert mine["data"] == {"node": {"__typename": kind.name, "id": identifier}}
    for tenant in (shops.other, shops.empty):
        theirs = await api.graphql(NODE, tenant, id=identifier)
        assert theirs["data"] == (mine["data"] if kind.name == "BaseModel" else {"node": None})
        assert "errors" not in theirs
    refused = await api.graphql(NODE, id=identifier)
    assert refused["data"] == {"node": None}
    assert refused["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("kind", NODES, ids=lambda kind: kind.name)
@pytest.mark.parametrize("beside", ["", " usage { meter }"], ids=["planned", "by graphql-core"])
async def test_a_node_takes_the_permission_of_its_type(
    api, services: Services, shops: Shops, monkeypatch: pytest.MonkeyPatch, kind: GraphQLObjectType, beside: str
):
    document = f"query($id: ID!) {{ node(id: $id) {{ id }}{beside} }}"
    identifier = await id_of(services, kind, shops.one)
    required = PERMISSIONS[kind.name]
    monkeypatch.setattr(Identity, "may", lambda _self, permission: permission != required)
    answer = await api.graphql(document, shops.one, id=identifier)
    assert answer["data"]["node"] == ({"id": identifier} if required == PUBLIC else None)
    assert "errors" not in answer
    monkeypatch.setattr(
        Identity, "may", lambda _self, permission: permission in {required, AUTHENTICATED, BILLING_READ}
    )
    answer = await api.graphql(document, shops.one, id=identifier)
    assert answer["data"]["node"] == {"id": identifier}


async def test_nodes_come_in_the_order_of_their_ids(api, services: Services, shops: Shops):
    mine = [await id_of(services, kind, shops.one) for kind in NODES if kind.name != "BaseModel"]
    theirs = [await id_of(services, kind, shops.other) for kind in NODES if kind.name != "BaseModel"]
    asked = [*(each for pair in zip(mine, theirs, strict=True) for each in pair), "nonsense", "job_1", mine[0]]
    answer = await api.graphql("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", shops.one, ids=asked)
    assert answer["data"]["nodes"] == [{"id": each} if each in mine else None for each in asked]


def everything_of(kind: GraphQLObjectType, depth: int = 2) -> str:
    """A selection of all fields that need no argument, and of theirs."""
    selected = ["__typename"]
    for name, field in kind.fields.items():
        named = get_named_type(field.type)
        if is_leaf_type(named):
            selected.append(name)
        elif depth:
            selected.append(f"{name} {{ {everything_of(named, depth - 1)} }}")
    return " ".join(selected)


@pytest.mark.parametrize("kind", NODES, ids=lambda kind: kind.name)
async def test_a_node_is_the_same_by_plan_and_by_graphql_core(
    api, services: Services, shops: Shops, kind: GraphQLObjectType
):
    """A hand-written root beside it makes graphql-core read what otherwise one statement answers."""
    identifier = await id_of(services, kind, shops.one)
    fields = f"node(id: $id) {{ id ... on {kind.name} {{ {everything_of(kind)} }} }}"
    planned = await api.graphql(f"query($id: ID!) {{ {fields} }}", shops.one, id=identifier)
    mixed = await api.graphql(f"query($id: ID!) {{ {fields} usage {{ meter }} }}", shops.one, id=identifier)
    assert "errors" not in planned
    assert mixed["data"].pop("usage") == []
    assert mixed["data"] == planned["data"]


# The committed operations.


Variables = Callable[[Any, Shops], Awaitable[dict[str, Any]]]


async def nothing(_api: Any, _shops: Shops) -> dict[str, Any]:
    return {}


def first_of(root: str) -> Variables:
    async def find(api: Any, shops: Shops) -> dict[str, Any]:
        answer = await api.graphql(f"{{ {root}(first: 1) {{ nodes {{ id }} }} }}", shops.one)
        return {"id": answer["data"][root]["nodes"][0]["id"]}

    return find


async def a_search(_api: Any, _shops: Shops) -> dict[str, Any]:
    return {"text": "Number", "baseModel": "tunery/tiny", "first": 3}


@dataclass(frozen=True)
class Executed:
    """`statements` are more than 1 only where a root field is written by hand."""

    variables: Variables = nothing
    statements: int = 1


OPERATIONS = {
    "BaseModels": Executed(),
    "BillingAccount": Executed(),
    "Deployments": Executed(),
    "Listing": Executed(first_of("listings")),
    "Listings": Executed(a_search),
    "Organisation": Executed(),
    "TrainingJob": Executed(first_of("trainingJobs")),
    "TrainingJobs": Executed(),
}


def test_every_committed_operation_stands_here():
    assert {f"{name}.graphql" for name in OPERATIONS} == committed_operations().keys()


def test_only_hand_written_fields_take_more_than_one_statement():
    for name, executed in OPERATIONS.items():
        (operation,) = parse(committed_operations()[f"{name}.graphql"]).definitions
        assert isinstance(operation, OperationDefinitionNode)
        roots = core_schema.get_root_type(operation.operation).fields
        asked = [node.name.value for node in operation.selection_set.selections]
        planned = all(declared_of(roots[field]).source is not None for field in asked)
        assert planned == (executed.statements == 1), name


@pytest.mark.parametrize("way", ["by id", "as text"])
@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_is_so_many_statements(
    api, shops: Shops, monkeypatch: pytest.MonkeyPatch, name: str, way: str
):
    text = committed_operations()[f"{name}.graphql"]
    body = {"documentId": document_id(text)} if way == "by id" else {"query": text}
    body["variables"] = await OPERATIONS[name].variables(api, shops)

    async def send() -> dict[str, Any]:
        response = await api.client.post("/graphql", json=body, headers=shops.one.headers)
        answer = response.json()
        assert "errors" not in answer, answer
        return answer["data"]

    first = await send()  # may look up the API key
    assert all(value not in (None, [], {}) for value in first.values())
    if OPERATIONS[name].statements == 1:
        monkeypatch.setattr("tunery.graphql.executor.execute", None)  # graphql-core has no part in it
    with recorded() as statements:
        assert await send() == first
    assert len(statements) == OPERATIONS[name].statements, statements


async def test_the_recorder_sees_every_way_to_the_database(api, shops: Shops):
    with recorded() as statements:
        await api.graphql("{ organisation { name } }", shops.one)
        planned = len(statements)
        await api.graphql("{ organisation { name } usage { meter } }", shops.one)  # one written by hand, beside it
    assert planned == 1
    assert len(statements) > 3
    assert any("api_keys" in statement for statement in statements[1:])
    assert not any(statement.startswith(("BEGIN", "COMMIT")) for statement in statements)
