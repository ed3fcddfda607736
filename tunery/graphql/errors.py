"""How errors leave the API: a mutation's domain errors as `userErrors`, all others as GraphQL errors with a code."""

from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import msgspec
import strawberry
from graphql import GraphQLError

from tunery.core.errors import DomainError, Unauthenticated, Unavailable
from tunery.core.http import fault
from tunery.graphql.planner.mapping import METADATA, Declared

LONGEST_MESSAGE = 1_000
"""Messages repeat what was sent. Nobody reads more of it, and an answer isn't to grow with its mistakes."""

P = ParamSpec("P")
R = TypeVar("R")


@strawberry.type(description="Something about the input that the caller can mend.")
class UserError:
    field: str | None = strawberry.field(description="The input field it speaks of, null when it is none alone.")
    message: str = strawberry.field(description="For people; it says what to do.")
    code: str = strawberry.field(description="Stable, for programs.")


@strawberry.type
class UserErrors:
    """What every mutation's payload has."""

    user_errors: list[UserError] = strawberry.field(
        default_factory=list,
        description="What has to be mended; empty: it was done.",
        metadata={METADATA: Declared(most=1)},
    )


def user_errors(payload: Callable[..., R]) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Answer domain errors with an otherwise empty `payload`. A missing key or service stays a GraphQL error."""

    def decorate(resolver: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        @wraps(resolver)
        async def resolve(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return await resolver(*args, **kwargs)
            except (Unauthenticated, Unavailable):
                raise
            except DomainError as error:
                return payload(
                    user_errors=[UserError(field=error.field, message=_shortened(error.message), code=error.error_code)]
                )

        return resolve

    return decorate


def public_error(error: GraphQLError, request_id: str) -> GraphQLError:
    """What a client may see of an error. Errors of parsing and validation pass as they are."""
    original: BaseException | None = error.original_error
    if original is None or isinstance(original, GraphQLError):
        if len(error.message) > LONGEST_MESSAGE:
            error.message = _shortened(error.message)
        return error
    shown = original if isinstance(original, DomainError) else fault(original, request_id, path=error.path)
    extensions: dict[str, Any] = {"code": shown.error_code, "requestId": request_id}
    if shown.field is not None:
        extensions["field"] = shown.field
    return GraphQLError(_shortened(shown.message), error.nodes, path=error.path, extensions=extensions)


def _shortened(message: str) -> str:
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]}…"


def as_error(fault: BaseException, request_id: str) -> GraphQLError:
    """What a client may see of a fault that belongs to no field alone."""
    original = fault if isinstance(fault, Exception) else None
    return public_error(GraphQLError(str(fault), original_error=original), request_id)


def encode_errors(errors: Iterable[GraphQLError]) -> bytes:
    return msgspec.json.encode([error.formatted for error in errors])
