"""Scalars that GraphQL lacks."""

from decimal import Decimal, InvalidOperation
from typing import Any, NewType

import strawberry

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


DECIMAL = strawberry.scalar(
    name="Decimal",
    description="An exact decimal number, as text.",
    serialize=lambda value: f"{value.normalize():f}",
    parse_value=_decimal,
)
