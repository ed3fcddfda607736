"""Organisations and API keys in GraphQL."""

from datetime import datetime
from typing import Self

import strawberry
from sqlalchemy import select

from tunery.core import ids
from tunery.core.events import Events
from tunery.graphql.context import Info
from tunery.graphql.errors import UserError, user_errors
from tunery.tenants import api_keys, models
from tunery.tenants.sign_up import sign_up
from tunery.vault.keyring import Keyring


@strawberry.type(description="A tenant: everything else belongs to one.")
class Organisation:
    id: strawberry.ID
    name: str
    slug: str = strawberry.field(description="Its name in URLs and its namespace on the hub.")
    created_at: datetime

    @classmethod
    def of(cls, row: models.Tenant) -> Self:
        identifier = strawberry.ID(ids.encode("tenant", row.id))
        return cls(id=identifier, name=row.name, slug=row.slug, created_at=row.created_at)


@strawberry.type
class ApiKey:
    id: strawberry.ID
    name: str
    hint: str = strawberry.field(description="The secret's last four characters.")
    created_at: datetime
    revoked_at: datetime | None

    @classmethod
    def of(cls, row: models.ApiKey) -> Self:
        return cls(
            id=strawberry.ID(ids.encode("API key", row.id)),
            name=row.name,
            hint=row.hint,
            created_at=row.created_at,
            revoked_at=row.revoked_at,
        )


@strawberry.input
class SignUpInput:
    organisation: str
    email: str
    slug: str | None = strawberry.field(default=None, description="Made from the organisation's name when absent.")


@strawberry.type
class SignUpPayload:
    organisation: Organisation | None = None
    api_key: ApiKey | None = None
    secret: str | None = strawberry.field(default=None, description="The API key itself. It is shown this once.")
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.input
class CreateApiKeyInput:
    name: str


@strawberry.type
class CreateApiKeyPayload:
    api_key: ApiKey | None = None
    secret: str | None = strawberry.field(default=None, description="The API key itself. It is shown this once.")
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.input
class RevokeApiKeyInput:
    id: strawberry.ID


@strawberry.type
class RevokeApiKeyPayload:
    api_key: ApiKey | None = None
    user_errors: list[UserError] = strawberry.field(default_factory=list)


@strawberry.type
class TenantsQuery:
    @strawberry.field(description="The organisation that the API key belongs to.")
    async def organisation(self, info: Info) -> Organisation:
        caller = info.context.caller
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            return Organisation.of(await uow.session.get_one(models.Tenant, caller.tenant_id))

    @strawberry.field(description="The organisation's API keys, the newest first, revoked ones included.")
    async def api_keys(self, info: Info) -> list[ApiKey]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            rows = await uow.session.scalars(select(models.ApiKey).order_by(models.ApiKey.id.desc()))
            return [ApiKey.of(row) for row in rows]


@strawberry.type
class TenantsMutation:
    @strawberry.mutation(description="Make an organisation on the free plan. Needs no API key and no card.")
    @user_errors(SignUpPayload)
    async def sign_up(self, info: Info, input: SignUpInput) -> SignUpPayload:  # noqa: A002 - GraphQL's word
        context = info.context
        async with context.database.unit_of_work() as uow:
            result = await sign_up(
                uow,
                context.get(Events),
                context.get(Keyring),
                organisation=input.organisation,
                email=input.email,
                slug=input.slug,
            )
            return SignUpPayload(
                organisation=Organisation.of(result.tenant), api_key=ApiKey.of(result.api_key), secret=result.secret
            )

    @strawberry.mutation(description="Make another API key.")
    @user_errors(CreateApiKeyPayload)
    async def create_api_key(self, info: Info, input: CreateApiKeyInput) -> CreateApiKeyPayload:  # noqa: A002
        caller = info.context.caller
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            key, secret = api_keys.create_api_key(uow, input.name, caller.member_id)
            await uow.session.flush()
            return CreateApiKeyPayload(api_key=ApiKey.of(key), secret=secret)

    @strawberry.mutation(description="Refuse an API key from now on.")
    @user_errors(RevokeApiKeyPayload)
    async def revoke_api_key(self, info: Info, input: RevokeApiKeyInput) -> RevokeApiKeyPayload:  # noqa: A002
        caller = info.context.caller
        identifier = ids.decode("API key", input.id, field="id")
        async with info.context.database.unit_of_work(caller.tenant_id) as uow:
            return RevokeApiKeyPayload(api_key=ApiKey.of(await api_keys.revoke_api_key(uow, identifier)))
