"""What breaks a promise to clients, and what was announced."""

from datetime import date

import pytest
from graphql import build_schema

from tunery.graphql.compatibility import breaking_changes, undated_deprecations

TODAY = date(2026, 11, 21)
BEFORE = """
    type Query { user(id: ID!, at: Int): User old: Int @deprecated(reason: "use user; may go after 2026-11-20") }
    type User { id: ID! name: String state: State }
    enum State { ON OFF GONE @deprecated(reason: "never happens; may go after 2026-11-20") }
    input Filter { name: String old: String @deprecated(reason: "2026-11-20") }
    type Mutation { find(filter: Filter): User }
    union Any = User | Query
"""


def changed(old: str, new: str) -> list[str]:
    assert old in BEFORE
    return breaking_changes(BEFORE, BEFORE.replace(old, new), TODAY)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("name: String state", "name: String more: Int state"),
        ("id: ID! name", "id: ID! @deprecated name"),
        ("at: Int)", "at: Int, more: Int)"),
        ("ON OFF", "ON MORE OFF"),
        ("id: ID! name: String", "id: ID! name: String!"),
        ("user(id: ID!", '"Described." user(id: ID'),
    ],
)
def test_what_clients_do_not_notice_breaks_nothing(old: str, new: str):
    assert changed(old, new) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: String state", "state", "User.name was removed"),
        ("name: String state", "name: Int state", "User.name changed type"),
        ("id: ID! name", "id: ID name", "User.id changed type"),
        (", at: Int)", ")", "Query.user(at:) was removed"),
        ("at: Int)", "at: Int!)", "Query.user(at:) has changed type"),
        ("at: Int)", "at: Int, more: Int!)", "A required argument Query.user(more:) was added"),
        ("ON OFF", "ON", "Enum value State.OFF was removed"),
        ("input Filter {", "input Filter { more: Int!", "A required field Filter.more was added"),
        ("User | Query", "User", "Query was removed from union type Any"),
        ("union Any = User | Query", "", "Any was removed"),
    ],
)
def test_what_clients_rely_on_is_kept(old: str, new: str, says: str):
    (change,) = changed(old, new)
    assert says in change


def test_what_was_announced_may_go_when_its_day_is_over():
    gone = {
        'old: Int @deprecated(reason: "use user; may go after 2026-11-20")': "Query.old",
        'GONE @deprecated(reason: "never happens; may go after 2026-11-20")': "State.GONE",
        'old: String @deprecated(reason: "2026-11-20")': "Filter.old",
    }
    for old, member in gone.items():
        assert changed(old, "") == []
        (early,) = breaking_changes(BEFORE, BEFORE.replace(old, ""), date(2026, 11, 20))
        assert member in early


def test_an_announcement_allows_a_removal_and_nothing_else():
    (change,) = changed("old: Int @", "old: Boolean @")
    assert "Query.old changed type" in change


def test_an_announcement_without_a_day_allows_nothing():
    before = 'type Query { a: Int old: Int @deprecated(reason: "some day") }'
    assert len(breaking_changes(before, "type Query { a: Int }", TODAY)) == 1


def test_every_deprecation_says_its_day():
    schema = build_schema(
        """
        type Query { a: Int b: Int @deprecated c(d: Int @deprecated(reason: "x")): E f: Int @deprecated(reason: "2027-01-01") }
        enum E { G H @deprecated(reason: "soon") }
        input I { j: Int @deprecated(reason: "1st of May") }
        """
    )
    assert set(undated_deprecations(schema)) == {"Query.b", "Query.c(d)", "E.H", "I.j"}
