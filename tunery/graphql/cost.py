"""What an operation costs: one point for each object that its answer may hold, more for what it writes or counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from graphql import (
    BooleanValueNode,
    DirectiveNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    is_abstract_type,
    is_composite_type,
    is_list_type,
)

from tunery.graphql.limits import INTROSPECTION
from tunery.graphql.planner.mapping import LARGEST_PAGE, MOST_ITEMS, OF_PAGE, WORK_POINTS

MUTATION_POINTS = 10
"""Of each root field of a mutation, beside the objects of its payload: it writes."""
INTROSPECTION_POINTS = 100
"""Of `__schema` and `__type`, whatever is selected: no row is read for them."""
COUNTING_POINTS = 10
"""Of each `totalCount`: the rows of a whole list are looked at for it."""
TOTAL_COUNT = "totalCount"

Composite: TypeAlias = GraphQLObjectType | GraphQLInterfaceType | GraphQLUnionType


class Price(int):
    """Points that an operation costs at most. `unseen` of them are for work that the answer's objects don't show."""

    unseen: int

    def __new__(cls, points: int, unseen: int) -> Self:
        price = super().__new__(cls, points)
        price.unseen = unseen
        return price


def cost_of(
    schema: GraphQLSchema,
    operation: OperationDefinitionNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
) -> Price:
    """At least 1. The operation must be valid for the schema.

    Linear in the document: a fragment is counted once for each length of page that it is spread in.
    """
    root = schema.get_root_type(operation.operation)
    values = _values(operation, variables)
    points, objects = (
        _Count(schema, fragments, values, counting).selections(operation.selection_set, root, None) if root else 0
        for counting in (COUNTING_POINTS, 0)
    )
    writing = 0
    if operation.operation is OperationType.MUTATION:
        writing = MUTATION_POINTS * _root_fields(operation.selection_set, fragments, values, {})
    return Price(max(1, points + writing), points - objects + writing)


def _values(operation: OperationDefinitionNode, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables' values, defaults included. A default stays as the document writes it."""
    values: dict[str, Any] = {}
    for definition in operation.variable_definitions or ():
        name = definition.variable.name.value
        if name in variables:
            values[name] = variables[name]
        elif definition.default_value is not None:
            values[name] = definition.default_value
    return values


def _root_fields(
    selection_set: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    values: Mapping[str, Any],
    known: dict[str, int],
) -> int:
    number = 0
    for node in selection_set.selections:
        if not _is_included(node, values):
            continue
        if isinstance(node, InlineFragmentNode):
            number += _root_fields(node.selection_set, fragments, values, known)
        elif isinstance(node, FragmentSpreadNode):
            name = node.name.value
            if name not in known:
                known[name] = _root_fields(fragments[name].selection_set, fragments, values, known)
            number += known[name]
        else:
            number += 1
    return number


