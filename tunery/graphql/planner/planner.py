"""Answers by plans: whole queries as JSON text, and single fields for graphql-core."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec
from graphql import GraphQLObjectType, GraphQLSchema, get_variable_values
from graphql.execution.values import VariableValues

from tunery.core.errors import DomainError, Unauthenticated
from tunery.core.identity import Identity
from tunery.core.reader import Reader
from tunery.graphql.context import Context, ResolveInfo
from tunery.graphql.documents import Operation
from tunery.graphql.planner.codecs import VIOLATION
from tunery.graphql.planner.compile import ROW_ID
from tunery.graphql.planner.mapping import Declared, Reference
from tunery.graphql.planner.plan import Plan, Planning, plan_operation, plan_root, plan_row
from tunery.graphql.planner.sharing import Done, Sharing, pass_on


class Run(NamedTuple):
    """A plan and the values to bind, but for the caller's. Two that are equal give the same answer to the public."""

    plan: Plan
    values: tuple[Any, ...]


class Planner:
    """Of one process. `key_is_valid`: see Planning."""

    def __init__(self, schema: GraphQLSchema, reader: Reader, key_is_valid: str) -> None:
        self._planning = Planning(schema, key_is_valid)
        self._reader = reader
        self._sharing: Sharing[bytes | None] = Sharing()

    def prepare(self, operation: Operation, variables: Mapping[str, Any]) -> Run | None:
        """How a query is answered; None when it is graphql-core's, be it to word an error."""
        coerced = None
        if not operation.takes_as_they_are(variables):
            coerced = self._coerce(operation, variables)
            if coerced is None:
                return None
            variables = coerced.coerced
        kept = operation.shaped(variables)
        if "plan" not in kept:
            coerced = coerced or self._coerce(operation, variables)
            kept["plan"] = plan_operation(self._planning, operation, coerced) if coerced is not None else None
        plan: Plan | None = kept["plan"]
        if plan is None:
            return None
        try:
            return Run(plan, tuple(plan.values(variables)))
        except DomainError:
            return None

    def _coerce(self, operation: Operation, variables: Mapping[str, Any]) -> VariableValues | None:
        """As graphql-core does, defaults filled in; None when there is something wrong."""
        definitions = operation.node.variable_definitions or ()
        coerced = get_variable_values(self._planning.schema, definitions, dict(variables))
        return coerced if isinstance(coerced, VariableValues) else None

    async def answer(self, run: Run, context: Context) -> bytes | None:
        """The JSON text of a query's `data`; None when graphql-core has to find out what is wrong."""
        try:
            for permission in run.plan.permissions:
                context.require(permission)
        except DomainError:
            return None
        data: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self.begin(run, context.identity, partial(pass_on, data))
        return whole(await data)

    def begin(self, run: Run, identity: Identity | None, done: Done[bytes | None]) -> None:
        """Read for a caller that may, then call `done`. `whole` tells whether what came is the answer."""
        plan, values = run
        if plan.constant is not None:
            constant: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
            constant.set_result(plan.constant)
            done(constant)
        elif plan.public:
            self._sharing.join(run, lambda: self._reader.value(plan.as_caller, values), done)
        else:
            assert identity is not None, "a permission takes a caller"  # noqa: S101
            read = self._reader.value(plan.as_caller, plan.values_of(identity, values))
            asyncio.ensure_future(read).add_done_callback(done)

    async def root(self, info: ResolveInfo, declared: Declared) -> Any:
        """A root field's value for graphql-core: what its JSON text holds. Raises DomainError, GraphQLError."""
        context: Context = info.context
        plan = _kept(info, lambda: plan_root(self._planning, info, declared))
        values = plan.values(info.variable_values.coerced)
        if plan.public:
            return msgspec.json.decode(await self._reader.value(plan.as_caller, values))
        text = await self._reader.value(plan.as_caller, plan.values_of(context.caller, values))
        if text is None:
            raise Unauthenticated("this API key was revoked")
        return msgspec.json.decode(text)

    async def row(self, info: ResolveInfo, kind: GraphQLObjectType, reference: Reference) -> Any:
        """A row for graphql-core, as the caller or as the reference's tenant; None when it is gone."""
        context: Context = info.context
        plan = _kept(info, lambda: plan_row(self._planning, info, kind))
        values = plan.values({**info.variable_values.coerced, ROW_ID: reference.id})
        tenant_id = reference.tenant_id or context.caller.tenant_id
        return msgspec.json.decode(await self._reader.value(plan.as_tenant, [*values, str(tenant_id)]))


def whole(data: bytes | None) -> bytes | None:
    """The answer, None unless it keeps all of the schema's promises and its caller's key is valid."""
    return None if data is None or data.find(VIOLATION) >= 0 else data


def _kept(info: ResolveInfo, make: Callable[[], Plan]) -> Plan:
    """A field's plan, kept with the operation's for the same shape of the variables."""
    plans = info.context.plans
    key = tuple(map(id, info.field_nodes))
    if key not in plans:
        plans[key] = make()
    plan: Plan = plans[key]
    return plan
