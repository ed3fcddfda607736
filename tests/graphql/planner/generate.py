"""Hypothesis strategies for requests: valid documents over any schema, with variables right and wrong.

One rule makes any two selections mergeable: within a document a response key always stands for the same field name, the
same arguments and the same type. So fragments may be spread anywhere, and the same field is often selected twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    Undefined,
    get_named_type,
    is_abstract_type,
    is_composite_type,
    is_interface_type,
    is_object_type,
    is_union_type,
)
from hypothesis import strategies as st

from tunery.core.ids import PREFIXES
from tunery.graphql.planner.mapping import Root, declared_of

INTEGERS = {size: st.integers(0, size - 1) for size in range(1, 1001)}
ALIASES = ("a", "b", "id", "name", "node", "edges", "nodes", "__x", "totalCount")
WILD = ("wild", "fewPages", "maps", "population", "maybeWild")
"""Beginnings of fields that often are an error: to be selected seldom."""
UNSEALING = ("recall", "memories", "conversations")
"""Hand-written roots that open what is sealed: made-up rows don't."""

BAD_CURSORS = (
    "", "x", "_", "0", "00", "zz_zz", "1_2_3", "1e3", "-1", "99999999999999999999", "4294967296", "-2147483649",
    "9223372036854775807", "253402300800000000", "_" * 5, "61_" + "0" * 32, "ff_" + "0" * 32, "ff", "0" * 2000,
    "1767225600000000_" + "f" * 32, "é", "1_", "_1", "\n",
)  # fmt: skip
BAD_IDS = ("", "x", "lst", "lst_", "lst_zz", "_", "adapter_" + "0" * 32, "lst_" + "0" * 32, "pur_" + "f" * 32, "job_" + "0" * 32,
           "ADAPTER_" + "0" * 32, "adapter_" + "0" * 31, "adapter_" + "0" * 33, "漢_x", "a" * 300, "nothing_" + "0" * 32)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Pools:
    """What clients may have got hold of. `cursors` by `Type.field`."""

    ids: Sequence[str]
    cursors: Mapping[str, Sequence[str]]
    texts: Sequence[str]


@dataclass(frozen=True)
class Request:
    text: str
    variables: dict[str, Any]
    operation: str | None
    who: str | None


@dataclass
class Definition:
    """An operation or a named fragment while it is written."""

    head: str
    kind: Any
    body: str = ""
    variables: set[str] = field(default_factory=set)
    spreads: set[str] = field(default_factory=set)


@dataclass
class Variable:
    declaration: str
    meaning: str


ABSENT = object()