@dataclass(slots=True)
class _Count:
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    values: Mapping[str, Any]
    counting: int
    known: dict[tuple[str, int | None], int] = field(default_factory=dict)

    def selections(self, selection_set: SelectionSetNode, parent: Composite, page: int | None) -> int:
        """Objects, and `counting` for each count, below one object of `parent`, whose field asked for `page` items.
        With 0 for a count, the objects alone.
        """
        points = 0
        # An object has one concrete type: of the fragments that ask for different ones, the dearest counts.
        alternatives: dict[str, int] = {}
        for node in selection_set.selections:
            if not _is_included(node, self.values):
                continue
            if isinstance(node, FieldNode):
                points += self._field(node, parent, page)
                continue
            if isinstance(node, InlineFragmentNode):
                on = self._type(node.type_condition.name.value) if node.type_condition else parent
                found = self.selections(node.selection_set, on, page)
            else:
                assert isinstance(node, FragmentSpreadNode)  # noqa: S101 - there is no fourth selection
                fragment = self.fragments[node.name.value]
                on = self._type(fragment.type_condition.name.value)
                found = self._fragment(fragment, on, page)
            if is_abstract_type(parent) and isinstance(on, GraphQLObjectType):
                alternatives[on.name] = alternatives.get(on.name, 0) + found
            else:
                points += found
        return points + max(alternatives.values(), default=0)

    def _fragment(self, fragment: FragmentDefinitionNode, on: Composite, page: int | None) -> int:
        key = (fragment.name.value, page)
        points = self.known.get(key)
        if points is None:
            points = self.known[key] = self.selections(fragment.selection_set, on, page)
        return points

    def _field(self, node: FieldNode, parent: Composite, page: int | None) -> int:
        name = node.name.value
        if name in INTROSPECTION:
            return INTROSPECTION_POINTS
        definition = None if isinstance(parent, GraphQLUnionType) else parent.fields.get(name)
        kind = get_named_type(definition.type) if definition else None
        if definition is None or not is_composite_type(kind) or node.selection_set is None:
            return self.counting if name == TOTAL_COUNT else 0
        asked = self._page(node, definition)
        below = self.selections(node.selection_set, kind, asked)
        if not is_list_type(get_nullable_type(definition.type)):
            return 1 + below + (definition.extensions.get(WORK_POINTS, 0) if self.counting else 0)
        items = asked
        if items is None and (name in ("edges", "nodes") or definition.extensions.get(OF_PAGE)):
            items = page
        if items is None:
            items = definition.extensions.get(MOST_ITEMS, LARGEST_PAGE)
        return items * (1 + below)

    def _page(self, node: FieldNode, definition: GraphQLField) -> int | None:
        """How many items the field's own arguments ask for; None: they do not say."""
        written = {argument.name.value: argument.value for argument in node.arguments or ()}
        if "ids" in definition.args:
            return self._length(written.get("ids"))
        pages = []
        for name in ("first", "last", "k"):
            argument = definition.args.get(name)
            if argument is None:
                continue
            asked = self._number(written.get(name))
            if asked is None:
                asked = _default(argument)
            if asked is not None:
                pages.append(min(max(asked, 0), LARGEST_PAGE))
        return max(pages, default=None)

    def _number(self, node: ValueNode | None) -> int | None:
        value = self._value(node)
        return int(value.value) if isinstance(value, IntValueNode) else _whole(value)

    def _length(self, node: ValueNode | None) -> int:
        value = self._value(node)
        if isinstance(value, ListValueNode):
            return len(value.values)
        # The language takes a single value for a list of one.
        return len(value) if isinstance(value, list) else 1

    def _value(self, node: ValueNode | None) -> Any:
        """A variable's value (JSON, or the syntax of its default), or the syntax as it stands."""
        return self.values.get(node.name.value) if isinstance(node, VariableNode) else node

    def _type(self, name: str) -> Composite:
        kind = self.schema.get_type(name)
        assert is_composite_type(kind), "validation has seen to it"  # noqa: S101
        return kind


def _default(argument: GraphQLArgument) -> int | None:
    default = argument.default
    if default is None:
        return _whole(argument.default_value)
    return int(default.literal.value) if isinstance(default.literal, IntValueNode) else _whole(default.value)


def _whole(value: Any) -> int | None:
    """A number as `Int` takes it: JSON's 20.0 is 20."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)


def _is_included(node: SelectionNode, values: Mapping[str, Any]) -> bool:
    directives: Sequence[DirectiveNode] = node.directives or ()
    for directive in directives:
        wanted = {"skip": False, "include": True}.get(directive.name.value)
        if wanted is None:
            continue
        for argument in directive.arguments or ():
            value: Any = argument.value
            if isinstance(value, VariableNode):
                value = values.get(value.name.value)
            if isinstance(value, BooleanValueNode):
                value = value.value
            if isinstance(value, bool) and value is not wanted:
                return False
    return True
