"""Single rules of the planner, by name. What is equal on all ways is `test_differential.py`'s matter."""

import asyncio
import json
from contextvars import ContextVar
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Annotated, Any
from unittest.mock import AsyncMock

import asyncpg
import pytest
import sqlalchemy as sa
from strawberry.schema.config import StrawberryConfig
from structlog.testing import capture_logs

from tests.conftest import Api
from tests.graphql.planner import library
from tests.graphql.planner.library import TENANTS, made
from tests.graphql.planner.ways import Ways
from tunery.core import ids
from tunery.core.errors import Unauthenticated, Unavailable
from tunery.core.identity import Identity
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.graphql.documents import MOST_SHAPES, Documents
from tunery.graphql.executor import Answer, Executor
from tunery.graphql.limits import Limits
from tunery.graphql.planner.declare import Row, column, connection, planned, root
from tunery.graphql.planner.mapping import Argument
from tunery.graphql.planner.planner import Planner
from tunery.graphql.planner.resolve import use_planner
from tunery.graphql.planner.sharing import Sharing, pass_on
from tunery.graphql.scalars import SCALARS

DECIMAL_TYPE: Any = library.build_schema().type_map["Decimal"]
ADA = ids.encode("adapter", made("author A0"))
HOMELESS = ids.encode("adapter", made("author A3"))
OF_B = ids.encode("adapter", made("author B0"))


