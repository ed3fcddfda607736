"""Plans: a statement compiled once for an operation and a shape of its variables, and how a request fills it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLObjectType,
    GraphQLSchema,
)
from graphql.execution.collect_fields import FieldDetails, FragmentDetails
from graphql.execution.values import VariableValues
from sqlalchemy import BindParameter, ColumnElement
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.visitors import traverse

from tunery.core.errors import DomainError
from tunery.core.identity import Identity
from tunery.core.reader import NOBODY, in_context, without_context
from tunery.graphql.access import PUBLIC
from tunery.graphql.context import ResolveInfo
from tunery.graphql.documents import Operation
from tunery.graphql.planner.compile import Compiler, Parameter, Unplanned, itself
from tunery.graphql.planner.mapping import Declared
from tunery.graphql.planner.sql import concat

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]
PUBLIC_ONLY = frozenset({PUBLIC})


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """Two statements for the same JSON text: as a caller whose key is looked at again (it may have been revoked since
    it was authenticated), and as a tenant without a key. Public ones need neither and run as nobody.

    `parameters` are $1, $2, …; then come the tenant's id as text and the key's id.
    """

    as_caller: str
    as_tenant: str
    parameters: tuple[Parameter, ...]
    permissions: frozenset[str]
    public: bool
    constant: bytes | None = None
    """The answer itself, where no row has to be read for it."""
    unused: tuple[Parameter, ...] = ()
    """Which the selection has no use for (a cursor beside `totalCount` alone): they may be wrong all the same."""
    guarded: tuple[tuple[int, str], ...] = ()
    """Which of the parameters are NULL for a caller without a permission, and which permission."""

    def values(self, variables: Mapping[str, Any]) -> list[Any]:
        """What to bind. Raises DomainError."""
        for parameter in self.unused:
            parameter.value(variables)
        return [parameter.value(variables) for parameter in self.parameters]

    def values_of(self, caller: Identity, values: Iterable[Any]) -> list[Any]:
        """What to bind to `as_caller`."""
        seen = [*values, str(caller.tenant_id), caller.api_key_id]
        for position, permission in self.guarded:
            if not caller.may(permission):
                seen[position] = None
        return seen


@dataclass(frozen=True)
class Planning:
    """What every plan is made with. `key_is_valid` is SQL with `{}` for a parameter: an API key's id."""

    schema: GraphQLSchema
    key_is_valid: str


def plan_operation(planning: Planning, operation: Operation, variables: VariableValues) -> Plan | None:
    """The whole query as one statement; None when it is graphql-core's to answer, be it with an error."""
    fragments = _details_of_fragments(operation.document.fragments)
    compiler = Compiler(planning.schema, operation.node, fragments, variables, checked=True)
    try:
        parts, permissions = compiler.query()
    except (Unplanned, DomainError, GraphQLError):
        return None
    if not permissions:  # `__typename` alone, or everything skipped
        return Plan("", "", (), PUBLIC_ONLY, public=True, constant="".join(map(str, parts)).encode())
    return _plan(planning, concat(parts), compiler, permissions)


def plan_root(planning: Planning, info: ResolveInfo, declared: Declared) -> Plan:
    """One root field as graphql-core reads it. Raises DomainError, GraphQLError."""
    compiler = _compiler(planning, info)
    definition = info.parent_type.fields[info.field_name]
    try:
        parts = compiler.root(definition, declared, _details_of(info))
    except DomainError:
        for parameter in compiler.parameters:  # of several wrong arguments the first one is told
            parameter.value(info.variable_values.coerced)
        raise
    return _plan(planning, concat(parts), compiler, frozenset({declared.permission}))


def plan_row(planning: Planning, info: ResolveInfo, kind: GraphQLObjectType) -> Plan:
    """One row of a planned type by its id, as graphql-core reads it."""
    compiler = _compiler(planning, info)
    return _plan(planning, compiler.row(kind, _details_of(info)), compiler, frozenset())


def _compiler(planning: Planning, info: ResolveInfo) -> Compiler:
    fragments = _details_of_fragments(info.fragments)
    return Compiler(planning.schema, info.operation, fragments, info.variable_values, checked=False)


def _details_of(info: ResolveInfo) -> list[FieldDetails]:
    return [FieldDetails(node, None) for node in info.field_nodes]


def _details_of_fragments(fragments: Mapping[str, FragmentDefinitionNode]) -> dict[str, FragmentDetails]:
    return {name: FragmentDetails(definition) for name, definition in fragments.items()}


def _plan(planning: Planning, expression: ColumnElement[Any], compiler: Compiler, permissions: frozenset[str]) -> Plan:
    """Render it: what clients give stays a parameter, what rooms wrote becomes part of the text, so that PostgreSQL
    knows it when it plans.
    """
    named = {parameter.name: parameter for parameter in compiler.parameters}

    def inline(parameter: BindParameter[Any]) -> None:
        if parameter.key not in named and parameter.type.dialect_impl(_DIALECT).literal_processor(_DIALECT):
            parameter.literal_execute = True

    traverse(expression, {}, {"bindparam": inline})
    compiled: Any = expression.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    positions = [
        named.get(name) or Parameter(name, itself, None, None, compiled.params[name])
        for name in compiled.positiontup or ()
    ]
    used = {parameter.name for parameter in positions}
    unused = tuple(parameter for parameter in compiler.parameters if parameter.name not in used)
    sql = str(compiled)
    if permissions == PUBLIC_ONLY:
        statement = in_context(sql, f"'{NOBODY}'") if compiler.as_nobody else without_context(sql)
        return Plan(statement, statement, tuple(positions), permissions, public=True, unused=unused)
    tenant, key = f"${len(positions) + 1}", f"${len(positions) + 2}"
    return Plan(
        in_context(sql, tenant, planning.key_is_valid.format(key)),
        in_context(sql, tenant),
        tuple(positions),
        permissions,
        public=False,
        unused=unused,
        guarded=tuple((at, each.permission) for at, each in enumerate(positions) if each.permission != PUBLIC),
    )
