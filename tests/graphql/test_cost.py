"""What an operation costs."""

import time
from typing import Any

import pytest
from graphql import build_schema, parse

from tunery.graphql.cost import Price, cost_of
from tunery.graphql.documents import Document

SCHEMA = build_schema(
    """
    interface Node { id: ID! friends: [User] }
    type User implements Node { id: ID! friends: [User] boss: User posts(first: Int = 20, last: Int): Posts! tags: [String] }
    type Shop implements Node { id: ID! friends: [User] owner: User owners: [User] }
    union Any = User | Shop
    type Posts { edges: [Edge!]! nodes: [Post!]! pageInfo: PageInfo! others: [Post!]! totalCount: Int! }
    type Edge { cursor: ID! node: Post! }
    type Post { id: ID! author: User }
    type PageInfo { end: ID }
    type Payload { user: User }
    type Query {
      me: User n: Int nodes(ids: [ID!]!): [Node]! any: Any anys: [Any!]! few: [User!]!
      users(first: Int): Posts! posts(first: Int! = 20): Posts! list(first: Int = 5): [User]
    }
    type Mutation { write: Payload! rename: Payload }
    type Subscription { events: Payload! }
    """
)
SCHEMA.query_type.fields["few"].extensions["tunery_most"] = 3


def cost(text: str, operation: str | None = None, **variables: Any) -> Price:
    document = Document(SCHEMA, text, None)
    assert not document.errors
    return document.operation(operation).cost(variables)


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("{ n }", 1),
        ("{ __typename }", 1),
        ("{ me { id tags } }", 1),
        ("{ me { boss { boss { id } } } n }", 3),
        ("{ a: me { id } b: me { id } }", 2),
        # lists: as many as they may have
        ("{ me { friends { id } } }", 1 + 100),
        ("{ few { boss { id } } }", 3 * 2),
        ("{ list { id } }", 5),
        ("{ list(first: 7) { id } }", 7),
        # connections: the field itself, then edges and nodes as the page has them
        ("{ posts { edges { node { id } } pageInfo { end } } }", 1 + 20 * 2 + 1),
        ("{ posts(first: 3) { edges { cursor } } }", 1 + 3),
        ("{ posts(first: 3) { nodes { author { id } } } }", 1 + 3 * 2),
        ("{ posts(first: 3) { others { id } } }", 1 + 100),
        ("{ users { nodes { id } } }", 1 + 100),
        ("{ me { posts(last: 2, first: 1) { nodes { id } } } }", 1 + 1 + 2),
        ("{ posts(first: 2) { nodes { author { posts(first: 3) { nodes { id } } } } } }", 1 + 2 * (1 + 1 + 1 + 3)),
        ("{ ... { posts(first: 2) { ...P } } } fragment P on Posts { nodes { id } }", 1 + 2),
        # counts
        ("{ posts(first: 3) { totalCount } }", 1 + 10),
        ("{ posts(first: 3) { n: totalCount ...P } } fragment P on Posts { totalCount nodes { id } }", 1 + 10 + 10 + 3),
        ("{ posts(first: 2) { nodes { author { posts { totalCount } } } } }", 1 + 2 * (1 + 1 + 1 + 10)),
        ("{ posts { totalCount @skip(if: true) } }", 1),
        # clamped
        ("{ posts(first: 1000) { nodes { id } } }", 1 + 100),
        ("{ posts(first: -1) { nodes { id } } }", 1),
        # ids
        ('{ nodes(ids: ["a", "b", "c"]) { id } }', 3),
        ('{ nodes(ids: "a") { id } }', 1),
        # abstract types: the dearest
        ("{ any { ... on User { boss { id } } ... on Shop { owners { id } } } }", 1 + 100),
        ("{ any { ... on User { boss { id } a: boss { id } } ... on Shop { owner { id } } } }", 1 + 2),
        ("{ any { ... on User { boss { id } } ...U ... on Node { friends { id } } } } fragment U on User { a: boss { id } }", 1 + 100 + 2),
        # conditions
        ("{ me @skip(if: true) { id } few { id } }", 3),
        ("{ few @include(if: false) { id } }", 1),
        ("{ ... @include(if: false) { few { id } } ...F @skip(if: true) } fragment F on Query { few { id } }", 1),
        # writing
        ("mutation { write { user { id } } }", 10 + 2),
        ("mutation { a: write { user { id } } ...M } fragment M on Mutation { rename { user { id } } b: rename { user { id } } }", 3 * 12),
        ("mutation { write @skip(if: true) { user { id } } }", 1),
        ("subscription { events { user { id } } }", 2),
        # whatever is asked of the schema
        ("{ __schema { types { fields { args { type { name } } } } } }", 100),
    ],
)  # fmt: skip
def test_one_point_for_each_object_that_may_come(text: str, points: int):
    assert cost(text) == points


