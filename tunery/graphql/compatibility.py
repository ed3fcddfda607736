"""Whether a schema keeps what the one before it promised to clients."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from graphql import BreakingChange, GraphQLNamedType, GraphQLSchema, build_schema, find_breaking_changes

_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_MEMBER = re.compile(r"(\w+)\.(\w+)")


def breaking_changes(promised: str, current: str, today: date) -> list[str]:
    """What would break a client of the SDL `promised`. Leaving out a field or enum value that was deprecated there is
    none of it, once the date in its reason has passed.
    """
    before = build_schema(promised)
    changes = find_breaking_changes(before, build_schema(current))
    return [change.description for change in changes if not _was_announced(before, change, today)]


def undated_deprecations(schema: GraphQLSchema) -> Iterator[str]:
    """Deprecated members whose reason names no day after which they may go."""
    for kind in schema.type_map.values():
        for name, member in _members(kind).items():
            if _is_undated(member):
                yield f"{kind.name}.{name}"
            for argument, declared in getattr(member, "args", {}).items():
                if _is_undated(declared):
                    yield f"{kind.name}.{name}({argument})"


def _was_announced(before: GraphQLSchema, change: BreakingChange, today: date) -> bool:
    found = _MEMBER.search(change.description)
    if found is None or "removed" not in change.description:
        return False
    member = _members(before.type_map.get(found[1])).get(found[2])
    day = _DATE.search(member.deprecation_reason or "") if member else None
    return day is not None and date.fromisoformat(day[0]) < today


def _is_undated(member: Any) -> bool:
    return member.deprecation_reason is not None and not _DATE.search(member.deprecation_reason)


def _members(kind: GraphQLNamedType | None) -> dict[str, Any]:
    """Fields of objects, interfaces and inputs, values of enums."""
    return {**getattr(kind, "fields", {}), **getattr(kind, "values", {})}