class Writer:
    def __init__(self, draw: Any, schema: GraphQLSchema, pools: Pools) -> None:
        self._draw = draw
        self._schema = schema
        self._pools = pools
        self._keys: dict[str, tuple[str, str, str]] = {}
        self._fragments: dict[str, Definition] = {}
        self._variables: dict[str, Variable] = {}
        self.values: dict[str, Any] = {}
        self._here = Definition("", None)
        self._budget = 0
        self._composites = [
            kind for kind in schema.type_map.values() if is_composite_type(kind) and kind.name[:2] != "__"
        ]

    # Chance.

    def _below(self, number: int) -> int:
        drawn: int = self._draw(INTEGERS[number])
        return drawn

    def _chance(self, percent: int) -> bool:
        # The simplest draw, 0, is the plain document.
        return self._below(100) >= 100 - percent

    def _one_of(self, options: Sequence[Any]) -> Any:
        return options[self._below(min(len(options), 1000))]

    # Documents.

    def request(self, who: Sequence[str | None]) -> Request:
        operations = []
        number = 1 if not self._chance(15) else 2 + self._below(2)
        for index in range(number):
            named = number > 1 or self._chance(40)
            operations.append(self._operation(f"Q{index}" if named else None))
        name = operations[self._below(number)].head or None
        if self._chance(3):
            name = None if self._chance(50) else "Unknown"
        written = [self._written(operation) for operation in operations]
        for fragment_name, fragment in self._fragments.items():
            written.append(f"fragment {fragment_name} on {fragment.kind} {fragment.body}")
        if self._chance(30):
            written.reverse()
        return Request("\n".join(written), self.values, name, self._one_of(who))

    def _written(self, operation: Definition) -> str:
        used = set(operation.variables)
        for name in self._reached(operation):
            used |= self._fragments[name].variables
        declared = ", ".join(variable.declaration for name, variable in self._variables.items() if name in used)
        if not operation.head and not declared:
            return operation.body
        return f"query {operation.head}{f'({declared})' if declared else ''} {operation.body}"

    def _reached(self, definition: Definition) -> set[str]:
        reached: set[str] = set()
        left = list(definition.spreads)
        while left:
            name = left.pop()
            if name not in reached:
                reached.add(name)
                left += self._fragments[name].spreads
        return reached

    def _operation(self, name: str | None) -> Definition:
        operation = self._here = Definition(name or "", self._schema.query_type)
        self._budget = 12 + self._below(60)
        operation.body = self._selection(self._schema.query_type, 2 + self._below(6))
        return operation

    # Selections.

    def _selection(self, kind: Any, depth: int) -> str:
        if is_object_type(kind) and self._chance(1):
            return self._wide(kind)
        number = 1 + self._below(4) + self._below(2) * self._below(4)
        parts = [self._selected(kind, depth) for _ in range(number)]
        if is_object_type(kind) and "pageInfo" in kind.fields and self._chance(40):
            # What pages are about, oftener than by chance.
            info = (
                ("hasNextPage", "Boolean!"),
                ("hasPreviousPage", "Boolean!"),
                ("startCursor", "String"),
                ("endCursor", "String"),
            )
            ends = " ".join(self._keyed(name, "", kind_of_info) for name, kind_of_info in info)
            parts.append(f"{self._keyed('pageInfo', '', 'PageInfo!')} {{ {ends} }}")
            if depth > 0 and self._chance(60):
                nodes = kind.fields["nodes"].type
                entries = get_named_type(nodes)
                parts.append(f"{self._keyed('nodes', '', str(nodes))} {self._selection(entries, depth - 1)}")
        return "{ " + " ".join(parts) + " }"

    def _selected(self, kind: Any, depth: int) -> str:
        self._budget -= 1
        chance = self._below(100)
        if depth <= 0 or self._budget <= 0 or chance < 70:
            return self._field(kind, depth)
        if chance < 78:
            return self._keyed("__typename", "", "String!") + self._directives()
        if chance < 91:
            return self._inline(kind, depth)
        return self._spread(kind, depth)

    def _wide(self, kind: Any) -> str:
        """More fields than a call of concat takes arguments."""
        leaves = [name for name, definition in kind.fields.items() if self._is_plain_leaf(definition)]
        if not leaves:
            return "{ __typename }"
        names = [leaves[index % len(leaves)] for index in range(110)]
        return "{ " + " ".join(f"w{kind.name}{at}: {name}" for at, name in enumerate(names)) + " }"

    def _is_plain_leaf(self, definition: Any) -> bool:
        return not definition.args and not is_composite_type(get_named_type(definition.type))

    def _field(self, kind: Any, depth: int) -> str:
        if is_union_type(kind):
            if depth <= 0 or self._budget <= 0:
                return self._keyed("__typename", "", "String!") + self._directives()
            return self._inline(kind, depth)
        names = [name for name in kind.fields if kind is not self._schema.query_type or name not in UNSEALING]
        if depth <= 0 or self._budget <= 0:
            names = [name for name in names if self._is_plain_leaf(kind.fields[name])] or ["__typename"]
        elif composites := [name for name in names if is_composite_type(get_named_type(kind.fields[name].type))]:
            names = composites if self._chance(45) else names
        calm = [name for name in names if not name.startswith(WILD)]
        if calm and not self._chance(4):
            names = calm
        name = self._one_of(names)
        if name == "__typename":
            return self._keyed("__typename", "", "String!")
        definition = kind.fields[name]
        arguments = self._arguments(f"{kind.name}.{name}", definition)
        written = self._keyed(name, arguments, str(definition.type)) + self._directives()
        named = get_named_type(definition.type)
        return f"{written} {self._selection(named, depth - 1)}" if is_composite_type(named) else written

    def _keyed(self, name: str, arguments: str, kind: str) -> str:
        """The field under a response key that stands for nothing else in this document."""
        meaning = (name, arguments, kind)
        wanted = [self._one_of(ALIASES)] if self._chance(15) else []
        for key in [*wanted, name, *(f"{name}{number}" for number in range(1000))]:
            if self._keys.setdefault(key, meaning) == meaning:
                return f"{name}{arguments}" if key == name else f"{key}: {name}{arguments}"
        raise AssertionError(name)

    def _inline(self, kind: Any, depth: int) -> str:
        options = [None, *self._overlapping(kind)]
        condition = self._one_of(options[1:] if is_union_type(kind) else options)
        on = f" on {condition.name}" if condition is not None else ""
        return f"...{on}{self._directives()} {self._selection(condition or kind, depth - 1)}"

    def _spread(self, kind: Any, depth: int) -> str:
        overlapping = self._overlapping(kind)
        known = [name for name, fragment in self._fragments.items() if fragment.body and fragment.kind in overlapping]
        if known and self._chance(50):
            name = self._one_of(known)
        else:
            on = self._one_of(overlapping)
            name = f"F{len(self._fragments)}"
            around = self._here
            # Unknown to others until it is written: no cycles.
            self._here = self._fragments[name] = Definition(name, on)
            body = self._selection(on, depth - 1)
            self._here.body = body
            self._here = around
        self._here.spreads.add(name)
        return f"...{name}{self._directives()}"

    def _overlapping(self, kind: Any) -> list[Any]:
        possible = self._possible(kind)
        return [kind, *(other for other in self._composites if other is not kind and possible & self._possible(other))]

    def _possible(self, kind: Any) -> set[str]:
        kinds = self._schema.get_possible_types(kind) if is_abstract_type(kind) else [kind]
        return {possible.name for possible in kinds}

    def _directives(self) -> str:
        written = ""
        for name in ("skip", "include"):
            if self._chance(6):
                written += f" @{name}(if: {self._value('flag', 'Boolean', required=True, default=False)})"
        return written

    # Arguments.

    def _arguments(self, where: str, definition: Any) -> str:
        names = self._given(definition)
        written = []
        for name in names:
            argument = definition.args[name]
            kind = argument.type
            required = isinstance(kind, GraphQLNonNull)
            named = get_named_type(kind)
            in_list = isinstance(kind.of_type if required else kind, GraphQLList)
            meaning = self._meaning(where, name, named.name, definition)
            text = f"[{named.name}!]" if in_list else named.name
            written.append(
                f"{name}: {self._value(meaning, text, required=required, default=not _is_undefined(argument))}"
            )
        return f"({', '.join(written)})" if written else ""

    def _given(self, definition: Any) -> list[str]:
        args = definition.args
        names = [
            name
            for name, argument in args.items()
            if name not in {"first", "last", "after", "before"}
            and ((isinstance(argument.type, GraphQLNonNull) and _is_undefined(argument)) or self._chance(25))
        ]
        if "after" in args:
            paging = self._one_of(
                ((), ("first",), ("first", "after"), ("last",), ("last", "before"), ("after",), ("before",),
                 ("first", "before"), ("last", "after"), ("first", "after", "before"), ("last", "after", "before"),
                 ("after", "before"), ("first",), ("first", "after"), ("last", "before"))
            )  # fmt: skip
            names += paging
            if self._chance(1):
                names += [name for name in ("first", "last") if name not in paging]
        elif "first" in args and self._chance(50):
            names.append("first")
        return names

    @staticmethod
    def _meaning(where: str, name: str, kind: str, definition: Any) -> str:
        if name in {"after", "before"}:
            return f"cursor {where}"
        if name in {"first", "last"}:
            return "size"
        if kind == "ID":
            return f"id {_prefix(definition, name)}"
        return {"Int": "number", "Boolean": "flag"}.get(kind, "text")

    def _value(self, meaning: str, kind: str, *, required: bool, default: bool) -> str:
        """A literal or a variable for a place of this type."""
        if self._chance(55):
            return self._variable(meaning, kind, required=required, default=default)
        if not required and self._chance(5):
            return "null"
        value = self._right(meaning, kind)
        if kind == "ID" and self._chance(2):
            return "17"
        if isinstance(value, list) and self._chance(20) and value:
            # One value alone is a list of one, and items may be variables.
            if self._chance(20):
                return _literal(value[0])
            items = [
                self._variable("id ", "ID", required=True, default=False) if self._chance(50) else _literal(item)
                for item in value
            ]
            return f"[{', '.join(items)}]"
        return _literal(value)

    def _variable(self, meaning: str, kind: str, *, required: bool, default: bool) -> str:
        # Where the place must have a value, the variable has to promise one.
        promised = required and not default
        fitting = [
            name for name, variable in self._variables.items() if variable.meaning == f"{meaning} {kind} {promised}"
        ]
        if fitting and self._chance(40):
            name = self._one_of(fitting)
        else:
            name = f"v{len(self._variables)}"
            self._variables[name] = self._declare(name, meaning, kind, promised=promised)
        self._here.variables.add(name)
        return f"${name}"

    def _declare(self, name: str, meaning: str, kind: str, *, promised: bool) -> Variable:
        with_default = self._chance(12)
        non_null = (promised and not with_default) or self._chance(15)
        declaration = f"${name}: {kind}{'!' if non_null else ''}"
        if with_default:
            declaration += f" = {_literal(self._right(meaning, kind))}"
        value = self._given_value(meaning, kind, optional=not non_null or with_default)
        if value is not ABSENT:
            self.values[name] = value
        return Variable(declaration, f"{meaning} {kind} {promised}")

    def _given_value(self, meaning: str, kind: str, *, optional: bool) -> Any:
        if optional and self._chance(12):
            return None if self._chance(30) else ABSENT
        if self._chance(1):
            return self._one_of((None, ABSENT, "wrong", 7, 2.5, True, [], {}, 2**31, ["x"], -1, 3.0))
        if self._chance(2) and kind == "Int":
            return float(self._right(meaning, kind))
        return self._right(meaning, kind)

    def _right(self, meaning: str, kind: str) -> Any:  # noqa: PLR0911
        """A value of the type; sometimes one that breaks a rule."""
        if kind.startswith("["):
            return [self._right("id ", "ID") for _ in range(self._below(5))]
        if meaning.startswith("cursor"):
            known = self._pools.cursors.get(meaning.partition(" ")[2], ())
            if known and not self._chance(2):
                return self._one_of(known)
            others = [cursor for cursors in self._pools.cursors.values() for cursor in cursors[:2]]
            return self._one_of([*BAD_CURSORS, *others])
        if meaning == "size":
            return (
                self._one_of((0, -1, 101, 2**31 - 1))
                if self._chance(1)
                else self._one_of((1, 2, 3, 4, 5, 6, 7, 9, 13, 20, 100))
            )
        if meaning.startswith("id "):
            known = [each for each in self._pools.ids if each.startswith(meaning[3:])] or self._pools.ids
            return self._one_of(BAD_IDS) if not known or self._chance(2) else self._one_of(known)
        if meaning == "number":
            return self._one_of((0, 1, 2, 3, 4, 7, 10, 40, -5, 2**31 - 1, -(2**31)))
        if meaning == "flag":
            return self._below(2) == 0
        return self._one_of(self._pools.texts)


