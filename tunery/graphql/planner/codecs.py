"""Leaf values as JSON text, in SQL: what each scalar's serializer would write, character for character."""

from collections.abc import Callable
from typing import Any

from graphql import GraphQLList, GraphQLNonNull, GraphQLOutputType, GraphQLScalarType
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Float,
    Integer,
    Text,
    Uuid,
    case,
    cast,
    func,
    literal_column,
    or_,
    true,
)

from tunery.core import ids
from tunery.graphql.planner.sql import Part, hexadecimal, quote

NULL_VIOLATION = literal_column("chr(1)", Text())
"""Printed where a field that promises a value has none. JSON text can't hold a raw control character, so a look for
this one finds out whether the answer is whole.
"""
VIOLATION = b"\x01"

Encoder = Callable[[ColumnElement[Any]], ColumnElement[Any]]

LARGEST_INT = 2**31 - 1


def encode_leaf(
    kind: GraphQLOutputType, value: ColumnElement[Any], *, never_null: bool, checked: bool
) -> ColumnElement[Any]:
    """SQL that `concat` prints as the value's JSON text, never NULL. `checked`: what the type forbids becomes
    NULL_VIOLATION, instead of text that graphql-core goes on to refuse.
    """
    named = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    text = _encoder(named, checked=checked)(value)
    if checked and isinstance(kind, GraphQLNonNull) and str(named) == "JSON":
        text, never_null = func.nullif(text, literal_column("'null'")), False  # JSON has a null of its own
    if never_null:
        return text
    missing = NULL_VIOLATION if checked and isinstance(kind, GraphQLNonNull) else literal_column("'null'", Text())
    return func.coalesce(cast(text, Text), missing)


def encode_global_id(kind: str, value: ColumnElement[Any], missing: ColumnElement[Any] | None) -> list[Part]:
    """As `ids.encode` does, and `missing` for NULL; without `missing` there is none."""
    if not isinstance(value.type, Uuid):
        raise TypeError(f"a global id is made of a UUID, not of {value.type!r}")
    opening, digits, closing = f'"{ids.PREFIXES[kind]}_', hexadecimal(value), '"'
    if missing is None:
        return [opening, digits, closing]
    return [func.coalesce(quote(opening).op("||")(digits).op("||")(quote(closing)), missing)]


def _encoder(kind: Any, *, checked: bool) -> Encoder:
    if isinstance(kind, GraphQLList):
        if kind.of_type.of_type.name != "String":
            raise TypeError(f"there is no codec for {kind}")
        return _strings if checked else func.to_json
    assert isinstance(kind, GraphQLScalarType), f"there is no codec for {kind}"  # noqa: S101
    if kind.name == "Int":
        return _int if checked else _as_it_is
    if kind.name == "Float":
        return _float if checked else func.to_json
    try:
        return _ENCODERS[kind.name]
    except KeyError:
        raise TypeError(f"there is no codec for {kind}") from None


def _int(value: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(value.type, Integer) and not isinstance(value.type, BigInteger):
        return value
    return case((~value.between(-LARGEST_INT - 1, LARGEST_INT), NULL_VIOLATION), else_=cast(value, Text))


def _as_it_is(value: ColumnElement[Any]) -> ColumnElement[Any]:
    return value


def _float(value: ColumnElement[Any]) -> ColumnElement[Any]:
    number = cast(value, Float)
    infinite = or_(*(number == cast(literal_column(f"'{name}'"), Float) for name in ("NaN", "Infinity", "-Infinity")))
    return case((infinite, NULL_VIOLATION), else_=cast(func.to_json(number), Text))


def _strings(value: ColumnElement[Any]) -> ColumnElement[Any]:
    other: ColumnElement[bool]
    if isinstance(value.type, ARRAY):
        other = func.array_position(value, literal_column("NULL::text")).is_not(None)
    else:
        strict: ColumnElement[Any] = literal_column("""'strict $[*] ? (@.type() != "string")'""")
        other = or_(
            func.jsonb_typeof(value) != literal_column("'array'"),
            func.jsonb_path_exists(value, strict, literal_column("'{}'"), true()),
        )
    return case((other, NULL_VIOLATION), else_=cast(func.to_json(value), Text))


def _quoted(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """For text that needs no escaping."""
    return literal_column("'\"'", Text()).op("||")(cast(value, Text)).op("||")(literal_column("'\"'"))


_ENCODERS: dict[str, Encoder] = {
    "String": func.to_json,
    "ID": lambda value: func.to_json(cast(value, Text)),
    "Boolean": func.to_json,
    "BigInt": _as_it_is,
    "Decimal": lambda value: _quoted(func.trim_scale(value)),
    # The reader's sessions are in UTC.
    "DateTime": func.to_json,
    "JSON": lambda value: cast(value, Text),
}
