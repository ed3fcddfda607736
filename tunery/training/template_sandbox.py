"""A bounded Jinja sandbox for chat templates, which come from model repositories and are untrusted.

Jinja's own sandbox keeps a template from reaching the interpreter; it doesn't keep it from using all memory or time.
Here every loop iteration and call is charged to a budget, and every operation that can multiply the size of a value
is measured before it runs. What chat templates never need (str.encode, int.to_bytes, lipsum, ...) isn't there.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, cast

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

_MAX_INTEGER_BITS: Final = 4_096
_STRING_METHODS: Final = frozenset({
    "capitalize", "casefold", "count", "endswith", "find", "format", "format_map", "index", "isalnum", "isalpha",
    "isascii", "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "join", "lower",
    "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rpartition", "rsplit",
    "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper",
})  # fmt: skip
_CONTAINER_METHODS: Final = frozenset({"copy", "count", "get", "index", "items", "keys", "values"})
_FILTERS: Final = frozenset({
    "abs", "attr", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first", "float", "groupby",
    "int", "items", "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "reverse",
    "round", "safe", "select", "selectattr", "sort", "title", "trim", "truncate", "unique", "upper", "wordcount",
})  # fmt: skip
# A width of five digits, a width taken from an argument, or a field inside a field's format.
_WIDE_BRACES: Final = re.compile(r"\d{5}|:[^{}]*\{")
_WIDE_PERCENT: Final = re.compile(r"%[^a-zA-Z%]*(\d{5}|\*)")


class RenderLimitError(jinja2.TemplateRuntimeError):
    """The template asked for more time, steps or memory than a chat template may have."""


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """What one rendering may use: characters of any text (output or value), steps (iterations and calls), seconds."""

    characters: int = 8 * 2**20
    steps: int = 1_000_000
    seconds: float = 5.0


@dataclass(slots=True)
class Rendering:
    """The state of one rendering: its budget, the output's length so far and the assistant's spans."""

    limits: RenderLimits
    deadline: float
    steps: int = 0
    position: int = 0
    spans: list[tuple[int, int, str]] = field(default_factory=list)

    def charge(self, steps: int = 1) -> None:
        self.steps += steps
        if self.steps > self.limits.steps:
            raise RenderLimitError(f"The template takes more than {self.limits.steps} steps.")
        if time.monotonic() > self.deadline:
            raise RenderLimitError(f"The template takes more than {self.limits.seconds} seconds.")

    def measure(self, size: float) -> None:
        if size > self.limits.characters:
            raise RenderLimitError(f"The template builds a value of more than {self.limits.characters} characters.")


_active: ContextVar[Rendering | None] = ContextVar("tunery_template_rendering", default=None)


def _rendering() -> Rendering:
    # Jinja folds constants while compiling, outside any rendering: the default limits hold there.
    rendering = _active.get()
    limits = RenderLimits()
    return rendering or Rendering(limits, time.monotonic() + limits.seconds)


def _weigh(value: Any, rendering: Rendering) -> int:
    """About how many characters `value` takes as text; raises as soon as that passes the limit."""
    total, pending = 0, [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            total += len(item) + 2
        elif isinstance(item, Mapping):
            total += 2
            pending.extend(item.keys())
            pending.extend(item.values())
        elif isinstance(item, list | tuple | set):
            total += 2
            # Their elements weigh at least one each: don't even queue what can't pass.
            rendering.measure(total + len(item))
            pending.extend(item)
        else:
            total += 8
        rendering.measure(total)
    return total


def _bounded(value: Any) -> Any:
    """Jinja's `finalize`: every printed expression passes here before it becomes text."""
    if not isinstance(value, Undefined):
        _weigh(value, _rendering())
    return value


def _each(value: Any) -> Any:
    """The iterable of a `for`, charged: at once when its length is known, else item by item."""
    rendering = _rendering()
    if hasattr(value, "__len__"):
        rendering.charge(len(value))
        return value
    return _charged(value, rendering)


def _charged(value: Iterable[Any], rendering: Rendering) -> Iterator[Any]:
    for item in value:
        rendering.charge()
        yield item


def _join(value: Iterable[Any], d: str = "", attribute: str | int | None = None) -> str:
    rendering = _rendering()
    items = list(_charged(value, rendering))
    if attribute is not None:
        items = [item[attribute] if isinstance(item, Mapping) else getattr(item, str(attribute)) for item in items]
    rendering.measure(_weigh(items, rendering) + len(items) * len(str(d)))
    return str(d).join(map(str, items))


def _concatenate(values: list[Any]) -> str:
    _weigh(values, _rendering())
    return "".join(map(str, values))


def _replace(s: Any, old: str, new: str, count: int | None = None) -> str:
    text, found, replacement = str(_bounded(s)), str(old), str(new)
    _rendering().measure(len(text) + (text.count(found)) * len(replacement))
    return text.replace(found, replacement, -1 if count is None else count)


def _string(value: Any) -> str:
    return str(_bounded(value))


