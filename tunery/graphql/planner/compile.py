"""A selection as one SQL expression for its JSON text.

An object is `concat('{"id":', …, ',"seller":', (SELECT concat(…) FROM sellers …), '}')`: concat is the fastest way to
JSON in PostgreSQL (docs/decisions/0011-graphql-planner.md). graphql-core itself collects the fields and coerces the
arguments, so that fragments, directives and defaults mean what they mean there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    ListValueNode,
    OperationDefinitionNode,
    VariableNode,
    get_argument_values,
    get_named_type,
    is_abstract_type,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails, collect_fields, collect_subfields
from graphql.execution.values import VariableValues
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    FromClause,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from strawberry.utils.str_converters import to_camel_case

from tunery.core import ids
from tunery.core.errors import DomainError, InvalidInput, NotFound
from tunery.graphql.access import PUBLIC
from tunery.graphql.planner.codecs import NULL_VIOLATION, encode_global_id, encode_leaf
from tunery.graphql.planner.keyset import Keys
from tunery.graphql.planner.mapping import (
    LARGEST_PAGE,
    Argument,
    Column,
    Declared,
    Keyset,
    Many,
    NodeRoot,
    On,
    One,
    Order,
    Root,
    declared_of,
    is_connection,
    is_list,
    mapping_of,
    python_name,
    when_of,
)
from tunery.graphql.planner.page import Page, Which, page_size
from tunery.graphql.planner.sql import Part, concat, json_object, literal, quote

TYPE_KEY = ""
"""Where graphql-core finds the type of an object that may be of several. No response key is empty."""


ROW_ID = ""
"""No variable has this name."""


class Unplanned(Exception):
    """The planner leaves this to graphql-core."""


@dataclass(frozen=True)
class Parameter:
    """Where a bound value comes from: a variable (or an item of it), or the document itself."""

    name: str
    parse: Callable[[Any], Any]
    variable: str | None
    index: int | None
    constant: Any
    forgiving: bool = False
    """NULL in place of what can't be parsed: graphql-core finds that at the field itself."""
    permission: str = PUBLIC
    """NULL for a caller without it."""

    def value(self, variables: Mapping[str, Any]) -> Any:
        """Raises DomainError."""
        if self.variable is None:
            return self.constant
        given = variables[self.variable]
        try:
            return self.parse(given if self.index is None else given[self.index])
        except DomainError:
            if self.forgiving:
                return None
            raise


