"""Executes operations: by one planned statement where it can, else by graphql-core."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, execute, subscribe

from tunery.graphql.context import Context
from tunery.graphql.documents import Operation
from tunery.graphql.errors import public_error


@dataclass(frozen=True, slots=True)
class Answer:
    """`data` as JSON text; None: there is no `data` entry, the request itself was wrong. Errors are public ones."""

    data: bytes | None
    errors: Sequence[GraphQLError] = ()


class Executor:
    """Of one process."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema

    async def execute(self, operation: Operation, variables: Mapping[str, Any], context: Context) -> Answer:
        """A query or a mutation."""
        result = execute(
            self._schema,
            operation.document.definition,  # type: ignore[arg-type]  # a document without errors has one
            context_value=context,
            variable_values=dict(variables),
            operation_name=operation.name,
            hide_suggestions=True,
        )
        return _answer(result if isinstance(result, ExecutionResult) else await result, context)

    async def subscribe(
        self, operation: Operation, variables: Mapping[str, Any], context: Context
    ) -> Answer | AsyncIterator[Answer]:
        """A subscription: its events, or why there are none."""
        stream = await subscribe(
            self._schema,
            operation.document.definition,  # type: ignore[arg-type]
            context_value=context,
            variable_values=dict(variables),
            operation_name=operation.name,
            hide_suggestions=True,
        )
        if isinstance(stream, ExecutionResult):
            return _answer(stream, context)
        return _answers(stream, context)


async def _answers(stream: AsyncIterator[ExecutionResult], context: Context) -> AsyncIterator[Answer]:
    async for result in stream:
        yield _answer(result, context)


def _answer(result: ExecutionResult, context: Context) -> Answer:
    errors = [public_error(error, context.request_id) for error in result.errors or ()]
    # graphql-core leaves no trace of whether `data` is null or absent but this: only field errors have a path.
    absent = result.data is None and not any(error.path for error in errors)
    return Answer(None if absent else msgspec.json.encode(result.data), errors)