@pytest.mark.parametrize(
    ("given", "items"),
    [
        ({"n": 7}, 7),
        ({"n": 7.0}, 7),
        ({}, 20),
        ({"n": None}, 20),
        ({"n": "7"}, 20),
        ({"n": 7.5}, 20),
        ({"n": True}, 20),
        ({"n": [1]}, 20),
        ({"n": 10**30}, 100),
        ({"n": -5}, 0),
    ],
)
def test_a_page_s_length_by_variable(given: dict, items: int):
    # The executor refuses what is no number; until then the argument's default counts.
    assert cost("query($n: Int!) { posts(first: $n) { nodes { id } } }", **given) == 1 + items


def test_a_variable_s_default_comes_before_the_argument_s():
    text = "query($n: Int! = 3, $ids: [ID!]! = [1, 2]) { posts(first: $n) { nodes { id } } nodes(ids: $ids) { id } }"
    assert cost(text) == 1 + 3 + 2
    assert cost(text, n=4, ids=["a", "b", "c"]) == 1 + 4 + 3


def test_conditions_by_variable():
    text = "query($a: Boolean = true, $b: Boolean!) { few @skip(if: $a) { id } list @include(if: $b) { id } }"
    assert cost(text, b=True) == 5
    assert cost(text, a=False, b=True) == 8
    assert cost(text, a=False, b=False) == 3
    assert cost(text, a=False) == 8, "unknown: it may come"


def test_one_operation_s_cost_for_other_variables_is_another():
    document = Document(SCHEMA, "query($n: Int!) { posts(first: $n) { nodes { id } } }", None)
    operation = document.operation(None)
    assert [operation.cost({"n": n}) for n in (1, 100, 1.0, 100.0)] == [2, 101, 2, 101]
    lists = Document(SCHEMA, "query($ids: [ID!]!) { nodes(ids: $ids) { id } }", None).operation(None)
    assert [lists.cost({"ids": ["a"] * n}) for n in (1, 1500, 2500)] == [1, 1500, 2500]


def test_fragments_that_double_are_counted_without_being_expanded():
    links = [f"fragment F{n} on User {{ a: boss {{ ...F{n + 1} }} b: boss {{ ...F{n + 1} }} }}" for n in range(50)]
    text = "{ me { ...F0 } } fragment F50 on User { id } " + " ".join(links)
    began = time.perf_counter()
    operation, *fragments = parse(text).definitions
    assert cost_of(SCHEMA, operation, {node.name.value: node for node in fragments}, {}) == 2**51 - 1
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize(
    ("text", "unseen"),
    [
        ("{ n }", 0),
        ("{ posts { nodes { id } } }", 0),
        ("{ posts { totalCount } }", 10),
        ("{ posts(first: 2) { nodes { author { posts { totalCount nodes { id } } } } } }", 20),
        ("mutation { a: write { user { id } } b: write { user { posts { totalCount } } } }", 20 + 10),
    ],
)
def test_what_is_written_and_counted_is_priced_apart_from_objects(text: str, unseen: int):
    assert cost(text).unseen == unseen
