"""The installation's public signing key in GraphQL."""

import base64

import strawberry
from sqlalchemy import select

from tunery.graphql.context import Info
from tunery.vault import models
from tunery.vault.signatures import fingerprint


@strawberry.type(description="The public half of a key that this installation signs adapters with.")
class SigningKey:
    algorithm: str = strawberry.field(description="ML-DSA-65 (FIPS 204).")
    fingerprint: str = strawberry.field(description="The first 32 hex digits of the public key's SHA-256.")
    public_key: str = strawberry.field(description="Base64.")


@strawberry.type
class VaultQuery:
    @strawberry.field(description="Keys that this installation's signatures verify with, the newest first.")
    async def signing_keys(self, info: Info) -> list[SigningKey]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            rows = await uow.session.scalars(select(models.SigningKey).order_by(models.SigningKey.created_at.desc()))
            return [
                SigningKey(
                    algorithm=row.algorithm,
                    fingerprint=fingerprint(row.public_key),
                    public_key=base64.b64encode(row.public_key).decode(),
                )
                for row in rows
            ]
