"""Jinja for chat templates: transformers' names and whitespace rules, `{% generation %}`, and bounds.

A template comes with a base model that the operator registered. Jinja's immutable sandbox keeps it from reaching the
interpreter; the bounds keep an accident (a loop over a loop) from holding an API process.
"""

import json
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

MOST_CHARACTERS: Final = 8 * 2**20
MOST_SECONDS: Final = 5.0


@dataclass(slots=True)
class _Rendering:
    """One rendering under way: when it must be done, how long its text is, where the assistant spoke."""

    deadline: float
    position: int = 0
    spans: list[tuple[int, int, str]] = field(default_factory=list)

    def check_time(self) -> None:
        if time.monotonic() > self.deadline:
            raise jinja2.TemplateRuntimeError(f"it takes more than {MOST_SECONDS:g} seconds")


_active: ContextVar[_Rendering] = ContextVar("tunery_template_rendering")


class _Generation(Extension):
    """`{% generation %}...{% endgeneration %}`: the text between is the assistant's."""

    tags = {"generation"}  # noqa: RUF012  (Jinja declares it as an instance's)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Macro) -> str:
        text = str(caller())
        rendering = _active.get()
        rendering.spans.append((rendering.position, rendering.position + len(text), text))
        return text


class _TimedLoops(NodeTransformer):
    """Routes what every `for` goes over through `_timed`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802  (Jinja's visitor protocol)
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_timed", [], [], None, None, lineno=node.lineno)
        return node


def _timed(items: Iterable[Any]) -> list[Any]:
    _active.get().check_time()
    return list(items)  # a list, so that the template's `loop` knows its length


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Compile with `timed_template`, render with `render_bounded`."""

    intercepted_binops = frozenset(("*", "**"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
        self.filters |= {"_timed": _timed, "tojson": _tojson}
        self.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}

    def timed_template(self, source: str) -> jinja2.Template:
        tree = _TimedLoops().visit(self.parse(source))
        return self.template_class.from_code(self, self.compile(tree), self.make_globals(None))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Numbers alone: a text times a number is the shortest way to fill the memory."""
        if not (isinstance(left, int | float) and isinstance(right, int | float)) or abs(right) > MOST_CHARACTERS:
            raise jinja2.TemplateRuntimeError(f"it computes {operator} with something else than small numbers")
        if operator == "**" and abs(right) > 64:  # noqa: PLR2004 - beyond what any template needs
            raise jinja2.TemplateRuntimeError("it computes a power that is too large")
        return super().call_binop(context, operator, left, right)


def render_bounded(template: jinja2.Template, variables: Mapping[str, Any]) -> tuple[str, list[tuple[int, int, str]]]:
    """The text and, per generation block that was run, `(start, end, text of the block)` in characters of it.

    Raises whatever the template raises.
    """
    rendering = _Rendering(time.monotonic() + MOST_SECONDS)
    token = _active.set(rendering)
    parts: list[str] = []
    try:
        for part in template.generate(**variables):
            rendering.check_time()
            rendering.position += len(part)
            if rendering.position > MOST_CHARACTERS:
                raise jinja2.TemplateRuntimeError(f"it writes more than {MOST_CHARACTERS:,} characters")
            parts.append(part)
    finally:
        _active.reset(token)
    return "".join(parts), rendering.spans


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As in transformers: plain JSON, where Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:  # noqa: A002  (the name templates may use)
    return datetime.now().astimezone().strftime(format)
