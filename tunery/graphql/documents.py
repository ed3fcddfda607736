"""Documents, read once: parsed, validated and measured when they first come, kept while they are in use."""

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    InlineFragmentNode,
    NonNullTypeNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
    print_ast,
    validate,
)

from tunery.graphql.access import is_public
from tunery.graphql.cost import Price, cost_of
from tunery.graphql.limits import Limits, check_limits, check_size

MOST_SHAPES = 100
"""Of one operation that are kept. An operation has as many as its variables have page sizes, flags and gaps."""
MOST_CHARACTERS = 1_000_000
"""Of the documents that are kept: each takes some 100 bytes of memory as a tree."""
MOST_PLANNED_CHARACTERS = 2_000_000
"""Of the documents of the shapes that are kept, each time counted: each takes some 45 bytes of memory as SQL."""
MOST_ERRORS = 10
"""That validation looks for: each may repeat a part of the document."""

PLAIN: dict[str, Callable[[Any], bool]] = {
    "String": lambda value: type(value) is str,
    "ID": lambda value: type(value) is str,
    "Boolean": lambda value: type(value) is bool,
    "Int": lambda value: type(value) is int and -(2**31) <= value < 2**31,
    "[ID!]": lambda value: type(value) is list and all(type(item) is str for item in value),
}
"""Of the types that planned fields take, the values that coercion would leave alone."""

Shape = tuple[object, ...]