def _prefix(definition: Any, argument: str) -> str:
    """Of the ids that the argument takes; empty: of any kind."""
    declared = declared_of(definition)
    if declared is not None and isinstance(declared.source, Root):
        for name, each in declared.source.arguments.items():
            if name.replace("_", "") == argument.lower() and each.kind is not None:
                return f"{PREFIXES[each.kind]}_"
    return ""


def _is_undefined(argument: Any) -> bool:
    return argument.default_value is Undefined


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(
            "\\" + letter if letter in '"\\' else f"\\u{ord(letter):04x}" if ord(letter) < 32 else letter
            for letter in value
        )
        return f'"{escaped}"'
    return str(value)


def requests(schema: GraphQLSchema, pools: Pools, who: Sequence[str | None]) -> st.SearchStrategy[Request]:
    @st.composite
    def request(draw: Any) -> Request:
        return Writer(draw, schema, pools).request(who)

    return request()


def warm_up(schema: GraphQLSchema) -> list[str]:
    """Queries that show ids and cursors: of each list under `Query`, and of the lists below their entries."""
    assert schema.query_type is not None
    found = []
    for name, definition in schema.query_type.fields.items():
        if all(
            not isinstance(argument.type, GraphQLNonNull) or not _is_undefined(argument)
            for argument in definition.args.values()
        ):
            selection = _shown(schema, definition, 3)
            if selection is not None:
                found.append(f"{{ {name}{selection} }}")
    return found


