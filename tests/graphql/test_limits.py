"""What a document may ask for."""

import time

import pytest
from graphql import GraphQLError, build_schema, get_introspection_query, parse

from tunery.graphql.documents import Document, Documents, Shapes
from tunery.graphql.limits import Limits, check_limits, check_size

SCHEMA = build_schema(
    "type Query { me: User, n: Int, a(id: ID): Int } type User { id: ID, friend: User, friends: [User] }"
)


def refusals(text: str, **limits: int) -> dict[str, str]:
    """Messages by their code."""
    errors = check_limits(parse(text), Limits(**limits))
    return {error.extensions["code"]: error.message for error in errors}


@pytest.mark.parametrize(
    ("text", "limits", "code", "says"),
    [
        ("{ me { friend { id } } }", {"depth": 3}, "DOCUMENT_TOO_DEEP", "up to 2 deep, these 3 deep"),
        ("{ me { ...F } } fragment F on User { friend { id } }", {"depth": 3}, "DOCUMENT_TOO_DEEP", "these 3"),
        ("{ me { ... on User { friend { id } } } }", {"depth": 3}, "DOCUMENT_TOO_DEEP", "these 3"),
        ("{ a: n b: n }", {"aliases": 2}, "TOO_MANY_ALIASES", "up to 1 aliases, this one has 2"),
        (
            "{ a: me { ...F } b: me { ...F } } fragment F on User { x: id y: id }",
            {"aliases": 6},
            "TOO_MANY_ALIASES",
            "has 6",
        ),
        ("{ n n me { id id } }", {"fields": 5}, "TOO_MANY_FIELDS", "up to 4 fields, this one has 5"),
        ("{ ...F ...F } fragment F on Query { n me { id } }", {"fields": 6}, "TOO_MANY_FIELDS", "has 6"),
        ("{ me { id id id } }", {"repeats": 3}, "TOO_MANY_FIELDS", "up to 2 times in one place, here 3 times"),
        ("{ me { id } me { id } me { id } }", {"repeats": 3}, "TOO_MANY_FIELDS", "here 3 times"),
        (
            "{ me { friend { id } } ... { me { ...F } } } fragment F on User { ... on User { friend { id id } } }",
            {"repeats": 3},
            "TOO_MANY_FIELDS",
            "here 3 times",
        ),
        ("{ me { a: id } me { a: id } b: me { a: id } }", {"repeats": 2}, "TOO_MANY_FIELDS", "here 2 times"),
        (
            "{ ...F ...G } fragment F on Query { n } fragment G on Query { n }",
            {"fragments": 2},
            "TOO_MANY_FRAGMENTS",
            "up to 1 fragments, this one has 2",
        ),
        ("{ n me { id } }", {"root_fields": 2}, "TOO_MANY_ROOT_FIELDS", "up to 1 root fields, this one has 2"),
        (
            "{ ...F ...F ... { n } } fragment F on Query { n me { id } }",
            {"root_fields": 5},
            "TOO_MANY_ROOT_FIELDS",
            "has 5",
        ),
        (
            "query($b: Boolean @a) @a { n @a ...F @a ... @a { n } } fragment F on Query @a { n @a }",
            {"directives": 7},
            "TOO_MANY_DIRECTIVES",
            "up to 6 directives, this one has 7",
        ),
    ],
)
def test_a_document_at_its_limit_passes_and_beyond_it_does_not(text: str, limits: dict, code: str, says: str):
    assert refusals(text, **limits) == {}
    ((name, most),) = limits.items()
    refused = refusals(text, **{name: most - 1})
    assert list(refused) == [code]
    assert says in refused[code]


def test_the_operation_that_asks_for_most_counts():
    text = "query A { n } query B { a: n b: n c: n }"
    assert "has 3" in refusals(text, aliases=2)["TOO_MANY_ALIASES"]


def test_a_directive_stands_once_in_one_place():
    assert refusals("query($b: Boolean!) { n @skip(if: $b) @include(if: $b) }") == {}
    refused = refusals("query($b: Boolean!) { n @skip(if: $b) @skip(if: $b) }")
    assert list(refused) == ["DUPLICATE_DIRECTIVE"]


def test_a_text_beyond_its_size_is_not_parsed():
    check_size("x" * 10, Limits(characters=10))
    with pytest.raises(GraphQLError, match="up to 10 characters, this one has 11") as refused:
        check_size("x" * 11, Limits(characters=10))
    assert refused.value.extensions == {"code": "DOCUMENT_TOO_LARGE"}


def test_cycles_of_fragments_end():
    text = "{ me { ...A } } fragment A on User { friend { ...B } } fragment B on User { friend { ...A } }"
    assert refusals(text) == {}
    assert any("Cannot spread fragment" in error.message for error in Document(SCHEMA, text, Limits()).errors)


def test_fragments_that_double_are_counted_without_being_expanded():
    links = [f"fragment F{n} on User {{ a: friend {{ ...F{n + 1} }} b: friend {{ ...F{n + 1} }} }}" for n in range(100)]
    text = "{ me { ...F0 } } fragment F100 on User { id } " + " ".join(links)
    began = time.perf_counter()
    refused = refusals(text)
    assert time.perf_counter() - began < 1
    assert f"has {2**101 - 2}" in refused["TOO_MANY_ALIASES"]


