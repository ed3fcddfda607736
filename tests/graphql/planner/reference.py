"""The oracle: plain graphql-core with a naive resolver for each field, over rows read as Python values.

It shares with the planner what the types declare (tables, conditions, orders), and nothing of how SQL or JSON is made:
each relation is one SELECT of whole rows; sorting, paging and cursors are done here, in Python, once more, by the rules
as the schema's documentation and Relay's specification state them.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from inspect import isawaitable
from operator import itemgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    execute_sync,
    get_named_type,
    is_abstract_type,
    is_object_type,
)
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from tunery.core import ids
from tunery.core.errors import DomainError, InvalidInput, NotFound
from tunery.graphql.context import Context
from tunery.graphql.documents import Document
from tunery.graphql.errors import public_error
from tunery.graphql.planner.mapping import (
    Column,
    Declared,
    Keyset,
    Many,
    NodeRoot,
    One,
    Reference,
    Root,
)
from tunery.graphql.planner.mapping import (
    Mapping as Planned,
)

NOBODY = UUID(int=0)
BLANKS = set(" \t\n\u3000")
"""Of the blank texts that are asked for."""


@dataclass(frozen=True)
class Viewer:
    tenant_id: UUID
    public: bool


@dataclass(eq=False)
class Record:
    """A row: what it holds, what its type's expressions make of it, what it is ordered by."""

    kind: GraphQLObjectType
    viewer: Viewer
    values: Mapping[str, Any]
    expressions: Mapping[str, Any]
    keys: Sequence[Any]
    types: Mapping[str, Any]
    relations: dict[str, list["Record"]] = field(default_factory=dict)

    def in_sql(self) -> "Record._Literals":
        return Record._Literals(self)

    class _Literals:
        def __init__(self, record: "Record") -> None:
            self._record = record

        def __getattr__(self, name: str) -> Any:
            return sa.literal(self._record.values[name], self._record.types[name])


@dataclass(frozen=True)
class Outcome:
    """`data` with its keys in order; `has_data` False: there is no such entry."""

    data: Any
    errors: list[GraphQLError]
    has_data: bool