def _shown(schema: GraphQLSchema, definition: Any, depth: int) -> str | None:
    kind = get_named_type(definition.type)
    if not is_composite_type(kind):
        return None
    if kind.name.endswith("Connection") and depth:
        inner = _entries(schema, get_named_type(kind.fields["nodes"].type), depth - 1)
        return f"(first: 100) {{ edges {{ cursor }} nodes {{ {inner} }} }}"
    if isinstance(definition.type, GraphQLList) or (
        isinstance(definition.type, GraphQLNonNull) and isinstance(definition.type.of_type, GraphQLList)
    ):
        return f" {{ {_entries(schema, kind, depth)} }}"
    return None


def _entries(schema: GraphQLSchema, kind: Any, depth: int) -> str:
    if is_union_type(kind):
        return "__typename " + " ".join(
            f"... on {each.name} {{ {_entries(schema, each, depth)} }}" for each in kind.types
        )
    own = "id " if "id" in kind.fields else "__typename "
    if is_interface_type(kind):
        own += " ".join(f"... on {each.name} {{ id }}" for each in schema.get_possible_types(kind))
    for name, definition in kind.fields.items():
        if depth and get_named_type(definition.type).name.endswith("Connection"):
            own += f" {name}{_shown(schema, definition, depth)}"
    return own
