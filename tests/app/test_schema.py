import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import strawberry
from graphql import GraphQLEnumType, GraphQLInputObjectType, GraphQLInterfaceType, GraphQLObjectType, get_named_type

from tunery.app.schema import core_schema, schema
from tunery.graphql.access import PUBLIC
from tunery.graphql.compatibility import breaking_changes, undated_deprecations
from tunery.graphql.planner.declare import operation
from tunery.graphql.planner.mapping import declared_of
from tunery.graphql.planner.resolve import use_planner

REPOSITORY = Path(__file__).parents[2]
COMMITTED = REPOSITORY / "schema.graphql"
PROMISED = REPOSITORY / "docs" / "reference" / "schema.promised.graphql"


def test_the_committed_schema_is_the_one_served():
    assert COMMITTED.read_text().strip() == schema.as_str().strip(), "run `tunery schema > schema.graphql`"


def test_clients_may_rely_on_what_was_promised():
    assert PROMISED.exists(), f"no schema is promised yet: cp schema.graphql {PROMISED.relative_to(REPOSITORY)}"
    broken = breaking_changes(PROMISED.read_text(), schema.as_str(), datetime.now(UTC).date())
    assert not broken, (
        f"clients of {PROMISED.relative_to(REPOSITORY)} would break:\n  "
        + "\n  ".join(broken)
        + "\nKeep it, deprecated with the day after which it may go ('…; may go after 2027-06-30'), promise that"
        " (copy schema.graphql over the promised one), and remove it when the day is over. Before anyone relies on it,"
        " change the promise in the same commit instead."
    )


def test_every_deprecation_names_the_day_after_which_it_may_go():
    assert list(undated_deprecations(core_schema)) == []


def roots() -> dict[str, object]:
    kinds = (core_schema.query_type, core_schema.mutation_type, core_schema.subscription_type)
    return {f"{kind.name}.{name}": field for kind in kinds for name, field in kind.fields.items()}


def test_every_operation_says_which_permission_it_requires():
    """In its description and by the directive, too."""
    sdl = schema.as_str()
    for name, field in roots().items():
        permission = declared_of(field).permission
        assert permission, name
        assert field.description.endswith(f"Requires: {permission}."), name
    assert sdl.count('@requires(permission: "') == len(roots())


def test_an_operation_that_does_not_say_it_does_not_start():
    @strawberry.type
    class Query:
        @operation(access=PUBLIC, description="Says so.")
        def said(self) -> int:
            return 1

        @strawberry.field
        def unsaid(self) -> int:
            return 1

    @strawberry.type
    class Empty:
        @operation(access="", description="Says nothing.")
        def empty(self) -> int:
            return 1

    for root, name in ((Query, "Query.unsaid"), (Empty, "Empty.empty")):
        with pytest.raises(TypeError, match=f"{name} does not say which permission it requires"):
            use_planner(strawberry.Schema(root)._schema)


def test_everything_is_described():
    """An argument of an input type is described by its type."""
    undescribed = []
    for kind in core_schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        roots = {core_schema.query_type, core_schema.mutation_type, core_schema.subscription_type}
        if kind.description is None and kind not in roots:
            undescribed.append(kind.name)
        members = {}
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            members = kind.fields
        elif isinstance(kind, GraphQLEnumType):
            members = kind.values
        for name, member in members.items():
            undescribed += [f"{kind.name}.{name}"] * (not member.description)
            undescribed += [
                f"{kind.name}.{name}({argument})"
                for argument, declared in getattr(member, "args", {}).items()
                if not declared.description and not isinstance(get_named_type(declared.type), GraphQLInputObjectType)
            ]
    assert undescribed == []


def test_the_api_starts_without_the_training_stack():
    program = (
        "import sys, tunery.app.application, tunery.app.processes\n"
        "print([name for name in ('torch', 'transformers', 'peft', 'bitsandbytes') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
