"""Strawberry at its best: documents cached, one SQL statement for each root field, no ORM, msgspec for JSON."""
# ruff: noqa: N815 - fields are named as in the JSON that the resolvers hand over

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, NewType
from uuid import UUID

import msgspec
import strawberry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig

from benchmarks.graphql import statements
from benchmarks.graphql.contenders.pool import Pool

public, private = Pool(), Pool()
Moment = NewType("Moment", str)
MOMENT = strawberry.scalar(name="DateTime", serialize=str, parse_value=Moment)


@strawberry.type
class Seller:
    namespace: str
    name: str


@strawberry.type
class ListingVersion:
    number: int
    digest: str
    baseModel: str
    createdAt: Moment


@strawberry.type
class Listing:
    id: strawberry.ID
    name: str
    title: str
    description: str
    licence: str
    price: int
    currency: str
    baseModel: str
    publishedAt: Moment
    seller: Seller
    latestVersion: ListingVersion | None

    @strawberry.field
    def versions(self, first: int = 3) -> list[ListingVersion]:
        row: Any = self  # what the root field's statement gave
        return row["versions"][:first]


@strawberry.type
class Deployment:
    id: strawberry.ID
    name: str
    digest: str | None
    createdAt: Moment


@strawberry.type
class PageInfo:
    hasNextPage: bool
    endCursor: str | None


@strawberry.type
class ListingEdge:
    cursor: str
    node: Listing


@strawberry.type
class ListingConnection:
    edges: list[ListingEdge]
    pageInfo: PageInfo


@strawberry.type
class DeploymentEdge:
    cursor: str
    node: Deployment


@strawberry.type
class DeploymentConnection:
    edges: list[DeploymentEdge]
    pageInfo: PageInfo


@cache
def newest(page: int) -> str:
    return statements.newest(str(page), str(page + 1))


@cache
def search(page: int) -> str:
    return statements.search(str(page), str(page + 1))


@cache
def deployments(page: int) -> str:
    return statements.deployments(str(page), str(page + 1))


@strawberry.type
class Query:
    @strawberry.field
    async def listing(self, id: strawberry.ID) -> Listing | None:  # noqa: A002
        return msgspec.json.decode(await public.value(statements.LISTING, UUID(id[4:])) or "null")

    @strawberry.field
    async def listings(
        self,
        first: int = 20,
        text: str | None = None,
        baseModel: str | None = None,  # noqa: N803
    ) -> ListingConnection:
        if text is None:
            return msgspec.json.decode(await public.value(newest(first)))
        return msgspec.json.decode(await public.value(search(first), text, baseModel))

    @strawberry.field
    async def deployments(self, info: strawberry.Info[str, None], first: int = 20) -> DeploymentConnection:
        return msgspec.json.decode(await private.value(deployments(first), info.context))


def item(row: Mapping[str, Any], name: str) -> object:
    return row[name]


schema = strawberry.Schema(
    Query,
    config=StrawberryConfig(auto_camel_case=False, default_resolver=item, scalar_map={Moment: MOMENT}),
    extensions=[ParserCache, ValidationCache],
)


class Endpoint(GraphQL[str, None]):
    async def get_context(self, request: Request, response: Response) -> str:  # noqa: ARG002
        """The tenant."""
        return request.headers["tenant-id"]

    def decode_json(self, data: str | bytes) -> object:
        return msgspec.json.decode(data)

    def encode_json(self, data: object) -> bytes:
        return msgspec.json.encode(data)


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    await public.open(os.environ["OWNER_URL"])
    await private.open(os.environ["APPLICATION_URL"])
    yield
    await public.close()
    await private.close()


app = Starlette(routes=[Route("/graphql", Endpoint(schema, graphql_ide=None))], lifespan=lifespan)
