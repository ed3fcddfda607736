"""JSON text put together in SQL."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Integer, func, literal_column

MOST_ARGUMENTS = 90
"""Of one call of concat; PostgreSQL takes 100."""

Part = str | ColumnElement[Any]


def literal(number: int) -> ColumnElement[int]:
    """In the SQL itself: with LIMIT as a parameter PostgreSQL would plan anew each time."""
    return literal_column(str(number), Integer())


def quote(text: str) -> ColumnElement[Any]:
    return literal_column("'" + text.replace("'", "''") + "'")


def hexadecimal(uuid: ColumnElement[Any]) -> ColumnElement[Any]:
    """Its 32 digits. `uuid::text` without its hyphens would take three times as long."""
    return func.encode(func.uuid_send(uuid), literal_column("'hex'"))


def concat(parts: Sequence[Part]) -> ColumnElement[Any]:
    """One text of all parts; neighbouring literals become one."""
    merged: list[Part] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        elif part != "" if isinstance(part, str) else True:
            merged.append(part)
    columns = [quote(part) if isinstance(part, str) else part for part in merged]
    while len(columns) > MOST_ARGUMENTS:
        columns = [func.concat(*columns[at : at + MOST_ARGUMENTS]) for at in range(0, len(columns), MOST_ARGUMENTS)]
    return func.concat(*columns)


def json_object(fields: Iterable[tuple[str, Sequence[Part]]]) -> list[Part]:
    """`{"key":value,…}`. Keys are GraphQL names: they need no escaping."""
    parts: list[Part] = ["{"]
    for key, value in fields:
        parts += [f'{"" if len(parts) == 1 else ","}"{key}":', *value]
    return [*parts, "}"]