class Oracle:
    """`build_schema` gives a schema of its own each time: this one's resolvers are replaced."""

    def __init__(self, build_schema: Callable[[], GraphQLSchema], engine: AsyncEngine) -> None:
        self._strict = build_schema()
        self._lenient = build_schema()
        """With nullable root fields: none of them takes the others' errors along."""
        for schema in (self._strict, self._lenient):
            self._replace_resolvers(schema)
        assert self._lenient.query_type is not None
        for definition in self._lenient.query_type.fields.values():
            if isinstance(definition.type, GraphQLNonNull):
                definition.type = definition.type.of_type
        self._engine = engine
        self._connection: Any = None
        self._roots: dict[Any, list[Record]] = {}
        self.cursors: defaultdict[str, set[str]] = defaultdict(set)
        """Seen so far, by `Type.field`."""
        self.ids: set[str] = set()

    async def answer(
        self,
        document: Document,
        name: str | None,
        variables: Mapping[str, Any],
        context: Context,
        *,
        lenient: bool = False,
    ) -> Outcome:
        def run(connection: sa.Connection) -> ExecutionResult:
            self._connection = connection
            try:
                return execute_sync(
                    self._lenient if lenient else self._strict,
                    document.definition,  # type: ignore[arg-type]
                    context_value=context,
                    variable_values=dict(variables),
                    operation_name=name,
                )
            finally:
                self._connection = None

        async with self._engine.connect() as connection:
            result = await connection.run_sync(run)
        errors = list(result.errors or ())
        for error in errors:
            original = error.original_error
            # A missing value is the one fault that is part of the answer.
            if not (original is None or isinstance(original, DomainError | GraphQLError) or is_violation(original)):
                raise original
        has_data = result.data is not None or any(error.path for error in errors)
        return Outcome(result.data, [public_error(error, "r") for error in errors], has_data)

    # Which field is resolved how.

    def _replace_resolvers(self, schema: GraphQLSchema) -> None:
        for kind in list(schema.type_map.values()):
            if kind.name.startswith("__"):
                continue
            if is_abstract_type(kind):
                kind.resolve_type = lambda record, _info, _kind: record.kind.name
            elif is_object_type(kind):
                self._replace_of_object(schema, kind)

    def _replace_of_object(self, schema: GraphQLSchema, kind: GraphQLObjectType) -> None:
        planned = _planned(kind) is not None
        in_page = kind.name == "PageInfo" or kind.name.endswith(("Connection", "Edge"))
        if planned or in_page:
            kind.is_type_of = None
        for name, definition in kind.fields.items():
            declared = _declared(definition)
            where = f"{kind.name}.{name}"
            if kind is schema.query_type:
                assert declared is not None
                definition.resolve = self._root(schema, where, definition, declared)
            elif planned:
                definition.resolve = self._planned_field(schema, where, definition, declared)
            elif in_page:
                definition.resolve = lambda page, info, **_: page[info.field_name]
            else:
                definition.resolve = self._hand_written(schema, definition, definition.resolve)

    def _root(self, schema: GraphQLSchema, where: str, definition: Any, declared: Declared) -> Callable[..., Any]:
        source = declared.source
        if source is None:
            resolve = self._hand_written(schema, definition, definition.resolve)
        elif isinstance(source, NodeRoot):
            resolve = self._node_root(schema)
        else:
            assert isinstance(source, Root)
            resolve = self._planned_root(schema, where, definition, declared, source)

        def permitted(root: Any, info: Any, **given: Any) -> Any:
            info.context.require(declared.permission)
            return resolve(root, info, **given)

        return permitted

    def _hand_written(self, schema: GraphQLSchema, definition: Any, written: Any) -> Callable[..., Any]:
        kind = get_named_type(definition.type)

        def resolve(parent: Any, info: Any, **given: Any) -> Any:
            value = written(parent, info, **given)
            value = await_only(value) if isawaitable(value) else value
            if isinstance(value, Reference):
                viewer = Viewer(value.tenant_id or info.context.caller.tenant_id, public=False)
                return self._first(self._read(schema, kind, viewer, lambda row: [row.id == value.id]))
            return value

        return resolve

    def _planned_root(
        self, schema: GraphQLSchema, where: str, definition: Any, declared: Declared, source: Root
    ) -> Callable[..., Any]:
        kind = get_named_type(definition.type)
        paged = kind.name.endswith("Connection")
        row_kind = get_named_type(kind.fields["nodes"].type) if paged else kind
        spelled = {name: _camel(name) for name in source.arguments}

        def resolve(_root: Any, info: Any, **given: Any) -> Any:
            public = declared.permission == "public"
            viewer = Viewer(NOBODY if public else info.context.caller.tenant_id, public)
            arguments: dict[str, Any] = dict.fromkeys(source.arguments)
            for name, argument in source.arguments.items():
                value = given.get(spelled[name])
                if value is not None and not (argument.blank_is_absent and set(value) <= BLANKS):
                    arguments[name] = argument.parse(value)
            key = (where, viewer, tuple(arguments.items()))
            if key not in self._roots:
                literals = {
                    name: None if value is None else sa.literal(value, source.arguments[name].type)
                    for name, value in arguments.items()
                }
                self._roots[key] = self._read(
                    schema, row_kind, viewer, lambda row: source.where(row, **literals), source.order
                )
            records = self._roots[key]
            if paged:
                assert source.order is not None
                return self._page(where, schema, row_kind, source.order, records, given)
            if "first" in given:
                return records[: _size(given["first"], "first")]
            if not records:
                for name, argument in source.arguments.items():
                    if argument.kind is not None:
                        raise NotFound(argument.kind, given[spelled[name]])
            return self._first(records)

        return resolve

    def _node_root(self, schema: GraphQLSchema) -> Callable[..., Any]:
        def find(info: Any, text: str) -> Record | None:
            self.ids.add(text)
            for kind in schema.get_possible_types(schema.type_map["Node"]):  # type: ignore[arg-type]
                planned = _planned(kind)
                if planned is None or planned.kind is None:
                    continue
                if planned.permission != "public" and not info.context.caller.may(planned.permission):
                    continue
                with suppress(NotFound):
                    identifier = ids.decode(planned.kind, text)
                    viewer = Viewer(info.context.caller.tenant_id, public=False)
                    key = (kind.name, viewer, identifier)
                    if key not in self._roots:
                        records = self._read(schema, kind, viewer, lambda row: [row.id == identifier])  # noqa: B023
                        if planned.when is not None:
                            column, value = planned.when
                            records = [record for record in records if record.values[column] == value]
                        self._roots[key] = records
                    return self._first(self._roots[key])
            return None

        def resolve(_root: Any, info: Any, **given: Any) -> Any:
            if "id" in given:
                return find(info, given["id"])
            if len(given["ids"]) > 100:
                raise InvalidInput("give up to 100 ids", field="ids")
            return [find(info, text) for text in given["ids"]]

        return resolve

    def _planned_field(
        self, schema: GraphQLSchema, where: str, definition: Any, declared: Declared | None
    ) -> Callable[..., Any]:
        source = declared.source if declared is not None else Column()
        name = where.partition(".")[2]
        kind = get_named_type(definition.type)
        if isinstance(source, Column):
            return lambda record, _info: self._leaf(record, name, definition, source)
        assert isinstance(source, One | Many | Keyset)
        paged = isinstance(source, Keyset)
        row_kind = get_named_type(kind.fields["nodes"].type) if paged else kind

        def resolve(record: Record, _info: Any, **given: Any) -> Any:
            # What the arguments get wrong is wrong whatever the rows.
            records = record.relations.get(name)
            if records is None:
                parent = record.in_sql()
                records = record.relations[name] = self._read(
                    schema, row_kind, record.viewer, lambda row: [source.on(parent, row)], source.order
                )
            if isinstance(source, Keyset):
                return self._page(where, schema, row_kind, source.order, records, given)
            if isinstance(source, Many):
                return records[: _size(given["first"], "first")]
            return self._first(records)

        return resolve

    def _leaf(self, record: Record, name: str, definition: Any, source: Column) -> Any:
        python_name = definition.extensions["strawberry-definition"].python_name
        value = record.values[python_name] if source.expression is None else record.expressions[name]
        if source.kind is None or value is None:
            return value
        text = ids.encode(source.kind, value)
        self.ids.add(text)
        return text

    @staticmethod
    def _first(records: Sequence[Record]) -> Record | None:
        return records[0] if records else None

    # Rows.

    def _read(
        self,
        schema: GraphQLSchema,
        kind: Any,
        viewer: Viewer,
        where: Callable[[Any], Iterable[Any]],
        order: Callable[[Any], Sequence[Any]] | None = None,
    ) -> list[Record]:
        """The rows that the viewer sees, each of the type that its discriminator tells."""
        kinds = list(schema.get_possible_types(kind)) if is_abstract_type(kind) else [kind]
        mapping = _planned(kinds[0])
        assert mapping is not None
        row = (mapping.public if viewer.public else mapping.table).alias("naive")
        taken = [column.label(f"column {column.key}") for column in row.c]
        for possible in kinds:
            for name, definition in possible.fields.items():
                declared = _declared(definition)
                if declared is not None and isinstance(declared.source, Column) and declared.source.expression:
                    taken.append(declared.source.expression(row.c).label(f"{possible.name} {name}"))
        keys = list(order(row.c)) if order is not None else []
        taken += [_without_direction(key).label(f"key {at}") for at, key in enumerate(keys)]
        statement = sa.select(*taken).select_from(row).where(*where(row.c))
        self._connection.execute(
            sa.text("SELECT set_config('tunery.tenant_id', :tenant, true)"), {"tenant": str(viewer.tenant_id)}
        )
        found = [dict(each) for each in self._connection.execute(statement).mappings()]
        for at in reversed(range(len(keys))):
            name = f"key {at}"
            # As PostgreSQL has it, NULL is greater than any value.
            empty = [each for each in found if each[name] is None]
            full = [each for each in found if each[name] is not None]
            if _is_descending(keys[at]):
                found = empty + sorted(full, key=itemgetter(name), reverse=True)
            else:
                found = sorted(full, key=itemgetter(name)) + empty
        types = {column.key: column.type for column in row.c}
        records = []
        for each in found:
            values = {column.key: each[f"column {column.key}"] for column in row.c}
            told = next((possible for possible in kinds if len(kinds) == 1 or _is_of(possible, values)), None)
            if told is None:
                continue
            expressions = {
                name.partition(" ")[2]: value for name, value in each.items() if name.startswith(f"{told.name} ")
            }
            key = [each[f"key {at}"] for at in range(len(keys))]
            records.append(Record(told, viewer, values, expressions, key, types))
        return records

    # Pages: https://relay.dev/graphql/connections.htm#sec-Pagination-algorithm

    def _page(
        self,
        where: str,
        schema: GraphQLSchema,
        kind: Any,
        order: Callable[[Any], Sequence[Any]],
        records: list[Record],
        given: Mapping[str, Any],
    ) -> dict[str, Any]:
        first, last = given.get("first"), given.get("last")
        if first is not None and last is not None:
            raise InvalidInput("give first or last, not both", field="last")
        if last is None:
            first = _size(20 if first is None else first, "first")
        else:
            _size(last, "last")
        possible = schema.get_possible_types(kind)[0] if is_abstract_type(kind) else kind
        mapping = _planned(possible)
        assert mapping is not None
        keys = list(order(mapping.table.c))
        descending = _is_descending(keys[0])

        def behind(record: Record, mark: list[Any]) -> bool:
            return list(record.keys) < mark if descending else list(record.keys) > mark

        marks = {name: _decode(keys, name, given[name]) for name in ("after", "before") if given.get(name) is not None}
        edges = records
        if "after" in marks:
            edges = [record for record in edges if behind(record, marks["after"])]
        if "before" in marks:
            edges = [
                record
                for record in edges
                if not behind(record, marks["before"]) and list(record.keys) != marks["before"]
            ]
        within = len(edges)
        # Entries behind the page: more than fit, or those that `before` keeps away; and the same the other way round.
        has_previous = "after" in marks and any(not behind(record, marks["after"]) for record in records)
        has_next = "before" in marks and any(
            behind(record, marks["before"]) or list(record.keys) == marks["before"] for record in records
        )
        if last is None:
            edges = edges[:first]
            has_next = has_next or within > first
        else:
            edges = edges[-last:]
            has_previous = has_previous or within > last
        cursors = ["_".join(map(_encode, record.keys)) for record in edges]
        self.cursors[where].update(cursors)
        return {
            "edges": [{"cursor": cursor, "node": record} for cursor, record in zip(cursors, edges, strict=True)],
            "nodes": edges,
            "pageInfo": {
                "hasNextPage": has_next,
                "hasPreviousPage": has_previous,
                "startCursor": cursors[0] if cursors else None,
                "endCursor": cursors[-1] if cursors else None,
            },
            "totalCount": len(records),
        }


