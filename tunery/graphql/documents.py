"""Documents, read once: parsed, validated and measured when they first come, kept while they are in use."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    parse,
    validate,
)

from tunery.graphql.cost import cost_of
from tunery.graphql.limits import Limits, check_limits, check_size

MOST_SHAPES = 100
"""Of one operation that are kept. An operation has as many as its variables have page sizes, flags and gaps."""

Shape = tuple[object, ...]


class Document:
    """A document's text and what is known of it. `errors` are why it is refused; empty: it can be executed."""

    def __init__(self, schema: GraphQLSchema, text: str, limits: Limits | None) -> None:
        self.schema = schema
        self.text = text
        self.trusted = limits is None
        self.definition: DocumentNode | None = None
        self.errors: Sequence[GraphQLError] = ()
        self._operations: dict[str | None, Operation] = {}
        try:
            if limits is not None:
                check_size(text, limits)
            self.definition = parse(text, max_tokens=None if limits is None else limits.tokens)
        except GraphQLError as error:
            self.errors = [error]
            return
        if limits is not None:
            self.errors = check_limits(self.definition, limits)
        self.errors = self.errors or validate(schema, self.definition, hide_suggestions=True)

    @cached_property
    def fragments(self) -> dict[str, FragmentDefinitionNode]:
        definitions = self.definition.definitions if self.definition else ()
        return {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}

    def operation(self, name: str | None) -> "Operation":
        """The operation to execute, as the specification's GetOperation finds it. Raises GraphQLError."""
        found = self._operations.get(name)
        if found is None:
            found = self._operations[name] = self._find(name)
        return found

    def _find(self, name: str | None) -> "Operation":
        assert self.definition is not None, "a document with errors has no operations"  # noqa: S101
        nodes = [node for node in self.definition.definitions if isinstance(node, OperationDefinitionNode)]
        if name is not None:
            nodes = [node for node in nodes if node.name is not None and node.name.value == name]
            if not nodes:
                raise GraphQLError(f"Unknown operation named '{name}'.")
        if len(nodes) > 1:
            raise GraphQLError("Must provide operation name if query contains multiple operations.")
        if not nodes:
            raise GraphQLError("Must provide an operation.")
        return Operation(self, nodes[0])


@dataclass(eq=False)
class Operation:
    """One operation of a document, and what was worked out for each shape of its variables."""

    document: Document
    node: OperationDefinitionNode
    shapes: "OrderedDict[Shape, dict[str, Any]]" = field(default_factory=OrderedDict)

    @property
    def kind(self) -> OperationType:
        return self.node.operation

    @property
    def name(self) -> str | None:
        return self.node.name.value if self.node.name else None

    def shaped(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept for variables of this shape; empty at first."""
        shape = tuple([_shape(variables.get(name, ABSENT)) for name in self.variable_names])
        kept = self.shapes.get(shape)
        if kept is None:
            if len(self.shapes) >= MOST_SHAPES:
                self.shapes.popitem(last=False)
            kept = self.shapes[shape] = {}
        return kept

    def cost(self, variables: Mapping[str, Any]) -> int:
        """Points that an answer may cost: see `cost_of`."""
        kept = self.shaped(variables)
        if "cost" not in kept:
            kept["cost"] = cost_of(self.document.schema, self.node, self.document.fragments, variables)
        points: int = kept["cost"]
        return points

    @cached_property
    def variable_names(self) -> list[str]:
        return [definition.variable.name.value for definition in self.node.variable_definitions or ()]


class Documents:
    """The documents in use, the least recently used forgotten first."""

    def __init__(self, schema: GraphQLSchema, limits: Limits, *, size: int = 1000) -> None:
        self._schema = schema
        self._limits = limits
        self._size = size
        self._documents: OrderedDict[str, Document] = OrderedDict()

    def get(self, text: str) -> Document:
        document = self._documents.get(text)
        if document is None:
            document = Document(self._schema, text, self._limits)
            if len(self._documents) >= self._size:
                self._documents.popitem(last=False)
            self._documents[text] = document
        else:
            self._documents.move_to_end(text)
        return document


ABSENT = object()


def _shape(value: object) -> object:
    """What of a variable's value may change the statement or its cost: flags, page sizes, gaps, an id's kind."""
    if value is None or value is ABSENT or isinstance(value, bool | int):
        return (type(value), value)
    if isinstance(value, str):
        return value.partition("_")[0][:20] if "_" in value[:20] else str
    if isinstance(value, list):
        return tuple([_shape(item) for item in value[:1000]])
    return type(value)
