"""Organisations and API keys in GraphQL."""

from datetime import datetime

import strawberry

from tunery.core import ids
from tunery.core.events import Events
from tunery.graphql.access import PUBLIC
from tunery.graphql.connections import Connection
from tunery.graphql.context import Info
from tunery.graphql.errors import UserErrors, user_errors
from tunery.graphql.node import Node
from tunery.graphql.planner.declare import (
    CALLER,
    Conditions,
    Row,
    column,
    global_id,
    newest,
    operation,
    planned,
    reference,
    root,
)
from tunery.tenants import api_keys, models
from tunery.tenants.erase import erase_tenant
from tunery.tenants.sign_up import sign_up
from tunery.vault.api import Erasure
from tunery.vault.keyring import Keyring

READ_ORGANISATION, ERASE_ORGANISATION = "organisation:read", "organisation:erase"
READ_KEYS, WRITE_KEYS = "keys:read", "keys:write"


@planned(
    models.Tenant, access=READ_ORGANISATION, kind="tenant", description="A tenant: everything else belongs to one."
)
class Organisation(Node):
    id: strawberry.ID = global_id("tenant")
    name: str = column(description="For people.")
    slug: str = column(description="Its name in URLs, and its namespace on the hub. Nobody else has it.")
    created_at: datetime = column(description="When it signed up.")


@planned(
    models.ApiKey,
    access=READ_KEYS,
    kind="API key",
    description="A key to the API. Its secret was shown once and is not kept.",
)
class ApiKey(Node):
    id: strawberry.ID = global_id("API key")
    name: str = column(description="For people.")
    hint: str = column(description="The secret's last four characters.")
    created_at: datetime = column(description="When it was made.")
    revoked_at: datetime | None = column(description="Since when it is refused; null: it is valid.")


@strawberry.input(description="Who signs up.")
class SignUpInput:
    organisation: str = strawberry.field(description="The organisation's name, 1 to 100 characters.")
    email: str = strawberry.field(description="The owner's address, up to 254 characters.")
    slug: str | None = strawberry.field(
        default=None,
        description="Up to 64 lower-case letters and digits, joined by hyphens; made from the name when absent.",
    )


@strawberry.type(description="What came of signUp.")
class SignUpPayload(UserErrors):
    organisation: Organisation | None = strawberry.field(
        default=None, description="The new organisation; null: see userErrors."
    )
    api_key: ApiKey | None = strawberry.field(default=None, description="Its first API key; null: see userErrors.")
    secret: str | None = strawberry.field(default=None, description="The API key itself. It is shown this once.")


@strawberry.input(description="Which API key to make.")
class CreateApiKeyInput:
    name: str = strawberry.field(description="For people, 1 to 100 characters.")


@strawberry.type(description="What came of createApiKey.")
class CreateApiKeyPayload(UserErrors):
    api_key: ApiKey | None = strawberry.field(default=None, description="The new key; null: see userErrors.")
    secret: str | None = strawberry.field(default=None, description="The API key itself. It is shown this once.")


@strawberry.input(description="Which API key to refuse.")
class RevokeApiKeyInput:
    id: strawberry.ID = strawberry.field(description="Of one of the organisation's keys, be it the one in use.")


@strawberry.type(description="What came of revokeApiKey.")
class RevokeApiKeyPayload(UserErrors):
    api_key: ApiKey | None = strawberry.field(default=None, description="As it is now; null: see userErrors.")


@strawberry.input(description="The organisation's own erasure.")
class EraseTenantInput:
    confirm: str = strawberry.field(description="The organisation's slug: this can't be undone.")


@strawberry.type(description="What came of eraseTenant.")
class EraseTenantPayload(UserErrors):
    erasure: Erasure | None = strawberry.field(
        default=None, description="The certificate. Keep it: no API key reads it again; null: see userErrors."
    )


@strawberry.type
class TenantsQuery:
    @root(Organisation, access=READ_ORGANISATION, description="The organisation that the API key belongs to.")
    def organisation(organisation: Row) -> Conditions:
        return ()

    @root(
        Connection[ApiKey],
        access=READ_KEYS,
        order=newest,
        description="The organisation's API keys, the newest first, revoked ones included.",
    )
    def api_keys(key: Row) -> Conditions:
        yield key.tenant_id == CALLER


@strawberry.type
class TenantsMutation:
    @operation(access=PUBLIC, description="Make an organisation on the free plan. Needs no API key and no card.")
    @user_errors(SignUpPayload)
    async def sign_up(self, info: Info, input: SignUpInput) -> SignUpPayload:  # noqa: A002 - GraphQL's word
        context = info.context
        async with context.database.unit_of_work() as uow:
            made = await sign_up(
                uow,
                context.get(Events),
                context.get(Keyring),
                organisation=input.organisation,
                email=input.email,
                slug=input.slug,
            )
        return SignUpPayload(
            organisation=reference(Organisation, made.tenant.id, tenant_id=made.tenant.id),
            api_key=reference(ApiKey, made.api_key.id, tenant_id=made.tenant.id),
            secret=made.secret,
        )

    @operation(access=WRITE_KEYS, description="Make another API key.")
    @user_errors(CreateApiKeyPayload)
    async def create_api_key(self, info: Info, input: CreateApiKeyInput) -> CreateApiKeyPayload:  # noqa: A002
        caller = info.context.caller
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            key, secret = api_keys.create_api_key(uow, input.name, caller.member_id)
        return CreateApiKeyPayload(api_key=reference(ApiKey, key.id), secret=secret)

    @operation(access=WRITE_KEYS, description="Refuse an API key from now on. Doing it twice changes nothing.")
    @user_errors(RevokeApiKeyPayload)
    async def revoke_api_key(self, info: Info, input: RevokeApiKeyInput) -> RevokeApiKeyPayload:  # noqa: A002
        caller = info.context.caller
        identifier = ids.decode("API key", input.id, field="id")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            key = await api_keys.revoke_api_key(uow, identifier)
        return RevokeApiKeyPayload(api_key=reference(ApiKey, key.id))

    @operation(
        access=ERASE_ORGANISATION,
        description="Erase the organisation, for good: its keys are destroyed, and with them data sets, checkpoints,"
        " memories and conversations, also in backups; API keys are revoked, deployments and listings end. Books and"
        " what others bought stay.",
    )
    @user_errors(EraseTenantPayload)
    async def erase_tenant(self, info: Info, input: EraseTenantInput) -> EraseTenantPayload:  # noqa: A002
        context = info.context
        async with context.database.unit_of_work(context.caller.tenant_id) as uow:
            erasure = await erase_tenant(
                uow, context.get(Events), context.get(Keyring), context.caller, confirm=input.confirm
            )
        return EraseTenantPayload(erasure=reference(Erasure, erasure.id))