def is_violation(error: BaseException | None) -> bool:
    """Of graphql-core: a field that promised a value has none."""
    return isinstance(error, TypeError) and str(error).startswith("Cannot return null for non-nullable field")


# The declarations, read off once more.


def _declared(definition: Any) -> Declared | None:
    written = definition.extensions.get("strawberry-definition")
    return written.metadata.get("tunery") if written is not None else None


def _planned(kind: GraphQLObjectType) -> Planned | None:
    written = kind.extensions.get("strawberry-definition")
    return getattr(written.origin, "__planned__", None) if written is not None else None


def _is_of(kind: GraphQLObjectType, values: Mapping[str, Any]) -> bool:
    mapping = _planned(kind)
    assert mapping is not None
    assert mapping.when is not None
    column, value = mapping.when
    return values[column] == value


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)


def _is_descending(key: Any) -> bool:
    return str(key).endswith(" DESC")


def _without_direction(key: Any) -> Any:
    return key.element if str(key).endswith((" DESC", " ASC")) else key


# Page sizes and cursors.


def _size(size: int, argument: str) -> int:
    if size < 1 or size > 100:
        raise InvalidInput("a page has 1 to 100 entries", field=argument)
    return size


ZERO = datetime(1970, 1, 1, tzinfo=UTC)


