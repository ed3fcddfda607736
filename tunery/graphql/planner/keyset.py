"""Cursors: the values that a row is ordered by, as text. What lies behind one stays there when rows are added."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Text,
    Uuid,
    cast,
    func,
    literal_column,
    tuple_,
)
from sqlalchemy.sql.elements import UnaryExpression
from sqlalchemy.sql.operators import asc_op, desc_op
from sqlalchemy.types import TypeEngine

from tunery.core.errors import InvalidInput
from tunery.graphql.planner.sql import hexadecimal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LONGEST_CURSOR = 1000


@dataclass(frozen=True)
class Keys:
    """An order, taken apart."""

    columns: Sequence[ColumnElement[Any]]
    descending: bool

    @classmethod
    def of(cls, order: Sequence[ColumnElement[Any]]) -> "Keys":
        """Raises ValueError unless all columns point the same way: rows are compared as tuples."""
        columns, directions = [], set()
        for key in order:
            descending = isinstance(key, UnaryExpression) and key.modifier is desc_op
            plain = key.element if isinstance(key, UnaryExpression) and key.modifier in {asc_op, desc_op} else key
            columns.append(plain)
            directions.add(descending)
        if len(directions) != 1:
            raise ValueError("all columns of a connection's order point the same way")
        return cls(columns, directions.pop())

    def order_by(self, *, reverse: bool = False) -> list[ColumnElement[Any]]:
        return [key.desc() if self.descending != reverse else key.asc() for key in self.columns]

    def beyond(
        self, mark: Sequence[ColumnElement[Any]], *, backwards: bool, inclusive: bool = False
    ) -> ColumnElement[bool]:
        """Rows behind the mark (before it, with `backwards`), a value for each key."""
        row, at = tuple_(*self.columns), tuple_(*mark)
        if self.descending != backwards:
            return row <= at if inclusive else row < at
        return row >= at if inclusive else row > at

    def cursor(self) -> ColumnElement[str]:
        """SQL for a row's cursor. Its letters need no escaping in JSON."""
        texts = [_codec(key.type)[0](key) for key in self.columns]
        cursor = texts[0]
        for text in texts[1:]:
            cursor = cursor.op("||")(literal_column("'_'", Text())).op("||")(text)
        return cursor

    def check(self, given: Mapping[str, Any]) -> None:
        """Raises InvalidInput that names the argument unless its cursors are of this list."""
        for argument in ("after", "before"):
            if given.get(argument) is not None:
                for position in range(len(self.columns)):
                    self.decode_one(argument, position, given[argument])

    def decode_one(self, argument: str, position: int, cursor: str) -> Any:
        """One key's value in a cursor. Raises InvalidInput that names the argument."""
        parts = cursor.split("_") if len(cursor) <= LONGEST_CURSOR else []
        try:
            return [_codec(key.type)[1](part) for key, part in zip(self.columns, parts, strict=True)][position]
        except (ValueError, OverflowError) as error:
            raise InvalidInput(
                "this is no cursor of this list: take endCursor or startCursor of a page", field=argument
            ) from error


def _codec(kind: TypeEngine[Any]) -> tuple[Callable[[ColumnElement[Any]], ColumnElement[Any]], Callable[[str], Any]]:
    for type_, codec in _CODECS:
        if isinstance(kind, type_):
            return codec
    raise TypeError(f"a connection can't be ordered by {kind!r}")


def _whole(bits: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text)
        if str(number) != text:
            raise ValueError("not as it was written")
        if not -(1 << bits - 1) <= number < 1 << bits - 1:
            raise ValueError(f"beyond {bits} bits")
        return number

    return read


def _uuid(text: str) -> UUID:
    identifier = UUID(hex=text)
    if identifier.hex != text:
        raise ValueError("not as it was written")
    return identifier


def _hexadecimal(text: str) -> str:
    decoded = bytes.fromhex(text).decode()
    if "\0" in decoded or decoded.encode().hex() != text:
        raise ValueError("not as it was written")
    return decoded


_CODECS: list[tuple[type[TypeEngine[Any]], tuple[Callable[..., ColumnElement[Any]], Callable[[str], Any]]]] = [
    (
        DateTime,
        (
            lambda key: cast(cast(func.extract("epoch", key) * 1_000_000, BigInteger), Text),
            lambda text: EPOCH + timedelta(microseconds=_whole(64)(text)),
        ),
    ),
    (Uuid, (hexadecimal, _uuid)),
    (BigInteger, (lambda key: cast(key, Text), _whole(64))),
    (Integer, (lambda key: cast(key, Text), _whole(32))),
    (Text, (lambda key: func.encode(func.convert_to(key, "UTF8"), "hex"), _hexadecimal)),
]
