"""Scalars that GraphQL lacks. What the planner has read is JSON text already, and passes as it is."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NewType

import strawberry
from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)
"""A whole number beyond GraphQL's 32 bits: tokens, bytes, parameters. A JSON number, exact to 2^53."""

EXACT_IN_JSON = 2**53

BIG_INT = strawberry.scalar(
    name="BigInt",
    description="A whole number beyond 32 bits; a JSON number, exact to 2^53.",
    serialize=int,
    parse_value=lambda value: BigInt(_whole(value)),
)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > EXACT_IN_JSON:
        raise ValueError(f"{value!r} is no whole number up to 2^53")
    return value


def _decimal(value: Any) -> Decimal:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"{value!r} is no decimal number") from None


def _write_decimal(value: Decimal) -> str:
    """All its digits (`normalize` would round to the context's 28), without zeros at the end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


DECIMAL = strawberry.scalar(
    name="Decimal",
    description="An exact decimal number, as text.",
    serialize=lambda value: value if isinstance(value, str) else _write_decimal(value),
    parse_value=_decimal,
)


def _write_moment(value: datetime | str) -> str:
    """As PostgreSQL writes it in JSON: no fraction where there is none, no zeros at its end."""
    if isinstance(value, str):
        return value
    text = value.astimezone(UTC).isoformat()
    moment, _, offset = text.partition("+")
    return f"{moment.rstrip('0') if '.' in moment else moment}+{offset}"


def _moment(value: Any) -> datetime:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.tzinfo is None:
        raise ValueError(f"{value!r} is no moment as RFC 3339 writes it, with its offset")
    return moment


DATE_TIME = strawberry.scalar(
    name="DateTime",
    description="A moment as RFC 3339 writes it, in UTC.",
    serialize=_write_moment,
    parse_value=_moment,
)

SCALARS: dict[object, ScalarDefinition] = {BigInt: BIG_INT, Decimal: DECIMAL, datetime: DATE_TIME}
