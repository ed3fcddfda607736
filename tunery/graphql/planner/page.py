"""A page of a connection in SQL: its rows numbered, and one more than asked for to know whether there are more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from graphql import FieldNode, GraphQLObjectType, get_named_type
from graphql.execution.collect_fields import FieldDetails
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Text,
    case,
    cast,
    false,
    func,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, array_agg

from tunery.core.errors import InvalidInput
from tunery.graphql.planner.keyset import Keys
from tunery.graphql.planner.mapping import LARGEST_PAGE, PAGE, Order
from tunery.graphql.planner.sql import Part, concat, json_object, literal

Details = Sequence[FieldDetails]


@dataclass(frozen=True)
class Which:
    """The rows that are wanted. `parent` is the row that the conditions speak of beside them, if they belong to one."""

    conditions: Callable[[Any], list[ColumnElement[bool]]]
    parent: FromClause | None = None

    def among(self, statement: Select[Any], row: FromClause) -> Select[Any]:
        """The statement for these rows alone. The parent is correlated by name: within FROM SQLAlchemy would not do so
        by itself, and select from a second, free copy of it.
        """
        return statement.where(*self.conditions(row.c)).correlate(self.parent)


class Objects(Protocol):
    """What a page needs of the compiler."""

    def object(self, kind: Any, row: FromClause, details: Details) -> list[Part]: ...

    def collect(self, kind: GraphQLObjectType, details: Details) -> Mapping[str, list[FieldDetails]]: ...

    def row_of(self, kind: Any) -> FromClause: ...

    def alias(self) -> str: ...

    def bind_cursor(
        self, node: FieldNode, name: str, given: Mapping[str, Any], keys: Keys
    ) -> list[ColumnElement[Any]]: ...


class Page:
    """`given` are the field's arguments. Raises InvalidInput."""

    def __init__(
        self, objects: Objects, kind: Any, details: Details, given: Mapping[str, Any], which: Which, order: Order
    ) -> None:
        self._objects = objects
        self._type: GraphQLObjectType = get_named_type(kind)
        self._details = details
        self._size, self._backwards = size_and_end(given)
        self._row = objects.row_of(self._type.fields["nodes"].type)
        self._keys = Keys.of(order(self._row.c))
        self._order = order
        self._which = which
        self._marks = {
            name: objects.bind_cursor(details[0].node, name, given, self._keys)
            for name in ("after", "before")
            if given.get(name) is not None
        }
        self._aggregates = False
        self._page = self._select()

    def _select(self) -> FromClause:
        order_by = self._keys.order_by(reverse=self._backwards)
        bounds = [self._keys.beyond(mark, backwards=name == "before") for name, mark in self._marks.items()]
        number = func.row_number().over(order_by=order_by).label("row_number_")
        numbered = select(self._row, number, self._keys.cursor().label("cursor_"))
        page = self._which.among(numbered, self._row).where(*bounds).order_by(*order_by).limit(literal(self._size + 1))
        return page.subquery(self._objects.alias())

    def parts(self) -> list[Part]:
        """The connection's JSON text."""
        connection = json_object(self._fields(self._type, self._details, self._value))
        if not self._aggregates:  # nothing that would make one row of the page's
            return connection
        return [select(concat(connection)).select_from(self._page).scalar_subquery()]

    def _fields(
        self, kind: GraphQLObjectType, details: Details, value: Callable[[str, Details], Sequence[Part]]
    ) -> list[tuple[str, Sequence[Part]]]:
        fields: list[tuple[str, Sequence[Part]]] = []
        for key, nodes in self._objects.collect(kind, details).items():
            name = nodes[0].node.name.value
            fields.append((key, [f'"{kind.name}"'] if name == "__typename" else value(name, nodes)))
        return fields

    def _value(self, name: str, details: Details) -> Sequence[Part]:
        kind: GraphQLObjectType = get_named_type(self._type.fields[name].type)
        if name == "totalCount":
            counted = self._which.among(select(func.count()).select_from(self._row), self._row)
            return [cast(counted.scalar_subquery(), Text)]
        if name == "pageInfo":
            return json_object(self._fields(kind, details, self._info))
        if name == "nodes":
            return self._entries(self._objects.object(kind, self._page, details))

        def value(name: str, details: Details) -> Sequence[Part]:
            if name == "cursor":
                return ['"', self._page.c.cursor_, '"']
            return self._objects.object(kind.fields["node"].type, self._page, details)

        return self._entries(json_object(self._fields(kind, details, value)))

    def _entries(self, entry: Sequence[Part]) -> list[Part]:
        self._aggregates = True
        # string_agg passes over NULL. With FILTER, PostgreSQL would sort the rows again.
        counted = case((self._in_page(), concat(entry)))
        return ["[", func.string_agg(counted, self._in_order(literal_column("','"))), "]"]

    def _info(self, name: str, _details: Details) -> Sequence[Part]:
        if name in {"hasNextPage", "hasPreviousPage"}:
            return [func.to_json(self._has_more(backwards=name == "hasPreviousPage"))]
        self._aggregates = True
        cursors: Any = array_agg(self._in_order(self._page.c.cursor_)).filter(self._in_page())  # type: ignore[no-untyped-call]
        position = func.least(func.count(), literal(self._size)) if name == "endCursor" else literal(1)
        return [func.coalesce(cast(func.to_json(cursors[position]), Text), literal_column("'null'"))]

    def _in_order(self, value: ColumnElement[Any]) -> Any:
        """By what the page itself is ordered by, so that PostgreSQL need not sort once more."""
        return aggregate_order_by(value, *self._order(self._page.c))

    def _has_more(self, *, backwards: bool) -> ColumnElement[bool]:
        """Whether there are rows behind the page, or (`backwards`) before it."""
        found: list[ColumnElement[bool]] = []
        if backwards == self._backwards:
            self._aggregates = True
            found.append(func.count() > literal(self._size))
        mark = self._marks.get("after" if backwards else "before")
        if mark is not None:
            beyond = self._keys.beyond(mark, backwards=backwards, inclusive=True)
            others = self._which.among(select(true()).select_from(self._row), self._row)
            found.append(others.where(beyond).exists())
        return or_(false(), *found)

    def _in_page(self) -> ColumnElement[bool]:
        """Not the row too many."""
        within: ColumnElement[bool] = self._page.c.row_number_ <= literal(self._size)
        return within


def size_and_end(given: Mapping[str, Any]) -> tuple[int, bool]:
    """How many entries, and whether they are the last ones. Raises InvalidInput."""
    first, last = given.get("first"), given.get("last")
    if first is not None and last is not None:
        raise InvalidInput("give first or last, not both", field="last")
    if last is not None:
        return page_size(last, "last"), True
    return page_size(PAGE if first is None else first, "first"), False


def page_size(size: int, argument: str) -> int:
    """Raises InvalidInput."""
    if not 1 <= size <= LARGEST_PAGE:
        raise InvalidInput(f"a page has 1 to {LARGEST_PAGE} entries", field=argument)
    return size
