"""`/graphql`: POST for queries and mutations, POST with `accept: text/event-stream` for subscriptions (SSE)."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http import GraphQLHTTPResponse, process_result
from strawberry.schema import BaseSchema
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL
from strawberry.types import ExecutionResult

from tunery.core.errors import Unauthenticated
from tunery.core.identity import Identity
from tunery.core.services import Services
from tunery.graphql.context import Context
from tunery.graphql.errors import public_error


class GraphQLEndpoint(GraphQL[Context, None]):
    """Strawberry's ASGI view with our context and our errors. No IDE, no GET, no WebSocket."""

    def __init__(
        self, schema: BaseSchema, services: Services, authenticate: Callable[[str | None], Awaitable[Identity]]
    ) -> None:
        super().__init__(
            schema, graphql_ide=None, allow_queries_via_get=False, subscription_protocols=(GRAPHQL_SSE_PROTOCOL,)
        )
        self._services = services
        self._authenticate = authenticate

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:  # noqa: ARG002 - Strawberry's signature
        identity: Identity | None = None
        refusal: Unauthenticated | None = None
        try:
            identity = await self._authenticate(request.headers.get("authorization"))
        except Unauthenticated as error:
            refusal = error
        return Context(self._services, request.scope["request_id"], identity, refusal)

    async def process_result(self, request: Request, result: ExecutionResult) -> GraphQLHTTPResponse:
        if result.errors:
            result.errors = [public_error(error, request.scope["request_id"]) for error in result.errors]
        return process_result(result)
