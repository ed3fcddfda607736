"""Deployments in GraphQL."""

from datetime import datetime
from typing import Self

import strawberry
from sqlalchemy import select

from tunery.core import ids
from tunery.graphql.context import Info
from tunery.graphql.errors import UserError, user_errors
from tunery.serving import deployments, models


@strawberry.type(description="A name to chat with at /v1/chat/completions.")
class Deployment:
    id: strawberry.ID
    name: str = strawberry.field(description="Send it as `model`.")
    digest: str | None = strawberry.field(description="Of the adapter; null: the base model alone.")
    created_at: datetime

    @classmethod
    def of(cls, row: models.Deployment) -> Self:
        identifier = strawberry.ID(ids.encode("deployment", row.id))
        return cls(id=identifier, name=row.name, digest=row.digest, created_at=row.created_at)


@strawberry.input(description="Give exactly one of baseModel, adapterVersionId and listingId.")
class CreateDeploymentInput:
    name: str = strawberry.field(description="Lower-case letters, digits, hyphens. A name is never reused.")
    base_model: str | None = None
    adapter_version_id: strawberry.ID | None = None
    listing_id: strawberry.ID | None = None
    version: int | None = strawberry.field(default=None, description="Of the listing; its newest when absent.")


@strawberry.type
class CreateDeploymentPayload:
    deployment: Deployment | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.input
class DeleteDeploymentInput:
    name: str


@strawberry.type
class DeleteDeploymentPayload:
    deployment: Deployment | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.type
class ServingQuery:
    @strawberry.field(description="The organisation's deployments, the newest first.")
    async def deployments(self, info: Info) -> list[Deployment]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            living = select(models.Deployment).where(models.Deployment.deleted_at.is_(None))
            rows = await uow.session.scalars(living.order_by(models.Deployment.id.desc()))
            return [Deployment.of(row) for row in rows]


@strawberry.type
class ServingMutation:
    @strawberry.mutation(description="Serve a base model, an adapter version of your own, or a listing you bought.")
    @user_errors(CreateDeploymentPayload)
    async def create_deployment(
        self,
        info: Info,
        input: CreateDeploymentInput,  # noqa: A002
    ) -> CreateDeploymentPayload:
        version_id, listing_id = input.adapter_version_id, input.listing_id
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            deployment = await deployments.create_deployment(
                uow,
                name=input.name,
                base_model_name=input.base_model,
                adapter_version_id=(
                    ids.decode("adapter version", version_id, field="adapterVersionId") if version_id else None
                ),
                listing_id=ids.decode("listing", listing_id, field="listingId") if listing_id else None,
                version=input.version,
            )
            return CreateDeploymentPayload(deployment=Deployment.of(deployment))

    @strawberry.mutation(description="Stop serving under this name, for good.")
    @user_errors(DeleteDeploymentPayload)
    async def delete_deployment(
        self,
        info: Info,
        input: DeleteDeploymentInput,  # noqa: A002
    ) -> DeleteDeploymentPayload:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            row = await deployments.delete_deployment(uow, input.name)
            return DeleteDeploymentPayload(deployment=Deployment.of(row))
