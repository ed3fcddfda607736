"""Executes operations: by one planned statement where it can, else by graphql-core."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from inspect import isawaitable
from typing import Any, NamedTuple, cast

import msgspec
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, OperationType, execute, subscribe

from tunery.core.errors import Unauthenticated
from tunery.core.http import TooSlow
from tunery.core.identity import Identity
from tunery.core.telemetry import is_traced, part_span
from tunery.graphql.context import Context
from tunery.graphql.documents import Operation
from tunery.graphql.errors import as_error, encode_errors, public_error
from tunery.graphql.planner.planner import Planner, Run
from tunery.graphql.subscriptions import while_confirmed

QUERY_SECONDS = 10.0
"""For a query that graphql-core resolves. One statement of the planner's has less: see `Reader`."""


class Answer(NamedTuple):
    """`data` as JSON text; None: there is no `data` entry, the request itself was wrong. Errors are public ones."""

    data: bytes | None
    errors: Sequence[GraphQLError] = ()

    def to_json(self) -> bytes:
        parts = []
        if self.data is not None:
            parts.append(b'"data":' + self.data)
        if self.errors:
            parts.append(b'"errors":' + encode_errors(self.errors))
        return b"{%b}" % b",".join(parts)


class Executor:
    """Of one process."""

    def __init__(
        self,
        schema: GraphQLSchema,
        planner: Planner,
        confirm: Callable[[str | None], Awaitable[Identity]],
        *,
        suggestions: bool = False,
    ) -> None:
        self._schema = schema
        self._planner = planner
        self._confirm = confirm
        self._hide_suggestions = not suggestions

    def prepare(self, operation: Operation, variables: Mapping[str, Any]) -> Run | None:
        """What the planner can run for these variables, whoever asks; None: the rest is graphql-core's."""
        return self._planner.prepare(operation, variables) if operation.kind is OperationType.QUERY else None

    async def execute(
        self, operation: Operation, variables: Mapping[str, Any], context: Context, run: Run | None = None
    ) -> Answer:
        """A query or a mutation; `run` is what was prepared for it, if it was."""
        run = run or self.prepare(operation, variables)
        if run is not None:
            try:
                data = await self._planner.answer(run, context)
            except Exception as error:  # noqa: BLE001 - logged and shown as a fault, as graphql-core does with its fields
                return Answer(b"null", [as_error(error, context.request_id)])
            if data is not None:
                return Answer(data)
        if not is_traced():
            return await self._execute(operation, variables, context)
        with part_span(operation.span_name):
            return await self._execute(operation, variables, context)

    async def _execute(self, operation: Operation, variables: Mapping[str, Any], context: Context) -> Answer:
        """By graphql-core."""
        context = await self._confirmed(context, operation, variables)
        if operation.kind is not OperationType.QUERY:  # what writes is not cut off half-way
            return await self._resolve(operation, variables, context)
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                return await self._resolve(operation, variables, context)
        except TimeoutError:
            slow = TooSlow("the answer took longer than a request may: ask for shorter pages or fewer fields")
            return Answer(b"null", [as_error(slow, context.request_id)])

    async def _resolve(self, operation: Operation, variables: Mapping[str, Any], context: Context) -> Answer:
        result = execute(
            self._schema,
            operation.document.definition,  # type: ignore[arg-type]  # a document without errors has one
            context_value=context,
            variable_values=dict(variables),
            operation_name=operation.name,
            hide_suggestions=self._hide_suggestions,
        )
        return _answer(result if isinstance(result, ExecutionResult) else await result, context)

    async def subscribe(
        self, operation: Operation, variables: Mapping[str, Any], context: Context
    ) -> Answer | AsyncGenerator[Answer]:
        """A subscription: its events, or why there are none. They end with Unauthenticated soon after the key does."""
        context = await self._confirmed(context, operation, variables)
        subscribing = subscribe(
            self._schema,
            operation.document.definition,  # type: ignore[arg-type]
            context_value=context,
            variable_values=dict(variables),
            operation_name=operation.name,
            hide_suggestions=self._hide_suggestions,
        )
        stream = await subscribing if isawaitable(subscribing) else subscribing
        if isinstance(stream, ExecutionResult):
            return _answer(stream, context)
        answers = _answers(cast("AsyncGenerator[ExecutionResult]", stream), context)
        if context.identity is None:
            return answers
        return while_confirmed(answers, partial(self._confirm, context.authorization))

    async def _confirmed(self, context: Context, operation: Operation, variables: Mapping[str, Any]) -> Context:
        """The context for hand-written resolvers, which take the identity as proved: a remembered one is looked up."""
        identity, refusal = context.identity, context.refusal
        if identity is not None:
            try:
                identity = await self._confirm(context.authorization)
            except Unauthenticated as error:
                identity, refusal = None, error
        return replace(context, identity=identity, refusal=refusal, plans=operation.shaped(variables))


async def _answers(stream: AsyncGenerator[ExecutionResult], context: Context) -> AsyncGenerator[Answer]:
    async with aclosing(stream):
        async for result in stream:
            yield _answer(result, context)


def _answer(result: ExecutionResult, context: Context) -> Answer:
    errors = [public_error(error, context.request_id) for error in result.errors or ()]
    # graphql-core leaves no trace of whether `data` is null or absent but this: only field errors have a path.
    absent = result.data is None and not any(error.path for error in errors)
    return Answer(None if absent else msgspec.json.encode(result.data), errors)
