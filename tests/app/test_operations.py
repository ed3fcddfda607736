"""The committed operations: each answers, by as many SQL statements as stand here."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from graphql import OperationDefinitionNode, parse

from tests.app.shops import Shops, open_shops
from tests.recorder import recorded
from tunery.app.schema import core_schema
from tunery.core.services import Services
from tunery.graphql.planner.mapping import declared_of
from tunery.graphql.trusted_documents import committed_operations, document_id

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


@pytest.fixture(scope="module")
async def shops(services: Services, sign_up) -> Shops:
    return await open_shops(services, sign_up)


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
async def test_an_operation_is_so_many_statements(api, shops: Shops, name: str, way: str):
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