@pytest.fixture
def statements(library_ways: Ways, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that the reader runs from here on."""
    issued: list[str] = []
    value = library_ways.reader.value

    async def record(sql: str, values: Any) -> Any:
        issued.append(sql)
        return await value(sql, values)

    monkeypatch.setattr(library_ways.reader, "value", record)
    return issued


def data(answer: Answer) -> Any:
    assert not answer.errors
    assert answer.data is not None
    return json.loads(answer.data)


def errors(answer: Answer) -> list[tuple[str, Any]]:
    return [(error.extensions["code"], error.path) for error in answer.errors]


# Statements and plans.


async def test_a_planned_query_is_one_statement(library_ways: Ways, statements: list[str]):
    text = """{
        authors(first: 3) { totalCount pageInfo { hasNextPage endCursor } edges { cursor node {
            name town { name } works { nodes { __typename title reviews { totalCount nodes { words } } } } } } }
        media { nodes { ... on Novel { genre } ... on Atlas { scale } } }
        openAuthors { nodes { id } }
    }"""
    answer = data(await library_ways.execute(text, who="A"))
    assert len(answer["authors"]["edges"]) == 3
    assert len(statements) == 1


async def test_beside_a_hand_written_field_each_planned_one_is_one_statement(library_ways: Ways, statements: list[str]):
    text = "{ echo authors { nodes { name works { nodes { title } } } } media { totalCount } }"
    assert data(await library_ways.execute(text, who="A"))["echo"] == ["echo"]
    assert len(statements) == 2


async def test_a_planned_type_below_a_hand_written_one_is_one_statement(library_ways: Ways, statements: list[str]):
    text = "{ desk(rank: 1) { name favourite { name works(first: 2) { nodes { title } } } } }"
    answer = data(await library_ways.execute(text, who="A"))
    assert answer["desk"]["favourite"]["name"] == "Bo"
    assert len(statements) == 1


async def test_arguments_below_a_reference_are_bound_beside_its_id(library_ways: Ways):
    """Also those of a variable that is called as the row's parameter once was."""
    text = "query($id: String) { desk(rank: 0) { favourite { media(first: 1, after: $id) { nodes { ... on Work { title } } pageInfo { endCursor } } } } }"
    first = data(await library_ways.execute(text, who="A"))["desk"]["favourite"]["media"]
    cursor = first["pageInfo"]["endCursor"]
    second = data(await library_ways.execute(text, {"id": cursor}, who="A"))["desk"]["favourite"]["media"]
    assert second["pageInfo"]["endCursor"] > cursor


async def test_a_reference_is_read_as_the_tenant_that_it_names(library_ways: Ways):
    text = "{ guest { favourite { id } } }"
    assert data(await library_ways.execute(text, who="A"))["guest"]["favourite"]["id"] == OF_B


async def test_variables_of_one_shape_share_a_plan(library_ways: Ways):
    operation = library_ways.document(
        "query($n: Int, $b: String) { authors(first: $n, beginning: $b) { nodes { name } } }"
    ).operation(None)

    def plan(**variables: Any) -> Any:
        run = library_ways.planner.prepare(operation, variables)
        assert run is not None
        return run.plan

    assert plan(n=1, b="A") is plan(n=1, b="B")
    assert plan(n=1, b="A") is not plan(n=2, b="A")
    assert plan(n=1, b="A") is not plan(n=1)
    assert plan(n=1) is not plan(n=1, b=None)


async def test_plans_are_bounded(library_ways: Ways):
    text = "query($b: Int) { authors(aboveRank: $b) { totalCount } }"
    operation = library_ways.document(text).operation(None)
    for number in range(3 * MOST_SHAPES):
        assert library_ways.planner.prepare(operation, {"b": number}) is not None
    assert len(operation.shapes) == MOST_SHAPES
    documents = Documents(library_ways.schema, Limits(), size=3)
    kept = documents.get("{ echo }")
    for number in range(10):
        documents.get(f"{{ a{number}: echo }}")
    assert documents.get("{ echo }") is not kept


async def test_more_fields_than_concat_takes(library_ways: Ways, statements: list[str]):
    names = " ".join(f"n{number}: name r{number}: rank" for number in range(300))
    answer = data(await library_ways.execute(f"{{ authors(first: 1) {{ nodes {{ {names} }} }} }}", who="A"))
    assert len(answer["authors"]["nodes"][0]) == 600
    assert len(statements) == 1


async def test_what_is_skipped_altogether_needs_no_key(library_ways: Ways):
    assert data(await library_ways.execute("{ __typename }")) == {"__typename": "Query"}
    assert data(await library_ways.execute("{ authors @skip(if: true) { totalCount } }")) == {}


async def test_total_count_alone_reads_no_page(library_ways: Ways, statements: list[str]):
    answer = data(await library_ways.execute("{ authors { totalCount } }", who="A"))
    assert answer == {"authors": {"totalCount": 9}}
    assert "LIMIT" not in statements[0]


async def test_what_nobody_asked_for_is_not_counted(library_ways: Ways, statements: list[str]):
    data(await library_ways.execute("{ authors { nodes { name } } }", who="A"))
    assert "count" not in statements[0].lower()


# Errors.


async def test_a_missing_value_is_an_error_where_it_is_missing(library_ways: Ways, statements: list[str]):
    text = "query($id: ID!) { author(id: $id) { name wildHome { name } } __typename }"
    answer = await library_ways.execute(text, {"id": HOMELESS}, "A")
    assert answer.data == b'{"author":null,"__typename":"Query"}'
    assert errors(answer) == [("INTERNAL_ERROR", ["author", "wildHome"])]
    assert len(statements) == 2  # the second one for graphql-core
    assert data(await library_ways.execute(text, {"id": ADA}, "A"))["author"]["wildHome"] == {"name": "Town 0"}


async def test_a_number_beyond_32_bits_is_an_error_where_it_stands(library_ways: Ways):
    answer = await library_ways.execute("{ samples(first: 100) { position maybeWildInt } }", who="A")
    assert answer.data is not None
    samples = json.loads(answer.data)["samples"]
    assert answer.errors
    for error in answer.errors:
        assert error.message.startswith("Int cannot represent non 32-bit signed integer value: ")
        assert error.path is not None
        assert samples[error.path[1]]["maybeWildInt"] is None


@pytest.mark.parametrize("field", ["wildRatio", "wildTags", "wildWords"])
async def test_what_the_type_forbids_is_not_printed(library_ways: Ways, field: str):
    answer = await library_ways.execute(f"{{ samples(first: 100) {{ {field} }} }}", who="A")
    assert answer.data is not None
    assert answer.errors
    for sample in json.loads(answer.data)["samples"]:
        value = sample[field]
        assert value is None or isinstance(value, float) or all(isinstance(item, str) for item in value)


async def test_a_missing_value_is_logged_as_a_fault_of_ours_with_its_path(library_ways: Ways):
    text = f'{{ author(id: "{HOMELESS}") {{ home: wildHome {{ name }} }} }}'
    operation, context = library_ways.document(text).operation(None), library_ways.context("A")
    for way in (library_ways.planned_way, library_ways.fields_way):
        with capture_logs() as logs:
            answer = await way.execute(operation, {}, context)
        assert (answer.data, errors(answer)) == (b'{"author":null}', [("INTERNAL_ERROR", ["author", "home"])])
        [logged] = logs
        assert (logged["event"], logged["log_level"], logged["path"]) == (
            "unexpected fault",
            "error",
            ["author", "home"],
        )
        assert str(logged["exc_info"]) == "Cannot return null for non-nullable field Author.wildHome."
        assert "wildHome" not in answer.errors[0].message


async def test_json_s_own_null_is_none_the_less_missing(library_ways: Ways):
    text = f'{{ author(id: "{ADA}") {{ samples(first: 5) {{ wildBlob }} }} }}'
    answer = await library_ways.execute(text, who="A")
    assert ("INTERNAL_ERROR", ["author", "samples", 0, "wildBlob"]) in errors(answer)


async def test_decimals_keep_all_their_digits(library_ways: Ways):
    answer = data(await library_ways.execute("{ samples(first: 100) { amount loose } }", who="A"))
    printed = {sample["loose"] for sample in answer["samples"]} | {sample["amount"] for sample in answer["samples"]}
    assert {
        "123456789012345678.123456789012",
        "100",
        "100000",
        "-0.5",
        "0",
        "0.000000000000000000000000000001",
    } <= printed
    for text in printed - {"NaN"}:
        assert DECIMAL_TYPE.serialize(Decimal(text)) == text


@pytest.mark.parametrize(
    ("selection", "code", "path"),
    [
        ("works(first: 0) { totalCount }", "INVALID_INPUT", ["author", "works"]),
        ("works(first: 1, last: 1) { totalCount }", "INVALID_INPUT", ["author", "works"]),
        ("longest(first: 101) { title }", "INVALID_INPUT", ["author", "longest"]),
        ('works(after: "x") { nodes { title } }', "INVALID_INPUT", ["author", "works"]),
        ('works(after: "x") { totalCount }', "INVALID_INPUT", ["author", "works"]),
    ],
)
async def test_a_wrong_argument_is_an_error_of_its_own_field(library_ways: Ways, selection: str, code: str, path: Any):
    text = f'query {{ author(id: "{ADA}") {{ name {selection} }} __typename }}'
    answer = await library_ways.execute(text, who="A")
    assert errors(answer) == [(code, path)]


@pytest.mark.parametrize("cursor", ["x", "4294967296", "-2147483649", "99999999999999999999", "1_2", ""])
async def test_a_cursor_of_another_list_is_refused(library_ways: Ways, cursor: str):
    text = "query($c: String) { authors(after: $c) { nodes { name } } }"
    answer = await library_ways.execute(text, {"c": cursor}, "A")
    assert errors(answer) == [("INVALID_INPUT", ["authors"])]
    assert answer.errors[0].extensions["field"] == "after"


@pytest.mark.parametrize("selection", ["totalCount", "__typename"])
async def test_a_cursor_that_nothing_needs_is_refused_all_the_same(library_ways: Ways, selection: str):
    root = f"query($c: String) {{ authors(after: $c) {{ {selection} }} }}"
    nested = f"query($c: String) {{ newestWork {{ reviews(before: $c) {{ {selection} }} }} }}"
    assert errors(await library_ways.execute(root, {"c": "x"}, "A")) == [("INVALID_INPUT", ["authors"])]
    assert errors(await library_ways.execute(nested, {"c": "x"}, "A")) == [("INVALID_INPUT", ["newestWork", "reviews"])]


async def test_a_variable_that_is_not_given_leaves_the_argument_its_default(library_ways: Ways, statements: list[str]):
    text = "query($above: Int) { samples(above: $above, first: 100) { position } }"
    everything = data(await library_ways.execute("{ samples(first: 100) { position } }", who="A"))
    statements.clear()
    assert data(await library_ways.execute(text, who="A")) == everything
    assert len(statements) == 1
    assert data(await library_ways.execute(text.replace("{ samples", "{ echo samples"), who="A")) == {
        "echo": ["echo"],
        **everything,
    }
    above = data(await library_ways.execute(text, {"above": 3}, "A"))["samples"]
    assert above == [sample for sample in everything["samples"] if sample["position"] > 3] != []


@pytest.mark.parametrize("kind", [list[str], library.JSON])
def test_an_argument_that_may_have_variables_within_does_not_start(kind: Any):
    """Everything that is bound is a variable or stands in the document: graphql-core's way has no other to turn to."""

    class Asked:
        @staticmethod
        def wrong(author: Row, given: Any) -> library.Conditions:  # noqa: ARG004
            return ()

    Asked.wrong.__annotations__["given"] = Annotated[kind, Argument(str, sa.Text())]

    @library.strawberry.type
    class Query:
        wrong = root(library.Author | None, access="x", description="x")(Asked.wrong)

    schema = library.strawberry.Schema(
        Query, types=[library.Novel, library.Atlas], config=StrawberryConfig(scalar_map=SCALARS)
    )._schema
    with pytest.raises(TypeError, match=r"Query\.wrong\(given:\) may have variables within"):
        use_planner(schema)


@pytest.mark.parametrize("blank", ["", " ", "\t\n", "\u3000" * 500])
async def test_a_blank_search_is_none(library_ways: Ways, blank: str):
    """Also with a variable that was a word before: the same document, another plan."""
    text = "query($name: String) { towns(name: $name) { nodes { name } } }"
    operation = library_ways.document(text).operation(None)
    context = library_ways.context("A")
    everything = data(await library_ways.execute("{ towns { nodes { name } } }", who="A"))
    assert len(everything["towns"]["nodes"]) == 6
    for way in (library_ways.planned_way, library_ways.fields_way):
        for given, found in ({"name": "1"}, 2), ({"name": "_x"}, 0), ({"name": blank}, 6), ({"name": "1"}, 2):
            assert len(data(await way.execute(operation, given, context))["towns"]["nodes"]) == found
    literal = f"{{ towns(name: {json.dumps(blank)}) {{ nodes {{ name }} }} }}"
    assert data(await library_ways.execute(literal, who="A")) == everything


def test_a_connection_s_order_points_one_way():
    @planned(library.authors, description="x")
    class Wrong:
        name: str
        works: library.Connection[library.Novel] = connection(
            library.by_author, order=library.longest_first, description="x"
        )

    @library.strawberry.type
    class Query:
        @root(Wrong, access="x", description="x")
        def wrong(author: Row) -> library.Conditions:  # noqa: N805
            return ()

    schema = library.strawberry.Schema(
        Query, types=[library.Atlas], config=StrawberryConfig(scalar_map=SCALARS)
    )._schema
    with pytest.raises(ValueError, match="same way"):
        use_planner(schema)


# Tenants and keys.


async def test_the_tenant_s_context_ends_with_the_statement(library_rows: None, app_url: str, library_ways: Ways):
    reader = Reader(app_url, size=1)
    planner = Planner(library_ways.schema, reader, library.KEY_IS_VALID)
    operation = library_ways.document("{ authors { totalCount } }").operation(None)
    run = planner.prepare(operation, {})
    assert run is not None
    assert await planner.answer(run, library_ways.context("A")) == b'{"authors":{"totalCount":9}}'
    assert not await reader.value("SELECT current_setting('tunery.tenant_id', true)", [])
    assert await reader.value("SELECT count(*) FROM library_authors", []) == 0
    await reader.close()


async def test_another_tenant_s_rows_are_never_seen(library_ways: Ways):
    text = "query($id: ID!, $ids: [ID!]!) { author(id: $id) { name } node(id: $id) { id } nodes(ids: $ids) { id } authors(first: 100) { nodes { id } } }"
    answer = await library_ways.execute(text, {"id": OF_B, "ids": [OF_B, ADA]}, "A")
    assert answer.data is not None
    seen = json.loads(answer.data)
    assert seen["author"] is None
    assert seen["node"] is None
    assert seen["nodes"] == [None, {"id": ADA}]
    assert OF_B not in str(seen["authors"])
    assert errors(answer) == [("NOT_FOUND", ["author"])]


async def test_without_a_key_only_public_fields_are_answered(library_ways: Ways, statements: list[str]):
    answer = await library_ways.execute("{ newestWork { id } openAuthors { totalCount } }")
    assert answer.data == b'{"newestWork":null,"openAuthors":{"totalCount":9}}'
    assert errors(answer) == [("UNAUTHENTICATED", ["newestWork"])]
    assert len(statements) == 1


async def test_a_public_field_is_the_same_beside_private_ones(library_ways: Ways):
    """A town of the tenant's own isn't everybody's, whatever else the caller asks for."""
    public = "openAuthors(first: 100) { nodes { name town { name } } }"
    alone = data(await library_ways.execute(f"{{ {public} }}"))
    for who in "AB":
        beside = data(await library_ways.execute(f"{{ {public} authors {{ totalCount }} }}", who=who))
        assert beside["openAuthors"] == alone["openAuthors"]
    towns = {author["town"]["name"] for author in alone["openAuthors"]["nodes"] if author["town"]}
    assert towns == {"Town 0", "Town 1"}


async def test_a_revoked_key_is_refused_by_the_statement_itself(
    library_ways: Ways, owner: asyncpg.Connection, statements: list[str]
):
    key = made("a key that gets revoked")
    await owner.execute("INSERT INTO library_keys (id, tenant_id) VALUES ($1, $2)", key, TENANTS["A"])
    identity = Identity(TENANTS["A"], key, made("member A"))
    context = library_ways.context("A")
    context = type(context)(context.services, "r", identity, None, "revoked")
    operation = library_ways.document("{ authors { totalCount } }").operation(None)
    run = library_ways.planner.prepare(operation, {})
    assert run is not None
    assert await library_ways.planner.answer(run, context) is not None

    await owner.execute("UPDATE library_keys SET revoked_at = now() WHERE id = $1", key)
    assert await library_ways.planner.answer(run, context) is None

    # Nobody was asked so far whether the key is good. Now somebody is, by the executor; and a root field's statement.
    async def confirm(_authorization: str | None) -> Identity:
        raise Unauthenticated("this API key was revoked")

    executor = Executor(library_ways.schema, library_ways.planner, confirm)
    answer = await executor.execute(operation, {}, context)
    assert answer.data == b"null"
    assert errors(answer) == [("UNAUTHENTICATED", ["authors"])]

    async def believe(_authorization: str | None) -> Identity:
        return identity

    executor = Executor(library_ways.schema, library_ways.planner, believe)
    answer = await executor.execute(operation, {}, context)
    assert answer.data == b"null"
    assert errors(answer) == [("UNAUTHENTICATED", ["authors"])]


async def test_a_revoked_key_reaches_no_hand_written_resolver(api: Api, sign_up: Any, owner: asyncpg.Connection):
    tenant = await sign_up("Revoked")
    for document in ("{ usage { __typename } }", "{ apiKeys { totalCount } }"):
        assert "errors" not in await api.graphql(document, tenant)
    await owner.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", tenant.identity.api_key_id)
    for document in ("{ usage { __typename } }", "{ apiKeys { totalCount } }"):
        answer = await api.graphql(document, tenant)
        assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        assert not answer.get("data")


# node and nodes.


@pytest.mark.parametrize(
    "identifier",
    [
        "",
        "x",
        "adapter",
        "adapter_",
        "adapter_zz",
        f"{ADA}0",
        ADA.upper(),
        ADA.replace("adapter", "lst"),
        "漢",
        "a" * 500,
    ]
    + [ids.encode(kind, made("author A0")) for kind in ("listing", "purchase", "training job")],
)
async def test_a_wrong_id_is_no_node(library_ways: Ways, identifier: str):
    text = "query($id: ID!) { node(id: $id) { id } nodes(ids: [$id]) { id } }"
    assert data(await library_ways.execute(text, {"id": identifier}, "A")) == {"node": None, "nodes": [None]}


async def test_an_id_of_a_sibling_s_kind_is_no_node(library_ways: Ways):
    """Novels and atlases share a table, not their ids."""
    text = "{ media { nodes { __typename ... on Novel { id } } } }"
    novel = next(node for node in data(await library_ways.execute(text, who="A"))["media"]["nodes"] if "id" in node)
    swapped = novel["id"].replace("lst_", "pur_")
    ask = "query($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }"
    answer = data(await library_ways.execute(ask, {"ids": [novel["id"], swapped]}, "A"))
    assert answer["nodes"] == [{"id": novel["id"], "__typename": "Novel"}, None]


async def test_a_type_that_the_caller_may_not_read_has_no_nodes(library_ways: Ways, statements: list[str]):
    """As if the ids were unknown; and others' plans are not the caller's."""
    text = "{ media(first: 100) { nodes { __typename ... on Node { id } } } }"
    nodes = data(await library_ways.execute(text, who="A"))["media"]["nodes"]
    novel, atlas = (next(node for node in nodes if node["__typename"] == kind) for kind in ("Novel", "Atlas"))
    author = {"__typename": "Author", "id": ADA}
    document = library_ways.document(
        "query($id: ID!, $ids: [ID!]!) { node(id: $id) { __typename id } nodes(ids: $ids) { __typename id }"
        f' literal: node(id: "{atlas["id"]}") {{ __typename id }} }}'
    )
    operation = document.operation(None)
    given = {"id": atlas["id"], "ids": [novel["id"], atlas["id"], ADA]}
    for way, number in (library_ways.planned_way, 1), (library_ways.fields_way, 3):
        for who, seen in ("A", atlas), ("A without maps", None), ("A", atlas):
            statements.clear()
            answer = data(await way.execute(operation, given, library_ways.context(who)))
            assert answer == {"node": seen, "nodes": [novel, seen, author], "literal": seen}
            assert len(statements) == number
    unknown = {**given, "id": ids.encode("purchase", made("nothing"))}
    answer = data(await library_ways.planned_way.execute(operation, unknown, library_ways.context("A without maps")))
    assert answer["node"] is None


@pytest.mark.parametrize("selection", ["reviews(first: 0) { totalCount }", 'reviews(after: "x") { totalCount }'])
async def test_what_the_caller_may_not_read_has_no_errors_either(library_ways: Ways, selection: str):
    text = "{ media(first: 100) { nodes { ... on Atlas { id } } } }"
    nodes = data(await library_ways.execute(text, who="A"))["media"]["nodes"]
    atlas = next(node["id"] for node in nodes if node)
    ask = f"query($id: ID!) {{ node(id: $id) {{ ... on Atlas {{ {selection} }} }} }}"
    assert errors(await library_ways.execute(ask, {"id": atlas}, "A")) == [("INVALID_INPUT", ["node", "reviews"])]
    for identifier in (atlas, ids.encode("purchase", made("nothing"))):
        assert data(await library_ways.execute(ask, {"id": identifier}, "A without maps")) == {"node": None}


async def test_node_itself_requires_a_key_that_may(library_ways: Ways):
    class Stranger(Identity):
        def may(self, permission: str) -> bool:
            return permission == library.READ

    known = library_ways.context("A")
    context = replace(known, identity=Stranger(TENANTS["A"], made("key A"), made("member A")))
    operation = library_ways.document(f'{{ node(id: "{ADA}") {{ id }} }}').operation(None)
    run = library_ways.planner.prepare(operation, {})
    assert run is not None
    assert await library_ways.planner.answer(run, context) is None


@pytest.mark.parametrize("said", [{"kind": "listing"}, {"access": "x"}])
def test_a_planned_type_with_ids_but_no_permission_or_the_reverse_does_not_start(said: dict[str, str]):
    @planned(library.towns, **said, description="x")
    class Unsaid:
        name: str = column(description="x")

    @library.strawberry.type
    class Query:
        @root(Unsaid | None, access="x", description="x")
        def unsaid(town: Row) -> library.Conditions:  # noqa: N805
            return ()

    with pytest.raises(TypeError, match="Unsaid does not say both"):
        use_planner(library.strawberry.Schema(Query)._schema)


async def test_variables_may_stand_within_a_list_of_ids(library_ways: Ways, statements: list[str]):
    text = 'query($a: ID!, $b: ID!) { nodes(ids: [$b, "x", $a]) { id } }'
    ask = {"a": ADA, "b": HOMELESS}
    assert data(await library_ways.execute(text, ask, "A")) == {"nodes": [{"id": HOMELESS}, None, {"id": ADA}]}
    assert len(statements) == 1
    mixed = text.replace("{ nodes", "{ echo nodes")
    assert data(await library_ways.execute(mixed, ask, "A"))["nodes"] == [{"id": HOMELESS}, None, {"id": ADA}]


async def test_there_is_a_most_of_ids(library_ways: Ways):
    answer = await library_ways.execute("query($i: [ID!]!) { nodes(ids: $i) { id } }", {"i": [ADA] * 101}, "A")
    assert errors(answer) == [("INVALID_INPUT", ["nodes"])]


# What everybody may read.


async def test_a_public_answer_is_the_same_for_everybody(library_ways: Ways):
    text = "{ openAuthors(first: 100) { totalCount nodes { name town { name } works { nodes { title } } } } }"
    answers = {(await library_ways.execute(text, who=who)).data for who in ("A", "B", None)}
    assert len(answers) == 1


async def test_public_reads_at_the_same_time_share_executions(library_ways: Ways, statements: list[str]):
    text = "query($b: String) { openAuthors(beginning: $b) { nodes { name } } }"
    answers = await asyncio.gather(*(library_ways.execute(text, {"b": "A"}, who=None) for _ in range(50)))
    assert len({answer.data for answer in answers}) == 1
    documents = len(answers)  # each has a document of its own here, so nothing is shared yet
    assert len(statements) == documents
    statements.clear()
    operation = library_ways.document(text).operation(None)
    context = library_ways.context(None)
    asked = (library_ways.planned_way.execute(operation, {"b": name}, context) for name in "AB" * 25)
    await asyncio.gather(*asked)
    assert len(statements) == 4  # of each the first, and one for all that came while it ran


async def test_a_caller_who_leaves_takes_no_answer_from_the_others(library_ways: Ways):
    operation = library_ways.document("{ openAuthors { nodes { name } } }").operation(None)
    context = library_ways.context(None)
    asked = [asyncio.ensure_future(library_ways.planned_way.execute(operation, {}, context)) for _ in range(6)]
    await asyncio.sleep(0)
    asked[0].cancel()
    asked[3].cancel()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert len({answer.data for at, answer in enumerate(answers) if at not in (0, 3)}) == 1


async def test_private_reads_share_nothing(library_ways: Ways, statements: list[str]):
    operation = library_ways.document("{ authors { totalCount } }").operation(None)
    asked = (library_ways.planned_way.execute(operation, {}, library_ways.context(who)) for who in "ABAB")
    answers = await asyncio.gather(*asked)
    assert [answer.data for answer in answers] == [b'{"authors":{"totalCount":9}}', b'{"authors":{"totalCount":4}}'] * 2
    assert len(statements) == 4


class Execution:
    """Counts, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.gate = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return number


async def joined(sharing: Sharing[int], key: str, execution: Execution) -> int:
    waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    sharing.join(key, execution, partial(pass_on, waiting))
    return await waiting


async def _waiting(sharing: Sharing[int], execution: Execution, number: int) -> list[asyncio.Task[int]]:
    async def wait() -> int:
        return await joined(sharing, "key", execution)

    tasks = [asyncio.create_task(wait()) for _ in range(number)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_nobody_joins_an_execution_that_has_begun():
    sharing, execution = Sharing[int](), Execution()
    [first] = await _waiting(sharing, execution, 1)
    others = await _waiting(sharing, execution, 20)
    assert execution.begun == 1
    execution.gate.set()
    assert await first == 1
    assert set(await asyncio.gather(*others)) == {2}
    assert await joined(sharing, "key", execution) == 3


async def test_different_reads_do_not_wait_for_each_other():
    sharing, execution, other = Sharing[int](), Execution(), Execution()
    [first] = await _waiting(sharing, execution, 1)
    other.gate.set()
    assert await joined(sharing, "another key", other) == 1
    execution.gate.set()
    await first


async def test_an_error_reaches_all_who_wait_and_nobody_after_them():
    sharing, execution = Sharing[int](), Execution()
    tasks = await _waiting(sharing, execution, 10)
    execution.error = OSError("gone")
    execution.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, OSError) for result in results)
    assert execution.begun == 2
    execution.error = None
    assert await joined(sharing, "key", execution) == 3


async def test_what_follows_is_not_done_in_the_first_one_s_name():
    """Else a request that is traced would have every later execution traced, too, as long as one follows another."""
    whose, seen = ContextVar("whose", default="nobody"), []
    sharing, told = Sharing[None](), []

    async def execute() -> None:
        seen.append(whose.get())
        await asyncio.sleep(0)

    token = whose.set("the first one")
    sharing.join("key", execute, told.append)
    whose.reset(token)
    for _ in range(2):
        sharing.join("key", execute, lambda _ended: told.append(whose.get()))
    await asyncio.sleep(0.01)
    assert seen == ["the first one", "nobody"]
    assert told[1:] == ["nobody", "nobody"]


async def test_one_who_fails_harms_nobody():
    sharing, execution, told = Sharing[int](), Execution(), []
    execution.gate.set()
    sharing.join("key", execution, lambda _ended: 1 / 0)
    for number in range(3):
        sharing.join("key", execution, lambda ended, number=number: told.append((number, ended.result())))
        sharing.join("key", execution, lambda _ended: 1 / 0)
    await asyncio.sleep(0.01)
    assert told == [(0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("who", [0, 1, 5])
async def test_one_who_leaves_harms_nobody(who: int):
    sharing, execution = Sharing[int](), Execution()
    tasks = await _waiting(sharing, execution, 10)
    tasks[who].cancel()
    await asyncio.sleep(0)
    execution.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results.pop(who), asyncio.CancelledError)
    assert all(isinstance(result, int) for result in results)


# The reader.


async def test_a_statement_that_takes_too_long_is_an_error_that_says_so(app_url: str):
    reader = Reader(app_url, size=1, timeout_seconds=0.2)
    with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
        await reader.value("SELECT pg_sleep(5)::text", [])
    assert await reader.value("SELECT 1", []) == 1
    await reader.close()


async def test_a_cancelled_request_leaves_the_pool_usable(app_url: str):
    reader = Reader(app_url, size=2)
    tasks = [asyncio.create_task(reader.value("SELECT pg_sleep(3)::text", [])) for _ in range(6)]
    await asyncio.sleep(0.1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    answers = await asyncio.wait_for(asyncio.gather(*(reader.value("SELECT 1", []) for _ in range(10))), 2)
    assert answers == [1] * 10
    await reader.close()


async def test_who_waits_too_long_for_a_connection_is_told_so(app_url: str):
    reader = Reader(app_url, size=1, timeout_seconds=0.4)
    running = asyncio.create_task(reader.value("SELECT pg_sleep(0.3)::text", []))
    await asyncio.sleep(0.05)
    following = asyncio.create_task(reader.value("SELECT pg_sleep(0.3)::text", []))
    late = [asyncio.create_task(reader.value("SELECT 1", [])) for _ in range(3)]
    for task in late:
        with pytest.raises(Unavailable, match="too many requests"):
            await task
    assert await asyncio.gather(running, following) == ["", ""]
    assert await reader.value("SELECT 1", []) == 1
    await reader.close()


async def test_after_a_lost_connection_the_next_request_gets_a_new_one(app_url: str, owner: asyncpg.Connection):
    reader = Reader(app_url, size=1)
    lost = await reader.value("SELECT pg_backend_pid()", [])
    await owner.execute("SELECT pg_terminate_backend($1)", lost)
    await asyncio.sleep(0.05)
    assert await reader.value("SELECT pg_backend_pid()", []) != lost
    running = asyncio.create_task(reader.value("SELECT pg_sleep(3)::text, pg_backend_pid()", []))
    await asyncio.sleep(0.05)
    await owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3)::text, pg_b%'"
    )
    with pytest.raises((asyncpg.PostgresError, ConnectionError, asyncpg.InterfaceError)):
        await running
    assert await reader.value("SELECT 1", []) == 1
    await reader.close()


async def test_a_connection_that_the_server_is_about_to_end_is_not_used_again(app_url: str):
    reader = Reader(app_url, size=1)
    first = await reader.value("SELECT pg_backend_pid()", [])
    with pytest.raises(asyncpg.PostgresError):
        await reader.value("SELECT 1 / 0", [])
    assert await reader.value("SELECT pg_backend_pid()", []) == first
    farewell, [connection] = asyncpg.InternalClientError("cannot switch to state 12"), reader._free
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(connection), "fetchval", AsyncMock(side_effect=farewell))
        with pytest.raises(ConnectionResetError):
            await reader.value("SELECT 1", [])
    assert await reader.value("SELECT pg_backend_pid()", []) != first
    await reader.close()


async def test_the_reader_writes_nothing(library_rows: None, app_url: str, owner: asyncpg.Connection):
    reader = Reader(app_url, size=1)
    tenant = f"set_config('tunery.tenant_id', '{TENANTS['A']}', true)"
    insert = (
        f"WITH c AS (SELECT {tenant}) INSERT INTO library_keys (id, tenant_id) SELECT uuidv7(), '{TENANTS['A']}' FROM c"
    )
    before = await owner.fetchval("SELECT count(*) FROM library_keys")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await reader.value(insert, [])
    assert await owner.fetchval("SELECT count(*) FROM library_keys") == before
    await reader.close()


def test_services_know_the_planner(services: Services):
    assert isinstance(services.get(Planner), Planner)
