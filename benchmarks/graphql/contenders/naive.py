"""Strawberry as its tutorials have it: ORM rows, a type made from each, data loaders for what hangs on them."""

import os
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import strawberry
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.dataloader import DataLoader

from tunery.core.database import sqlalchemy_url
from tunery.marketplace import models
from tunery.serving import models as serving

CONNECTIONS = 8
public = async_sessionmaker(create_async_engine(sqlalchemy_url(os.environ["OWNER_URL"]), pool_size=CONNECTIONS))
private = async_sessionmaker(create_async_engine(sqlalchemy_url(os.environ["APPLICATION_URL"]), pool_size=CONNECTIONS))
Info = strawberry.Info[dict[str, Any], None]


@strawberry.type
class Seller:
    namespace: str
    name: str


@strawberry.type
class ListingVersion:
    number: int
    digest: str
    base_model: str
    created_at: datetime


@strawberry.type
class Listing:
    row: strawberry.Private[models.Listing]
    id: strawberry.ID
    name: str
    title: str
    description: str
    licence: str
    price: int
    currency: str
    base_model: str
    published_at: datetime

    @classmethod
    def of(cls, row: models.Listing) -> Self:
        return cls(
            row=row,
            id=strawberry.ID(f"lst_{row.id.hex}"),
            name=row.name,
            title=row.title,
            description=row.description,
            licence=row.licence,
            price=row.price,
            currency=row.currency,
            base_model=row.base_model,
            published_at=row.published_at,
        )

    @strawberry.field
    async def seller(self, info: Info) -> Seller:
        return await info.context["sellers"].load(self.row.tenant_id)

    @strawberry.field
    async def versions(self, info: Info, first: int = 3) -> list[ListingVersion]:
        return (await info.context["versions"].load(self.row.id))[:first]

    @strawberry.field
    async def latest_version(self, info: Info) -> ListingVersion | None:
        versions = await info.context["versions"].load(self.row.id)
        return versions[0] if versions else None


@strawberry.type
class Deployment:
    id: strawberry.ID
    name: str
    digest: str | None
    created_at: datetime


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class ListingEdge:
    cursor: str
    node: Listing


@strawberry.type
class ListingConnection:
    edges: list[ListingEdge]
    page_info: PageInfo


@strawberry.type
class DeploymentEdge:
    cursor: str
    node: Deployment


@strawberry.type
class DeploymentConnection:
    edges: list[DeploymentEdge]
    page_info: PageInfo


def page_info(edges: Sequence[ListingEdge | DeploymentEdge], has_next_page: bool) -> PageInfo:
    return PageInfo(has_next_page=has_next_page, end_cursor=edges[-1].cursor if edges else None)


@strawberry.type
class Query:
    @strawberry.field
    async def listing(self, id: strawberry.ID) -> Listing | None:  # noqa: A002
        async with public() as session:
            query = select(models.Listing).where(models.Listing.id == UUID(id[4:]))
            row = await session.scalar(query)
            return Listing.of(row) if row else None

    @strawberry.field
    async def listings(
        self, first: int = 20, text: str | None = None, base_model: str | None = None
    ) -> ListingConnection:
        query = select(models.Listing).where(models.Listing.status == "published")
        if text:
            query = query.where(models.Listing.search.bool_op("@@")(func.websearch_to_tsquery("english", text)))
        if base_model:
            query = query.where(models.Listing.base_model == base_model)
        query = query.order_by(models.Listing.published_at.desc(), models.Listing.id.desc()).limit(first + 1)
        async with public() as session:
            rows = (await session.scalars(query)).all()
        edges = [
            ListingEdge(cursor=f"{row.published_at.timestamp():.6f}_{row.id.hex}", node=Listing.of(row))
            for row in rows[:first]
        ]
        return ListingConnection(edges=edges, page_info=page_info(edges, len(rows) > first))

    @strawberry.field
    async def deployments(self, info: Info, first: int = 20) -> DeploymentConnection:
        query = select(serving.Deployment).where(serving.Deployment.deleted_at.is_(None))
        query = query.order_by(serving.Deployment.id.desc()).limit(first + 1)
        async with private() as session:
            tenant = info.context["request"].headers["tenant-id"]
            await session.execute(select(func.set_config("tunery.tenant_id", tenant, True)))
            rows = (await session.scalars(query)).all()
        edges = [
            DeploymentEdge(
                cursor=row.id.hex,
                node=Deployment(
                    id=strawberry.ID(f"dep_{row.id.hex}"), name=row.name, digest=row.digest, created_at=row.created_at
                ),
            )
            for row in rows[:first]
        ]
        return DeploymentConnection(edges=edges, page_info=page_info(edges, len(rows) > first))


async def load_sellers(tenant_ids: list[UUID]) -> list[Seller]:
    async with public() as session:
        rows = await session.scalars(select(models.Seller).where(models.Seller.tenant_id.in_(tenant_ids)))
        sellers = {row.tenant_id: Seller(namespace=row.namespace, name=row.name) for row in rows}
    return [sellers[tenant_id] for tenant_id in tenant_ids]


async def load_versions(listing_ids: list[UUID]) -> list[list[ListingVersion]]:
    """Of each listing, the newest first."""
    versions = defaultdict(list)
    query = select(models.ListingVersion).where(models.ListingVersion.listing_id.in_(listing_ids))
    async with public() as session:
        for row in await session.scalars(query.order_by(models.ListingVersion.number.desc())):
            version = ListingVersion(
                number=row.number, digest=row.digest, base_model=row.base_model, created_at=row.created_at
            )
            versions[row.listing_id].append(version)
    return [versions[listing_id] for listing_id in listing_ids]


class Endpoint(GraphQL[dict[str, Any], None]):
    async def get_context(self, request: Request, response: Response) -> dict[str, Any]:  # noqa: ARG002
        return {"request": request, "sellers": DataLoader(load_sellers), "versions": DataLoader(load_versions)}


app = Starlette(routes=[Route("/graphql", Endpoint(strawberry.Schema(Query)))])
