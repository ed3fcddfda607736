"""The yardstick: a Starlette endpoint that knows the documents by heart and has PostgreSQL write the answers.

No GraphQL, no authentication, no limits; it connects as the superuser, whom row-level security does not slow down,
except where a tenant's own rows are asked for.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any
from uuid import UUID

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.graphql import statements, workloads
from benchmarks.graphql.contenders.pool import Pool

public, private = Pool(), Pool()


class Body(msgspec.Struct):
    query: str
    variables: dict[str, Any]


decode = msgspec.json.Decoder(Body).decode


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    await public.open(os.environ["OWNER_URL"])
    await private.open(os.environ["APPLICATION_URL"])
    yield
    await public.close()
    await private.close()


@cache
def newest(page: int) -> str:
    return statements.newest(str(page), str(page + 1))


@cache
def search(page: int) -> str:
    return statements.search(str(page), str(page + 1))


@cache
def deployments(page: int) -> str:
    return statements.deployments(str(page), str(page + 1))


async def answer_listing(_request: Request, variables: dict[str, Any]) -> str:
    listing = await public.value(statements.LISTING, UUID(variables["id"][4:]))
    return f'{{"data":{{"listing":{listing}}}}}'


async def answer_newest(_request: Request, variables: dict[str, Any]) -> str:
    listings = await public.value(newest(variables["first"]))
    return f'{{"data":{{"listings":{listings}}}}}'


async def answer_search(_request: Request, variables: dict[str, Any]) -> str:
    listings = await public.value(search(variables["first"]), variables["text"], variables["baseModel"])
    return f'{{"data":{{"listings":{listings}}}}}'


async def answer_deployments(request: Request, variables: dict[str, Any]) -> str:
    rows = await private.value(deployments(variables["first"]), request.headers["tenant-id"])
    return f'{{"data":{{"deployments":{rows}}}}}'


async def answer_typename(_request: Request, _variables: dict[str, Any]) -> str:
    return '{"data":{"__typename":"Query"}}'


ANSWERS = {
    workloads.LISTING: answer_listing,
    workloads.NEWEST: answer_newest,
    workloads.SEARCH: answer_search,
    workloads.DEPLOYMENTS: answer_deployments,
    workloads.TYPENAME: answer_typename,
}


async def endpoint(request: Request) -> Response:
    body = decode(await request.body())
    return Response(await ANSWERS[body.query](request, body.variables), media_type="application/json")


app = Starlette(routes=[Route("/graphql", endpoint, methods=["POST"])], lifespan=lifespan)
