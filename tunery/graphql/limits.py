"""What a document may ask for, checked before anything is executed."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableDefinitionNode,
)

INTROSPECTION = frozenset({"__schema", "__type"})
"""Root fields that tell the schema. `__typename` tells nothing that the document does not say already."""

MOST_SEEN = 10_000
"""Fields that are looked at for their repetition. Fragments that go round in a cycle have no end."""

_ALIASES = "an operation has up to {limit} aliases, this one has {number}"
_FIELDS = "an operation has up to {limit} root fields, this one has {number}"
_DEPTH = "fields are nested up to {limit} deep, these {number} deep"
_DIRECTIVES = "a document has up to {limit} directives, this one has {number}"
_FRAGMENTS = "a document has up to {limit} fragments, this one has {number}"
_ALL_FIELDS = "an operation has up to {limit} fields, this one has {number}"
_REPEATS = "a field is asked for up to {limit} times in one place, here {number} times"

Definition: TypeAlias = OperationDefinitionNode | FragmentDefinitionNode


@dataclass(frozen=True)
class Limits:
    """Of a document that is not a trusted one."""

    characters: int = 20_000
    tokens: int = 2_000
    depth: int = 12
    aliases: int = 30
    directives: int = 30
    root_fields: int = 20
    fields: int = 1_000
    repeats: int = 20
    """Of a field in one place, fragments included: validation compares each with each other one, which takes a second
    for 6 KB of text.
    """
    fragments: int = 50
    nodes: int = 10_000
    introspection: bool = False
    introspection_depth: int = 20
    """Below `__schema` and `__type`: the query that every IDE sends has 15 levels and touches no row."""


@dataclass(slots=True)
class Measure:
    """Of a selection, what its fragments hold counted each time that they are spread."""

    fields: int = 0
    all_fields: int = 0
    aliases: int = 0
    depth: int = 0
    introspection_depth: int = 0

    def add(self, other: "Measure", *, below: bool) -> None:
        """Add a fragment's measure, or with `below` that of a field's own selection."""
        if not below:
            self.fields += other.fields
        self.all_fields += other.all_fields
        self.aliases += other.aliases
        self.depth = max(self.depth, other.depth + below)
        self.introspection_depth = max(self.introspection_depth, other.introspection_depth)


def check_size(text: str, limits: Limits) -> None:
    """Raises GraphQLError."""
    if len(text) > limits.characters:
        message = f"a document has up to {limits.characters} characters, this one has {len(text)}"
        raise GraphQLError(message, extensions={"code": "DOCUMENT_TOO_LARGE"})


def check_limits(document: DocumentNode, limits: Limits) -> list[GraphQLError]:
    """Why a parsed document is refused, its limits named; empty: it may be validated.

    Linear in the document: a fragment is measured once, however often it is spread. Cycles of fragments add nothing
    here; validation refuses them.
    """
    survey = _Survey()
    definitions = [
        node for node in document.definitions if isinstance(node, OperationDefinitionNode | FragmentDefinitionNode)
    ]
    fragments = {node.name.value: node for node in definitions if isinstance(node, FragmentDefinitionNode)}
    try:
        for node in definitions:
            survey.read(node)
        measured = _Measures(fragments)
        measures = [
            measured.of(node.selection_set) for node in definitions if isinstance(node, OperationDefinitionNode)
        ]
    except RecursionError:
        return [_refusal("DOCUMENT_TOO_DEEP", f"fields are nested up to {limits.depth} deep, these far deeper")]

    errors = []
    if survey.introspection and not limits.introspection:
        message = "introspection is off here; the schema is published as schema.graphql"
        errors.append(_refusal("INTROSPECTION_OFF", message, survey.introspection))
    errors += [
        _refusal(code, text.format(limit=limit, number=number))
        for code, text, limit, number in (
            ("TOO_MANY_ALIASES", _ALIASES, limits.aliases, _most(measure.aliases for measure in measures)),
            ("TOO_MANY_ROOT_FIELDS", _FIELDS, limits.root_fields, _most(measure.fields for measure in measures)),
            ("DOCUMENT_TOO_DEEP", _DEPTH, limits.depth, _most(measure.depth for measure in measures)),
            (
                "DOCUMENT_TOO_DEEP",
                _DEPTH,
                limits.introspection_depth,
                _most(measure.introspection_depth for measure in measures),
            ),
            ("TOO_MANY_DIRECTIVES", _DIRECTIVES, limits.directives, survey.directives),
            ("TOO_MANY_FRAGMENTS", _FRAGMENTS, limits.fragments, len(fragments)),
            ("TOO_MANY_FIELDS", _ALL_FIELDS, limits.fields, _most(measure.all_fields for measure in measures)),
        )
        if number > limit
    ]
    if survey.repeated is not None:
        name, place = survey.repeated
        errors.append(_refusal("DUPLICATE_DIRECTIVE", f"@{name} stands more than once in one place", place))
    if not errors:  # then there is little enough to go through it field by field
        repeats = _most(_repeats(node.selection_set, fragments) for node in definitions)
        if repeats > limits.repeats:
            errors.append(_refusal("TOO_MANY_FIELDS", _REPEATS.format(limit=limits.repeats, number=repeats)))
    return errors


def _most(numbers: Iterable[int]) -> int:
    """Of one operation: only one is executed."""
    return max(numbers, default=0)


def _repeats(selection_set: SelectionSetNode, fragments: Mapping[str, FragmentDefinitionNode]) -> int:
    """How often the field is asked for that is asked for most in one place."""
    most, seen = 0, 0
    places = [[selection_set]]
    while places and seen < MOST_SEEN:
        fields: dict[str, list[FieldNode]] = {}
        spread: set[str] = set()
        pending = places.pop()
        while pending:
            for node in pending.pop().selections:
                if isinstance(node, FieldNode):
                    fields.setdefault((node.alias or node.name).value, []).append(node)
                elif isinstance(node, InlineFragmentNode):
                    pending.append(node.selection_set)
                elif isinstance(node, FragmentSpreadNode) and node.name.value not in spread:
                    spread.add(node.name.value)
                    if node.name.value in fragments:
                        pending.append(fragments[node.name.value].selection_set)
        for nodes in fields.values():
            seen += len(nodes)
            most = max(most, len(nodes))
            below = [node.selection_set for node in nodes if node.selection_set is not None]
            if below:
                places.append(below)
    return most


@dataclass(slots=True)
class _Survey:
    """What counts as written, wherever it stands."""

    directives: int = 0
    repeated: tuple[str, Node] | None = None
    introspection: FieldNode | None = None

    def read(self, definition: Definition) -> None:
        self._directives(definition)
        for variable in definition.variable_definitions or ():
            self._directives(variable)
        self._selections(definition.selection_set)

    def _selections(self, selection_set: SelectionSetNode) -> None:
        for node in selection_set.selections:
            if isinstance(node, FieldNode) and node.name.value in INTROSPECTION:
                self.introspection = node
            self._directives(node)
            if isinstance(node, FieldNode | InlineFragmentNode) and node.selection_set is not None:
                self._selections(node.selection_set)

    def _directives(self, node: "Definition | VariableDefinitionNode | Node") -> None:
        directives = getattr(node, "directives", None)
        if not directives:
            return
        self.directives += len(directives)
        if self.repeated is None and len(directives) > 1:
            (name, number) = Counter(directive.name.value for directive in directives).most_common(1)[0]
            if number > 1:
                self.repeated = (name, node)


@dataclass(slots=True)
class _Measures:
    fragments: Mapping[str, FragmentDefinitionNode]
    known: dict[str, Measure] = field(default_factory=dict)

    def of(self, selection_set: SelectionSetNode) -> Measure:
        measure = Measure()
        for node in selection_set.selections:
            if isinstance(node, FieldNode):
                measure.fields += 1
                measure.all_fields += 1
                measure.aliases += node.alias is not None
                below = self.of(node.selection_set) if node.selection_set is not None else Measure()
                if node.name.value in INTROSPECTION:
                    below = Measure(0, below.all_fields, below.aliases, 0, max(below.depth, below.introspection_depth))
                measure.add(below, below=True)
            elif isinstance(node, InlineFragmentNode):
                measure.add(self.of(node.selection_set), below=False)
            elif isinstance(node, FragmentSpreadNode):
                measure.add(self._fragment(node.name.value), below=False)
        return measure

    def _fragment(self, name: str) -> Measure:
        measure = self.known.get(name)
        if measure is None:
            fragment = self.fragments.get(name)
            self.known[name] = Measure()  # what a cycle finds
            measure = self.known[name] = self.of(fragment.selection_set) if fragment else Measure()
        return measure


def _refusal(code: str, message: str, node: Node | None = None) -> GraphQLError:
    return GraphQLError(message, node, extensions={"code": code})