def _indent(s: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    prefix = width if isinstance(width, str) else " " * min(width, 100)
    lines = str(s).split("\n")
    _rendering().measure(len(s) + len(lines) * len(prefix))
    indented = [prefix + line if (line or blank) and (first or at) else line for at, line in enumerate(lines)]
    return "\n".join(indented)


def _tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as transformers' `tojson` writes it: without the HTML escapes of Jinja's own filter."""
    rendering = _rendering()
    depth = min(indent, 16) if isinstance(indent, int) else None
    rendering.measure(_weigh(x, rendering) * (1 + (depth or 0)))
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=depth, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:  # noqa: A002  (the name templates may use)
    if len(format) > 100:  # noqa: PLR2004
        raise RenderLimitError("The template's date format is too long.")
    # Local time without a zone is what transformers gives; a template that prints dates must see the same.
    return datetime.now().strftime(format)  # noqa: DTZ005


def _range(*arguments: int) -> range:
    numbers = range(*arguments)
    _rendering().charge(len(numbers))
    return numbers


class _Dict:
    """`dict(...)` in a template, without handing out the class itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)


class _Namespace(jinja2.utils.Namespace):
    """`namespace(...)` whose attributes can't shadow Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        # Jinja's own signature, so that `namespace(self=...)` works.
        self, attributes = args[0], dict(*args[1:], **kwargs)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or name.startswith("_"):
        raise SecurityError(f"A namespace can't hold the attribute {name!r}.")


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: the text between is the assistant's."""

    tags = {"generation"}  # noqa: RUF012  (Jinja declares it as an instance's)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Macro) -> str:
        text = str(caller())
        rendering = _rendering()
        rendering.spans.append((rendering.position, rendering.position + len(text), text))
        return text


class _Charging(NodeTransformer):
    """Routes every loop and every `~` through the budget."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  (Jinja's visitor protocol)
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "_each")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), "_concatenate")


def _filtered(node: nodes.Node, name: str) -> nodes.Filter:
    return nodes.Filter(cast("nodes.Expr", node), name, [], [], None, None, lineno=node.lineno)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """The environment: transformers' whitespace rules and names, our budget."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols], finalize=_bounded
        )
        self.filters = {name: self.filters[name] for name in _FILTERS} | {
            "_concatenate": _concatenate,
            "_each": _each,
            "indent": _indent,
            "join": _join,
            "replace": _replace,
            "string": _string,
            "tojson": _tojson,
        }
        self.globals = {
            "dict": _Dict(),
            "namespace": _Namespace,
            "raise_exception": _raise_exception,
            "range": _range,
            "strftime_now": _strftime_now,
        }

    @staticmethod
    def concat(parts: Iterable[str]) -> str:
        """Join what a macro or block printed, measured first."""
        texts = list(parts)
        _rendering().measure(sum(map(len, texts)))
        return "".join(texts)

    def charged_template(self, source: str) -> jinja2.Template:
        """Compile `source` with its loops and concatenations charged to the rendering's budget."""
        tree = _Charging().visit(self.parse(source))
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:
        rendering = _rendering()
        rendering.charge()
        owner = getattr(obj, "__self__", None)
        name = getattr(obj, "__name__", "")
        if isinstance(owner, str):
            if name not in _STRING_METHODS:
                raise SecurityError(f"A chat template can't call str.{name}.")
            if name == "replace":
                return _replace(owner, *args, **kwargs)
            if name == "join":
                return _join(args[0], owner)
        elif isinstance(owner, dict | list | tuple):
            if name not in _CONTAINER_METHODS:
                raise SecurityError(f"A chat template can't call {type(owner).__name__}.{name}.")
        elif isinstance(owner, int | float | bytes):
            raise SecurityError(f"A chat template can't call {type(owner).__name__}.{name}.")
        elif name in {"format", "format_map"}:
            # Jinja has wrapped the bound method in a function by now; `wrap_str_format` checked its widths.
            _weigh([args, kwargs], rendering)
        return super().call(context, obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and _WIDE_BRACES.search(value.__self__):
            raise SecurityError("A chat template can't format with such a width.")
        return wrapped

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        rendering = _rendering()
        rendering.charge()
        if operator == "%" and isinstance(left, str):
            if _WIDE_PERCENT.search(left):
                raise SecurityError("A chat template can't format with such a width.")
            rendering.measure(_weigh(right, rendering) * max(1, left.count("%")))
        elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            rendering.measure(len(left) + len(right))
        elif operator == "*":
            for sequence, times in ((left, right), (right, left)):
                if hasattr(sequence, "__len__") and isinstance(times, int):
                    rendering.measure(len(sequence) * times)
        elif operator == "**" and isinstance(left, int) and isinstance(right, int):
            _check_bits(left.bit_length() * max(right, 1))
        result = super().call_binop(context, operator, left, right)
        if isinstance(result, int):
            _check_bits(result.bit_length())
        return result


def _check_bits(bits: int) -> None:
    if bits > _MAX_INTEGER_BITS:
        raise RenderLimitError("The template computes a number that is too large.")


def render_bounded(
    template: jinja2.Template, variables: Mapping[str, Any], limits: RenderLimits
) -> tuple[str, list[tuple[int, int, str]]]:
    """Render within `limits`.

    Returns the text and, per generation block that was run, `(start, end, text of the block)` in characters of it.
    Raises whatever the template raises: its code is untrusted and may fail with any exception.
    """
    rendering = Rendering(limits, time.monotonic() + limits.seconds)
    token = _active.set(rendering)
    parts: list[str] = []
    try:
        for part in template.generate(**variables):
            rendering.position += len(part)
            rendering.measure(rendering.position)
            parts.append(part)
    finally:
        _active.reset(token)
    return "".join(parts), rendering.spans