def _encode(value: Any) -> str:
    if isinstance(value, datetime):
        return str((value - ZERO) // timedelta(microseconds=1))
    if isinstance(value, UUID):
        return value.hex
    return str(value) if isinstance(value, int) else str(value).encode().hex()


WHOLE = re.compile("-?[0-9]{1,19}")


def _decode(keys: Sequence[Any], argument: str, cursor: str) -> list[Any]:
    parts = cursor.split("_")
    try:
        if len(parts) == len(keys):
            return [_decode_one(_without_direction(key).type, part) for key, part in zip(keys, parts, strict=True)]
    except (ValueError, OverflowError):
        pass
    raise InvalidInput("this is no cursor of this list: take endCursor or startCursor of a page", field=argument)


def _decode_one(kind: Any, part: str) -> Any:
    if isinstance(kind, sa.Uuid):
        if not re.fullmatch("[0-9a-f]{32}", part):
            raise ValueError(part)
        return UUID(part)
    if isinstance(kind, sa.Text):
        if not re.fullmatch("[0-9a-f]*", part):
            raise ValueError(part)
        text = bytes.fromhex(part).decode()
        if "\0" in text:
            raise ValueError(part)
        return text
    if not WHOLE.fullmatch(part) or str(int(part)) != part:
        raise ValueError(part)
    if isinstance(kind, sa.DateTime):
        return ZERO + timedelta(microseconds=int(part))
    bits = 64 if isinstance(kind, sa.BigInteger) else 32
    if not -(1 << bits - 1) <= int(part) < 1 << bits - 1:
        raise ValueError(part)
    return int(part)


__all__ = ["DomainError", "Oracle", "Outcome", "is_violation"]