class Compiler:
    """Compiles selections of one operation for variables of one shape.

    `checked`: the text goes to the client as it is, so that every breach of the schema's promises has to show
    (NULL_VIOLATION). Otherwise graphql-core reads the text and finds them itself.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: Mapping[str, FragmentDetails],
        variables: VariableValues,
        *,
        checked: bool,
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = dict(fragments)
        self._variables = variables
        self._checked = checked
        self._public = False
        self._aliases = 0
        self.as_nobody = False
        """Whether a public root reads what depends on who asks."""
        self._depth = 0
        """Of fields below the root."""
        self.parameters: list[Parameter] = []

    def query(self) -> tuple[list[Part], frozenset[str]]:
        """The whole operation's `data`, and the permissions it needs. Raises Unplanned, DomainError, GraphQLError."""
        query_type = self._schema.query_type
        assert query_type is not None  # noqa: S101
        roots = collect_fields(self._schema, self._fragments, self._variables, query_type, self._operation)
        permissions: set[str] = set()
        fields: list[tuple[str, Sequence[Part]]] = []
        for key, details in roots.grouped_field_set.items():
            name = details[0].node.name.value
            if name == "__typename":
                fields.append((key, [f'"{query_type.name}"']))
                continue
            definition = query_type.fields.get(name)
            declared = declared_of(definition) if definition else None
            if definition is None or declared is None or not isinstance(declared.source, Root | NodeRoot):
                raise Unplanned
            permissions.add(declared.permission)
            fields.append((key, self.root(definition, declared, details)))
        if self.as_nobody and permissions != {PUBLIC}:
            raise Unplanned  # a statement has one context
        return json_object(fields), frozenset(permissions)

    def root(self, definition: GraphQLField, declared: Declared, details: Sequence[FieldDetails]) -> list[Part]:
        """A root field's value. Raises DomainError, GraphQLError."""
        self._public = declared.public
        source, kind, node = declared.source, definition.type, details[0].node
        given = get_argument_values(definition, node, self._variables)
        if isinstance(source, NodeRoot):
            return self._nodes(node, given, details)
        assert isinstance(source, Root)  # noqa: S101
        arguments = {
            name: self._bind(node, to_camel_case(name), given, kind) for name, kind in source.arguments.items()
        }

        which = Which(lambda row: list(source.where(row, **arguments)))
        if source.order is None:
            # What was asked for by id and isn't there is an error, which graphql-core words.
            return self._one(kind, details, which, promised=True)
        if is_connection(kind):
            return Page(self, kind, details, given, which, source.order).parts()
        if is_list(kind):
            return self._many(kind, details, given, which, source.order)
        return self._one(kind, details, which, source.order, promised=True)

    def row(self, kind: GraphQLObjectType, details: Sequence[FieldDetails]) -> ColumnElement[Any]:
        """The row whose id the program itself binds, under ROW_ID among the variables."""
        identifier = self._parameter(Argument(itself, Uuid()), ROW_ID, None, None)
        return concat(self._one(kind, details, Which(lambda row: [row.id == identifier])))

    def _nodes(self, node: FieldNode, given: Mapping[str, Any], details: Sequence[FieldDetails]) -> list[Part]:
        """`node` and `nodes`. The ids' kinds are part of the variables' shape, so the types are known here."""
        if "id" in given:
            return self._node(given["id"], node, "id", None, details)
        if len(given["ids"]) > LARGEST_PAGE:
            raise InvalidInput(f"give up to {LARGEST_PAGE} ids", field="ids")
        parts: list[Part] = ["["]
        for index, identifier in enumerate(given["ids"]):
            parts += ["," if index else "", *self._node(identifier, node, "ids", index, details)]
        return [*parts, "]"]

    def _node(
        self, identifier: str, node: FieldNode, argument: str, index: int | None, details: Sequence[FieldDetails]
    ) -> list[Part]:
        id_kind = ids.kind_of(identifier)
        kind = None if id_kind is None else self._node_type(id_kind)
        if id_kind is None or kind is None:
            return ["null"]
        mapping = mapping_of(kind)
        assert mapping is not None  # noqa: S101 - by which _node_type chose it
        # NULL matches no row: what the caller may not read is answered as what isn't there.
        uuid = Argument(partial(_digits_of, id_kind), Uuid(), permission=mapping.permission)
        bound = self._bind(node, argument, {argument: identifier}, uuid, index)
        when = mapping.when

        def conditions(row: Any) -> list[ColumnElement[bool]]:
            return [row.id == bound, *([] if when is None else [row[when[0]] == quote(str(when[1]))])]

        return self._one(kind, details, Which(conditions), hint=True)

    def _node_type(self, id_kind: str) -> GraphQLObjectType | None:
        interface = self._schema.type_map["Node"]
        assert isinstance(interface, GraphQLInterfaceType)  # noqa: S101
        for possible in self._schema.get_possible_types(interface):
            mapping = mapping_of(possible)
            if mapping is not None and mapping.kind == id_kind:
                return possible
        return None

    def _one(
        self,
        kind: Any,
        details: Sequence[FieldDetails],
        which: Which,
        order: Order | None = None,
        *,
        promised: bool = False,
        hint: bool = False,
    ) -> list[Part]:
        row = self.row_of(kind)
        found = which.among(select(concat(self.object(kind, row, details, hint=hint))).select_from(row), row)
        if order is not None:
            found = found.order_by(*order(row.c)).limit(literal(1))
        missing = self._missing(promised=promised or isinstance(kind, GraphQLNonNull))
        return [func.coalesce(found.scalar_subquery(), missing)]

    def _many(
        self, kind: Any, details: Sequence[FieldDetails], given: Mapping[str, Any], which: Which, order: Order
    ) -> list[Part]:
        row = self.row_of(kind)
        size = page_size(given["first"], "first")
        found = which.among(select(row), row).order_by(*order(row.c)).limit(literal(size)).subquery(self.alias())
        comma: Any = aggregate_order_by(literal_column("','"), *order(found.c))
        objects = select(func.string_agg(concat(self.object(kind, found, details)), comma)).select_from(found)
        return ["[", objects.scalar_subquery(), "]"]

    def object(self, kind: Any, row: FromClause, details: Sequence[FieldDetails], *, hint: bool = False) -> list[Part]:
        """The row as an object of the type; of an abstract one, as the type that its discriminator names."""
        named = get_named_type(kind)
        if not is_abstract_type(named):
            return json_object(self._fields(named, row, details, hint=hint))
        choices = []
        for possible in self._schema.get_possible_types(named):
            column, value = when_of(possible)
            fields = self._fields(possible, row, details, hint=True)
            choices.append((row.c[column] == quote(str(value)), concat(json_object(fields))))
        return [case(*choices, else_=self._missing(promised=True))]

    def _fields(
        self, kind: GraphQLObjectType, row: FromClause, details: Sequence[FieldDetails], *, hint: bool
    ) -> list[tuple[str, Sequence[Part]]]:
        fields: list[tuple[str, Sequence[Part]]] = []
        if hint and not self._checked:
            fields.append((TYPE_KEY, [f'"{kind.name}"']))
        for key, nodes in self.collect(kind, details).items():
            name = nodes[0].node.name.value
            value = [f'"{kind.name}"'] if name == "__typename" else self._field(kind.fields[name], row, nodes)
            fields.append((key, value))
        return fields

    def _field(self, definition: GraphQLField, row: FromClause, details: Sequence[FieldDetails]) -> list[Part]:
        self._depth += 1
        try:
            return self._value(definition, row, details)
        except (DomainError, GraphQLError):
            # What is wrong with the arguments belongs to this field: graphql-core finds it when it gets there.
            if self._checked:
                raise
            return ["null"]
        finally:
            self._depth -= 1

    def _value(self, definition: GraphQLField, row: FromClause, details: Sequence[FieldDetails]) -> list[Part]:
        declared = declared_of(definition)
        source, kind = declared.source if declared else Column(), definition.type
        if isinstance(source, Column):
            return self._leaf(definition, source, row)
        assert isinstance(source, One | Many | Keyset), f"{definition} has no rows"  # noqa: S101
        on: On = source.on

        which = Which(lambda target: [on(row.c, target)], parent=row)
        if isinstance(source, One):
            return self._one(kind, details, which, source.order)
        given = get_argument_values(definition, details[0].node, self._variables)
        if isinstance(source, Many):
            return self._many(kind, details, given, which, source.order)
        return Page(self, kind, details, given, which, source.order).parts()

    def _leaf(self, definition: GraphQLField, source: Column, row: FromClause) -> list[Part]:
        value = row.c[python_name(definition)] if source.expression is None else source.expression(row.c)
        promised = isinstance(definition.type, GraphQLNonNull)
        never_null = promised and not getattr(value, "nullable", True)
        if source.kind is None:
            return [encode_leaf(definition.type, value, never_null=never_null, checked=self._checked)]
        return encode_global_id(source.kind, value, None if never_null else self._missing(promised=promised))

    def collect(self, kind: GraphQLObjectType, details: Sequence[FieldDetails]) -> Mapping[str, list[FieldDetails]]:
        """The selected fields of an object by response key."""
        try:
            collected = collect_subfields(
                self._schema, self._fragments, self._variables, self._operation, kind, list(details)
            )
        except GraphQLError:  # by a directive's argument, which graphql-core comes upon at this object, too
            if self._checked:
                raise
            return {}
        return collected.grouped_field_set

    def row_of(self, kind: Any) -> FromClause:
        """A row of the type's table, under a name of its own. All types of an abstract one share a table."""
        named = get_named_type(kind)
        mapping = mapping_of(self._schema.get_possible_types(named)[0] if is_abstract_type(named) else named)
        if mapping is None:
            raise TypeError(f"{named} is not a planned type")
        if self._public and mapping.public is mapping.table:
            self.as_nobody = True
        return (mapping.public if self._public else mapping.table).alias(self.alias())

    def alias(self) -> str:
        self._aliases += 1
        return f"t{self._aliases}"

    def _missing(self, *, promised: bool) -> ColumnElement[Any]:
        return NULL_VIOLATION if promised and self._checked else literal_column("'null'", Text())

    def bind_cursor(self, node: FieldNode, name: str, given: Mapping[str, Any], keys: Keys) -> list[ColumnElement[Any]]:
        """The cursor in this argument, one parameter for each of the keys."""
        bound = []
        for position, key in enumerate(keys.columns):
            parse = partial(keys.decode_one, name, position)
            bound.append(self._bind(node, name, given, Argument(parse, key.type)))
        return [parameter for parameter in bound if parameter is not None]

    def _bind(
        self, node: FieldNode, name: str, given: Mapping[str, Any], kind: Argument, index: int | None = None
    ) -> BindParameter[Any] | None:
        """The argument as SQL; None when it is absent, null, or blank where that means absent: parts of the shape."""
        value = given.get(name)
        if value is None or (kind.blank_is_absent and not value.strip()):
            return None
        value_node = next((argument.value for argument in node.arguments or () if argument.name.value == name), None)
        if index is not None and isinstance(value_node, ListValueNode):
            value_node, index = value_node.values[index], None
        if isinstance(value_node, VariableNode) and value_node.name.value in self._variables.coerced:
            return self._parameter(kind, value_node.name.value, index, None)
        # Of the document itself: arguments are plain values (see `use_planner`), so no variable stands within it; and
        # one that isn't given leaves the argument its default.
        return self._parameter(kind, None, None, kind.parse(value))

    def _parameter(self, kind: Argument, variable: str | None, index: int | None, constant: Any) -> BindParameter[Any]:
        forgiving = self._depth > 0 and not self._checked
        name = f"p{len(self.parameters)}"
        parameter = Parameter(name, kind.parse, variable, index, constant, forgiving, kind.permission)
        self.parameters.append(parameter)
        return bindparam(parameter.name, None, type_=kind.type)


def _digits_of(kind: str, identifier: str) -> str | None:
    """Of its UUID. None matches no row."""
    try:
        return ids.digits_of(kind, identifier)
    except NotFound:
        return None


def itself(value: Any) -> Any:
    return value
