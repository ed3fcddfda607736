"""How graphql-core reads planned types: a root field brings its whole selection as plain dicts by response key, and the
fields below look up theirs.
"""

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from graphql import (
    GraphQLAbstractType,
    GraphQLEnumType,
    GraphQLField,
    GraphQLFloat,
    GraphQLInputType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
)
from strawberry.utils.str_converters import to_camel_case

from tunery.core.errors import NotFound
from tunery.graphql.connections import Edge, PageInfo
from tunery.graphql.context import Context, ResolveInfo
from tunery.graphql.planner.compile import TYPE_KEY
from tunery.graphql.planner.keyset import Keys
from tunery.graphql.planner.mapping import (
    MOST_ITEMS,
    OF_PAGE,
    PAGE,
    WORK_POINTS,
    Declared,
    Keyset,
    Many,
    Reference,
    Root,
    declared_of,
    is_connection,
    is_made_of,
    mapping_of,
)
from tunery.graphql.planner.page import size_and_end
from tunery.graphql.planner.planner import Planner


def use_planner(schema: GraphQLSchema) -> None:
    """Give every field of the schema its resolver and its size. Raises TypeError for a root field or planned type that
    doesn't say which permission it requires, and for a planned root field with an argument that isn't a plain value.
    """
    roots = {schema.query_type, schema.mutation_type, schema.subscription_type} - {None}
    for kind in schema.type_map.values():
        if kind.name.startswith("__"):
            continue
        if is_abstract_type(kind):
            kind.resolve_type = _resolve_type(kind.resolve_type)
        elif isinstance(kind, GraphQLObjectType) and kind in roots:
            for name, definition in kind.fields.items():
                _use_as_root(f"{kind.name}.{name}", definition)
        elif isinstance(kind, GraphQLObjectType):
            _use_as_object(schema, kind)


def _use_as_root(name: str, definition: GraphQLField) -> None:
    declared = declared_of(definition)
    if declared is None or not declared.permission:
        raise TypeError(f"{name} does not say which permission it requires")
    if isinstance(declared.source, Root):
        for argument, given in definition.args.items():
            if not _is_plain(given.type):
                raise TypeError(f"{name}({argument}:) may have variables within, which the planner can't bind")
    definition.extensions = {**definition.extensions, MOST_ITEMS: PAGE, WORK_POINTS: declared.work}
    written = definition.resolve if declared.source is None else _resolve_root(declared)
    assert written is not None, f"{name} has no resolver"  # noqa: S101
    if definition.subscribe is not None:
        definition.subscribe = _permitted(definition.subscribe, declared.permission)
    else:
        definition.resolve = _permitted(written, declared.permission)


def _use_as_object(schema: GraphQLSchema, kind: GraphQLObjectType) -> None:
    mapping = mapping_of(kind)
    if mapping is not None and bool(mapping.kind) != bool(mapping.permission):
        raise TypeError(f"{kind} does not say both by which ids it is read and which permission that requires")
    planned = mapping is not None or is_part_of_connection(kind)
    if planned:
        kind.is_type_of = None  # a dict has no class to ask
    for definition in kind.fields.values():
        declared = declared_of(definition)
        if planned and declared is not None and isinstance(declared.source, Many | Keyset):
            definition.resolve = _read_list(schema, definition, declared.source)
        elif planned:
            definition.resolve = _read_float if get_named_type(definition.type) is GraphQLFloat else _read_key
        elif isinstance(named := get_named_type(definition.type), GraphQLObjectType) and mapping_of(named):
            definition.resolve = _follow_reference(definition.resolve, named)
        most = PAGE if is_connection(definition.type) else declared.most if declared else None
        if most is not None:
            definition.extensions = {**definition.extensions, MOST_ITEMS: most}
        if declared is not None and declared.of_page:
            definition.extensions = {**definition.extensions, OF_PAGE: True}


def _is_plain(kind: GraphQLInputType) -> bool:
    """Whether a literal of it is one token: JSON is a scalar whose literals may be lists and objects."""
    value = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    return isinstance(value, GraphQLEnumType) or (isinstance(value, GraphQLScalarType) and value.name != "JSON")


def is_part_of_connection(kind: GraphQLObjectType) -> bool:
    definition = kind.extensions.get("strawberry-definition")
    return is_connection(kind) or is_made_of(Edge, kind) or getattr(definition, "origin", None) is PageInfo


def _permitted(resolve: Callable[..., Any], permission: str) -> Callable[..., Any]:
    def check(source: Any, info: ResolveInfo, **arguments: Any) -> Any:
        context: Context = info.context
        context.require(permission)
        return resolve(source, info, **arguments)

    return check


def _resolve_root(declared: Declared) -> Callable[..., Awaitable[Any]]:
    arguments = declared.source.arguments if isinstance(declared.source, Root) else {}
    by_id = {to_camel_case(name): argument.kind for name, argument in arguments.items() if argument.kind is not None}

    async def resolve(_source: Any, info: ResolveInfo, **given: Any) -> Any:
        value = await info.context.get(Planner).root(info, declared)
        for name, kind in by_id.items():
            if value is None and given.get(name) is not None:
                raise NotFound(kind, given[name])
        return value

    return resolve


def _read_key(source: Any, info: ResolveInfo, **_arguments: Any) -> Any:
    return source[info.path.key]


def _read_float(source: Any, info: ResolveInfo) -> Any:
    """JSON has no NaN and no Infinity: they come as text."""
    value = source[info.path.key]
    return float(value) if isinstance(value, str) else value


def _read_list(schema: GraphQLSchema, definition: GraphQLField, source: Many | Keyset) -> Callable[..., Any]:
    """A list below a root field: its arguments are checked again, where an error of theirs belongs."""
    keys = None
    if isinstance(source, Keyset):
        page: Any = get_named_type(definition.type)
        named: Any = get_named_type(page.fields["nodes"].type)
        mapping = mapping_of(schema.get_possible_types(named)[0] if is_abstract_type(named) else named)
        assert mapping is not None, f"{named} is not a planned type"  # noqa: S101
        keys = Keys.of(source.order(mapping.table.c))

    def resolve(parent: Any, info: ResolveInfo, **given: Any) -> Any:
        size_and_end(given)
        if keys is not None:
            keys.check(given)
        return parent[info.path.key]

    return resolve


def _follow_reference(resolve: Callable[..., Any] | None, kind: GraphQLObjectType) -> Callable[..., Any]:
    assert resolve is not None  # noqa: S101

    async def follow(source: Any, info: ResolveInfo, **arguments: Any) -> Any:
        value = resolve(source, info, **arguments)
        value = await value if isawaitable(value) else value
        return await info.context.get(Planner).row(info, kind, value) if isinstance(value, Reference) else value

    return follow


def _resolve_type(resolve: Any) -> Callable[[Any, ResolveInfo, GraphQLAbstractType], Any]:
    def tell(value: Any, info: ResolveInfo, kind: GraphQLAbstractType) -> Any:
        return value[TYPE_KEY] if isinstance(value, dict) else resolve(value, info, kind)

    return tell
