"""The ASGI application: GraphQL, the REST facades, health."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

import tunery
import tunery.billing.webhooks
import tunery.marketplace.hub.routes
import tunery.serving.gateway
import tunery.training.files
from tunery.app.middleware import RequestContext
from tunery.app.schema import schema
from tunery.core.database import Database
from tunery.core.identity import Identity
from tunery.core.services import Services
from tunery.graphql.endpoint import GraphQLEndpoint
from tunery.serving.nodes import live_nodes
from tunery.tenants.api_keys import authenticate


def create_app(services: Services) -> ASGIApp:
    """The API of one process. It keeps no state: any number may run side by side."""
    database = services.get(Database)

    async def identify(authorization: str | None) -> Identity:
        return await authenticate(database, authorization)

    async def health(_request: Request) -> Response:
        async with database.unit_of_work() as uow:
            nodes = await live_nodes(uow)
        return JSONResponse({"status": "ok", "version": tunery.__version__, "nodes": len(nodes)})

    return Starlette(
        routes=[
            Route("/health", health),
            Mount("/hub", routes=tunery.marketplace.hub.routes.routes(services)),
            *tunery.training.files.routes(services),
            *tunery.serving.gateway.routes(services),
            *tunery.billing.webhooks.routes(services),
            # Last, as an ASGI application of its own: Strawberry reads the request itself.
            Route("/graphql", GraphQLEndpoint(schema, services, identify)),
        ],
        # Inside Starlette's own error middleware, which would answer faults in plain text.
        middleware=[Middleware(RequestContext)],
    )
