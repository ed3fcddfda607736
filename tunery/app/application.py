"""The ASGI application: GraphQL, the REST facades, health."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from arq.connections import ArqRedis
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

import tunery
import tunery.billing.webhooks
import tunery.marketplace.hub.routes
import tunery.memory.routes
import tunery.serving.gateway
import tunery.training.files
from tunery.app.middleware import RequestContext
from tunery.app.schema import core_schema
from tunery.app.settings import Settings
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.core.telemetry import Sampler
from tunery.graphql.documents import Documents
from tunery.graphql.endpoint import GraphQLEndpoint
from tunery.graphql.executor import Executor
from tunery.graphql.limits import Limits
from tunery.graphql.options import GraphQLOptions
from tunery.graphql.planner.planner import Planner
from tunery.graphql.rate_limits import RateLimiter
from tunery.graphql.short_way import ShortWay
from tunery.graphql.trusted_documents import TrustedDocuments, committed_operations
from tunery.serving.nodes import live_nodes
from tunery.tenants.remembered_keys import RememberedKeys

GRAPHQL_PATH = "/graphql"
READABLE_HEADERS = (
    "etag",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-request-id",
)


def create_app(services: Services) -> "Application":
    """The API of one process. It keeps no state: any number may run side by side."""
    settings = services.get(Settings)
    database = services.get(Database)
    keys = services.get(RememberedKeys)
    rate_limiter = RateLimiter(services.get(ArqRedis))

    async def health(_request: Request) -> Response:
        async with database.unit_of_work() as uow:
            nodes = await live_nodes(uow)
        return JSONResponse({"status": "ok", "version": tunery.__version__, "nodes": len(nodes)})

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with rate_limiter:
            yield

    options = graphql_options(settings)
    graphql = GraphQLEndpoint(
        Documents(core_schema, options.limits, suggestions=options.development),
        TrustedDocuments(core_schema, committed_operations().values()),
        Executor(core_schema, services.get(Planner), keys.confirm, suggestions=options.development),
        services,
        keys.recall,
        keys.confirm,
        rate_limiter,
        options,
    )
    origins = settings.cors_origin_list
    cors = [Middleware(allow_origins, origins)] if origins else []
    routes = [
        Route("/health", health),
        Mount("/hub", routes=tunery.marketplace.hub.routes.routes(services)),
        *tunery.training.files.routes(services),
        *tunery.memory.routes.routes(services),
        *tunery.serving.gateway.routes(services),
        *tunery.billing.webhooks.routes(services),
    ]
    # Inside Starlette's own error middleware, which would answer faults in plain text.
    sampler = Sampler(settings.tracing_per_second) if settings.tracing_endpoint else None
    others = Starlette(routes=routes, middleware=[Middleware(RequestContext, sampler), *cors], lifespan=lifespan)
    short_way = ShortWay(graphql, services.get(Planner), keys.remembered, rate_limiter, sampler)
    middle = RequestContext(allow_origins(graphql, origins) if origins else graphql, sampler)
    return Application(middle, others, short_way)


class Application:
    """Sends `/graphql` past Starlette, whose middleware stack and router take as long as all of our own HTTP code. The
    server may ask `short_way` first.
    """

    def __init__(self, graphql: ASGIApp, others: ASGIApp, short_way: ShortWay) -> None:
        self._graphql = graphql
        self._others = others
        self.short_way = short_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == GRAPHQL_PATH:
            await self._graphql(scope, receive, send)
        else:
            await self._others(scope, receive, send)


def graphql_options(settings: Settings) -> GraphQLOptions:
    development = settings.environment == "development"
    return GraphQLOptions(
        development=development,
        limits=Limits(introspection=development),
        public_cache_seconds=settings.public_cache_seconds,
        points=settings.rate_limit_points,
        points_per_second=settings.rate_limit_per_second,
        anonymous_points=settings.anonymous_rate_limit_points,
        anonymous_points_per_second=settings.anonymous_rate_limit_per_second,
    )


def allow_origins(app: ASGIApp, origins: list[str]) -> ASGIApp:
    """Pages of these origins may call the application. They send API keys, never cookies."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "DELETE"],
        allow_headers=["authorization", "content-type"],
        expose_headers=READABLE_HEADERS,
    )
