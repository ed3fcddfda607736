"""Documents that are committed and called by their hash."""

import hashlib
from pathlib import Path

import pytest
from graphql import build_schema

import tunery.graphql
from tunery.app.schema import schema
from tunery.graphql.trusted_documents import TrustedDocuments, committed_operations, document_id

SCHEMA = build_schema("type Query { n: Int me: Query }")
FOLDER = Path(tunery.graphql.__file__).parent / "operations"


def test_an_id_is_the_sha256_of_the_file():
    operations = committed_operations()
    assert {"Listings.graphql", "Listing.graphql", "Organisation.graphql"} <= operations.keys()
    for name, text in operations.items():
        assert document_id(text) == hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()


def test_every_committed_operation_is_valid_and_named_as_its_file():
    operations = committed_operations()
    trusted = TrustedDocuments(schema._schema, operations.values())
    for name, text in operations.items():
        document = trusted.find(document_id(text))
        assert document is not None
        assert document.trusted
        assert f"{document.operation(None).name}.graphql" == name


def test_they_are_found_with_and_without_the_specification_s_prefix():
    text = "{ n }"
    trusted = TrustedDocuments(SCHEMA, [text])
    identifier = document_id(text)
    found = trusted.find(identifier)
    assert found is not None
    assert trusted.find(f"sha256:{identifier}") is found
    for wrong in ("", "sha256:", identifier.upper(), identifier[:-1], f"md5:{identifier}", text):
        assert trusted.find(wrong) is None


def test_an_invalid_one_is_an_error_at_the_start():
    with pytest.raises(ValueError, match="Cannot query field 'gone'"):
        TrustedDocuments(SCHEMA, ["{ n }", "{ gone }"])
    with pytest.raises(ValueError, match="Syntax Error"):
        TrustedDocuments(SCHEMA, ["{ n "])


def test_static_limits_do_not_hold_for_them():
    deep = "{ " + "me { " * 30 + "n" + " }" * 31
    assert TrustedDocuments(SCHEMA, [deep]).find(document_id(deep)) is not None