class Document:
    """A document's text and what is known of it. `errors` are why it is refused; empty: it can be executed."""

    def __init__(
        self,
        schema: GraphQLSchema,
        text: str,
        limits: Limits | None,
        *,
        suggestions: bool = False,
        shapes: "Shapes | None" = None,
    ) -> None:
        self.schema = schema
        self.text = text
        self.trusted = limits is None
        self.shapes = Shapes() if shapes is None else shapes
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
        self.errors = self.errors or validate(
            schema, self.definition, max_errors=MOST_ERRORS, hide_suggestions=not suggestions
        )
        if self.errors:
            self.definition = None
            self.errors = [_without_tree(error) for error in self.errors]

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
    planned: bool = False
    """Once at least, be its shapes forgotten since."""

    @property
    def kind(self) -> OperationType:
        return self.node.operation

    @property
    def name(self) -> str | None:
        return self.node.name.value if self.node.name else None

    @cached_property
    def span_name(self) -> str:
        return f"{self.kind.value} {self.name or '(anonymous)'}"

    def shaped(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept for variables of this shape; empty at first."""
        shape = self._shape_of(variables)
        kept = self.shapes.get(shape)
        if kept is None:
            if len(self.shapes) >= MOST_SHAPES:
                self.shapes.popitem(last=False)
            kept = self.shapes[shape] = {}
            self.planned = True
            self.document.shapes.add(self, shape)
        return kept

    def is_new(self, variables: Mapping[str, Any]) -> bool:
        """Whether variables of this shape take planning beyond the first one, which belongs to reading the document."""
        return self.planned and self._shape_of(variables) not in self.shapes

    def _shape_of(self, variables: Mapping[str, Any]) -> Shape:
        return tuple([_shape(variables.get(name, ABSENT)) for name in self.variable_names])

    def cost(self, variables: Mapping[str, Any]) -> Price:
        """Points that an answer may cost: see `cost_of`."""
        kept = self.shaped(variables)
        if "cost" not in kept:
            kept["cost"] = cost_of(self.document.schema, self.node, self.document.fragments, variables)
        price: Price = kept["cost"]
        return price

    def takes_as_they_are(self, variables: Mapping[str, Any]) -> bool:
        """Whether coercion would leave the variables alone. False: graphql-core has to look at them."""
        for name, plain, nullable in self._variables:
            value = variables.get(name)
            if value is None:
                if not nullable:
                    return False
            elif plain is None or not plain(value):
                return False
        return True

    @cached_property
    def _variables(self) -> list[tuple[str, Callable[[Any], bool] | None, bool]]:
        """Name, what tells that a value needs no coercion (None: nothing does), whether null and absence need none."""
        plain = []
        for definition in self.node.variable_definitions or ():
            kind, nullable = definition.type, definition.default_value is None
            if isinstance(kind, NonNullTypeNode):
                kind, nullable = kind.type, False
            plain.append((definition.variable.name.value, PLAIN.get(print_ast(kind)), nullable))
        return plain

    @cached_property
    def is_public(self) -> bool:
        """Whether it asks only for what answers everybody alike."""
        query_type = self.document.schema.query_type
        fields = query_type.fields if query_type and self.kind is OperationType.QUERY else {}
        names = self._root_names(self.node.selection_set) - {"__typename"}
        return all(name in fields and is_public(fields[name]) for name in names)

    def _root_names(self, selections: SelectionSetNode) -> set[str]:
        names: set[str] = set()
        for node in selections.selections:
            if isinstance(node, FieldNode):
                names.add(node.name.value)
            elif isinstance(node, InlineFragmentNode):
                names |= self._root_names(node.selection_set)
            elif isinstance(node, FragmentSpreadNode):
                names |= self._root_names(self.document.fragments[node.name.value].selection_set)
        return names

    @cached_property
    def variable_names(self) -> list[str]:
        return [definition.variable.name.value for definition in self.node.variable_definitions or ()]


class Shapes:
    """Bounds what is kept for all shapes of all operations together: the oldest are forgotten first."""

    def __init__(self, most_characters: int = MOST_PLANNED_CHARACTERS) -> None:
        self._most = most_characters
        self._characters = 0
        self._kept: deque[tuple[Operation, Shape]] = deque()

    def add(self, operation: Operation, shape: Shape) -> None:
        self._kept.append((operation, shape))
        self._characters += len(operation.document.text)
        while self._characters > self._most and len(self._kept) > 1:
            oldest, its_shape = self._kept.popleft()
            self._characters -= len(oldest.document.text)
            oldest.shapes.pop(its_shape, None)


class Documents:
    """The documents in use, the least recently used forgotten first. `suggestions`: errors guess what was meant."""

    def __init__(
        self,
        schema: GraphQLSchema,
        limits: Limits,
        *,
        suggestions: bool = False,
        size: int = 1000,
        characters: int = MOST_CHARACTERS,
    ) -> None:
        self._schema = schema
        self._suggestions = suggestions
        self._limits = limits
        self._size = size
        self._most_characters = characters
        self._characters = 0
        self._shapes = Shapes()
        self._documents: OrderedDict[str, Document] = OrderedDict()

    def __contains__(self, text: str) -> bool:
        """Whether reading it was paid for already."""
        return text in self._documents

    def get(self, text: str) -> Document:
        document = self._documents.get(text)
        if document is None:
            document = Document(self._schema, text, self._limits, suggestions=self._suggestions, shapes=self._shapes)
            if len(text) > self._limits.characters:  # refused, and not worth its memory
                return document
            self._documents[text] = document
            self._characters += len(text)
            while len(self._documents) > self._size or self._characters > self._most_characters:
                forgotten, _ = self._documents.popitem(last=False)
                self._characters -= len(forgotten)
        else:
            self._documents.move_to_end(text)
        return document


def _without_tree(error: GraphQLError) -> GraphQLError:
    """The same to whoever reads it. Its nodes would keep the whole document's tree in memory."""
    return GraphQLError(
        error.message, source=error.source, positions=error.positions, path=error.path, extensions=error.extensions
    )


ABSENT = object()


def _shape(value: object) -> object:
    """What of a variable's value may change the statement or its cost: flags, page sizes, gaps, blanks, ids' kinds."""
    if value is None or value is ABSENT or isinstance(value, bool | int | float):
        return (type(value), value)
    if isinstance(value, str):
        if not value or value.isspace():
            return (str, "")
        return value.partition("_")[0][:20] if "_" in value[:20] else str
    if isinstance(value, list):
        # Lists in lists are graphql-core's to refuse, and may be nested deeper than a stack is high.
        return (len(value), *[list if isinstance(item, list) else _shape(item) for item in value[:1000]])
    return type(value)