def test_a_chain_of_fragments_that_no_stack_holds_is_too_deep():
    # As a trusted document's author could not, because of the limit of tokens; the check must not rely on it.
    links = [f"fragment F{n} on User {{ friend {{ ...F{n + 1} }} }}" for n in range(3_000)]
    text = "{ me { ...F0 } } fragment F3000 on User { id } " + " ".join(links)
    assert list(refusals(text)) == ["DOCUMENT_TOO_DEEP"]


@pytest.mark.parametrize(
    "text",
    [
        "{ me { " + "friend { id } " * 450 + "} }",
        "{ me { " + "... { friend { id } } " * 200 + "} }",
        "{ me { " + "id " * 990 + "} }",
        "{ me { ...F0 } } " + " ".join(f"fragment F{n} on User {{ ...F{n + 1} id }}" for n in range(200)),
        "{ me { " + " ".join(f"...F{n}" for n in range(200)) + " } } "
        + " ".join(f"fragment F{n} on User {{ id }}" for n in range(200)),
    ],
)  # fmt: skip
def test_what_takes_long_to_validate_is_not_validated(text: str):
    """Each of them within the limit of tokens; without these limits they take up to a second."""
    began = time.process_time()
    errors = Document(SCHEMA, text, Limits()).errors
    assert time.process_time() - began < 0.25
    assert {error.extensions["code"] for error in errors} <= {"TOO_MANY_FIELDS", "TOO_MANY_FRAGMENTS"}


def test_introspection_is_refused_unless_it_is_allowed():
    full = get_introspection_query()
    for text in (
        full,
        '{ __type(name: "User") { name } }',
        "{ ...F } fragment F on Query { __schema { types { name } } }",
    ):
        (error,) = Document(SCHEMA, text, Limits()).errors
        assert error.extensions == {"code": "INTROSPECTION_OFF"}
        assert not Document(SCHEMA, text, Limits(introspection=True)).errors
        assert not Document(SCHEMA, text, None).errors, "trusted documents may"
    assert not Document(SCHEMA, "{ __typename me { __typename } }", Limits()).errors


def test_introspection_has_a_depth_of_its_own():
    deep = "ofType { " * 18 + "name" + " }" * 18
    text = f"{{ __schema {{ types {{ {deep} }} }} }}"
    assert refusals(text, introspection=True, introspection_depth=20) == {}
    assert list(refusals(text, introspection=True, introspection_depth=19)) == ["DOCUMENT_TOO_DEEP"]


def test_suggestions_come_only_when_they_are_on():
    (silent,) = Documents(SCHEMA, Limits()).get("{ mee { id } }").errors
    (helpful,) = Documents(SCHEMA, Limits(), suggestions=True).get("{ mee { id } }").errors
    assert "Did you mean" not in silent.message
    assert "Did you mean" in helpful.message


def test_documents_that_are_too_large_are_not_kept():
    documents = Documents(SCHEMA, Limits(characters=20))
    assert not documents.get("{ n }").errors
    assert documents.get("{ n }" + " " * 20).errors
    assert "{ n }" in documents
    assert "{ n }" + " " * 20 not in documents


def test_refused_documents_leave_no_tree_behind():
    document = Documents(SCHEMA, Limits()).get("{ n\n me { gone } }")
    assert document.definition is None
    (error,) = document.errors
    assert error.nodes is None
    assert error.formatted["locations"] == [{"line": 2, "column": 7}]


def test_mistakes_are_listed_up_to_ten():
    errors = Document(SCHEMA, "{ " + " ".join(f"m{n}" for n in range(19)) + " }", Limits()).errors
    assert len(errors) == 11
    assert "Too many validation errors" in errors[-1].message


def test_documents_are_kept_up_to_so_many_characters_the_latest_used_ones():
    documents = Documents(SCHEMA, Limits(), characters=20)
    first = documents.get("{ n } #1")
    documents.get("{ n } #2")
    assert documents.get("{ n } #1") is first
    documents.get("{ n } #3")
    assert [f"{{ n }} #{n}" in documents for n in (1, 2, 3)] == [True, False, True]


def test_documents_are_kept_up_to_so_many():
    documents = Documents(SCHEMA, Limits(), size=2)
    for number in range(5):
        documents.get(f"{{ n }} #{number}")
    assert [f"{{ n }} #{n}" in documents for n in range(5)] == [False] * 3 + [True] * 2


def test_shapes_are_kept_up_to_so_many_characters_over_all_operations():
    shapes = Shapes(most_characters=100)
    operations = [
        Document(SCHEMA, f"query($id: ID) {{ a(id: $id) }} #{n}", Limits(), shapes=shapes).operation(None)
        for n in range(2)
    ]  # 32 characters each
    for operation in operations:
        assert not operation.is_new({"id": True}), "the first one"
        for size in range(2):
            operation.shaped({"id": bool(size)})["cost"] = size
    assert [len(operation.shapes) for operation in operations] == [1, 2]
    assert operations[0].is_new({"id": False})
    assert not operations[0].is_new({"id": True})
    for size in range(3):
        operations[1].shaped({"id": size})
    assert operations[0].shapes == {}
    assert operations[0].is_new({"id": True}), "though nothing is left of it"
