"""Deployments in GraphQL."""

from datetime import datetime

import strawberry

from tunery.core import ids
from tunery.graphql.connections import Connection
from tunery.graphql.context import Info
from tunery.graphql.errors import UserErrors, user_errors
from tunery.graphql.node import Node
from tunery.graphql.planner.declare import (
    Conditions,
    Row,
    column,
    global_id,
    newest,
    one,
    operation,
    planned,
    reference,
    root,
)
from tunery.marketplace.api import Listing
from tunery.serving import deployments, models
from tunery.training.api import BaseModel

READ, WRITE = "serving:read", "serving:write"


@planned(models.Deployment, access=READ, kind="deployment", description="A name to chat with at /v1/chat/completions.")
class Deployment(Node):
    id: strawberry.ID = global_id("deployment")
    name: str = column(description="Send it as `model`.")
    digest: str | None = column(description="Of the adapter version; null: the base model alone.")
    memory: bool = column(description="Whether chats recall and remember what the person named in `user` said.")
    created_at: datetime = column(description="When it was made.")
    deleted_at: datetime | None = column(description="Since when it is not served; null: it is.")
    base_model: BaseModel = one(
        lambda deployment, base_model: base_model.id == deployment.base_model_id, description="What it runs on."
    )
    listing: Listing | None = one(
        lambda deployment, listing: listing.id == deployment.listing_id,
        description="Where the adapter was bought; null: it is the organisation's own, or there is none.",
    )


@strawberry.input(description="Give exactly one of baseModel, adapterVersionId and listingId.")
class CreateDeploymentInput:
    name: str = strawberry.field(
        description="Up to 64 lower-case letters and digits, joined by hyphens. A name is never reused."
    )
    base_model: str | None = strawberry.field(default=None, description="Name of a base model, to run it alone.")
    adapter_version_id: strawberry.ID | None = strawberry.field(default=None, description="Of one of your own.")
    listing_id: strawberry.ID | None = strawberry.field(default=None, description="Of a listing that you bought.")
    version: int | None = strawberry.field(default=None, description="Of the listing; its newest when absent.")
    memory: bool = strawberry.field(
        default=False, description="Whether chats recall and remember what the person named in `user` said."
    )


@strawberry.type(description="What came of createDeployment.")
class CreateDeploymentPayload(UserErrors):
    deployment: Deployment | None = strawberry.field(default=None, description="The new one; null: see userErrors.")


@strawberry.input(description="Whether a deployment has memory.")
class SetDeploymentMemoryInput:
    name: str = strawberry.field(description="What clients send as `model`.")
    memory: bool = strawberry.field(description="Whether chats recall and remember from now on.")


@strawberry.type(description="What came of setDeploymentMemory.")
class SetDeploymentMemoryPayload(UserErrors):
    deployment: Deployment | None = strawberry.field(default=None, description="As it is now; null: see userErrors.")


@strawberry.input(description="Which deployment to end.")
class DeleteDeploymentInput:
    name: str = strawberry.field(description="What clients send as `model`.")


@strawberry.type(description="What came of deleteDeployment.")
class DeleteDeploymentPayload(UserErrors):
    deployment: Deployment | None = strawberry.field(default=None, description="As it is now; null: see userErrors.")


@strawberry.type
class ServingQuery:
    @root(
        Connection[Deployment],
        access=READ,
        order=newest,
        description="The organisation's deployments, the newest first, without deleted ones.",
    )
    def deployments(deployment: Row) -> Conditions:
        yield deployment.deleted_at.is_(None)


@strawberry.type
class ServingMutation:
    @operation(access=WRITE, description="Serve a base model, an adapter version of your own, or a listing you bought.")
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
                memory=input.memory,
            )
        return CreateDeploymentPayload(deployment=reference(Deployment, deployment.id))

    @operation(
        access=WRITE, description="Have a deployment recall and remember, or no longer. What is remembered stays."
    )
    @user_errors(SetDeploymentMemoryPayload)
    async def set_deployment_memory(
        self,
        info: Info,
        input: SetDeploymentMemoryInput,  # noqa: A002
    ) -> SetDeploymentMemoryPayload:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            deployment = await deployments.set_memory(uow, input.name, memory=input.memory)
        return SetDeploymentMemoryPayload(deployment=reference(Deployment, deployment.id))

    @operation(access=WRITE, description="Stop serving under this name, for good.")
    @user_errors(DeleteDeploymentPayload)
    async def delete_deployment(
        self,
        info: Info,
        input: DeleteDeploymentInput,  # noqa: A002
    ) -> DeleteDeploymentPayload:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            deployment = await deployments.delete_deployment(uow, input.name)
        return DeleteDeploymentPayload(deployment=reference(Deployment, deployment.id))
