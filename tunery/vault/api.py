"""Keys and certificates of erasure in GraphQL: what of them may be seen, and the rotation of a tenant's key."""

from datetime import datetime

import strawberry
from sqlalchemy import func
from strawberry.scalars import JSON

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
from tunery.vault import models
from tunery.vault.envelopes import ML_KEM_1024_P384, X_WING
from tunery.vault.keyring import Keyring
from tunery.vault.rotation import rotate_tenant_key

FINGERPRINT_DIGITS = 32
"""As `signatures.fingerprint` takes them."""
READ_KEYRING, WRITE_KEYRING, READ_ERASURES = "keyring:read", "keyring:write", "erasures:read"


@planned(
    models.SigningKey,
    description="The public half of a key that this installation signs adapters and certificates of erasure with.",
)
class SigningKey:
    algorithm: str = column(
        description="ML-DSA-65 or ML-DSA-87 (FIPS 204), or an experimental one, whose standard (FN-DSA) is not final:"
        " Falcon-512, Falcon-1024."
    )
    fingerprint: str = column(
        lambda key: func.left(func.encode(func.sha256(key.public_key), "hex"), FINGERPRINT_DIGITS),
        description="The first 32 hexadecimal digits of the public key's SHA-256.",
    )
    public_key: str = column(
        # PostgreSQL breaks base64 into lines.
        lambda key: func.replace(func.encode(key.public_key, "base64"), "\n", ""),
        description="In base64: 1,952 bytes of ML-DSA-65, 2,592 of ML-DSA-87, 897 of Falcon-512, 1,793 of Falcon-1024.",
    )


@planned(models.TenantKey, description="A version of the organisation's key pair, to which its data keys are wrapped.")
class TenantKey:
    version: int = column(description="1, 2, 3, …; the highest is the one in use.")
    suite: str = column(description="How data keys are wrapped to it: KEM, KDF and AEAD of HPKE.")
    fingerprint: str = column(description="The first 32 hexadecimal digits of the public key's SHA-256.")
    created_at: datetime = column(description="When it was made.")
    retired_at: datetime | None = column(
        description="Since when nothing is wrapped to it and what claims to be is refused; null: it opens what is."
    )
    destroyed_at: datetime | None = column(description="Since when its private half is destroyed; null: it is not.")


@planned(
    models.Erasure,
    access=READ_ERASURES,
    kind="erasure",
    description="A signed certificate of what was erased. `tunery verify` checks a chain of them offline.",
)
class Erasure(Node):
    id: strawberry.ID = global_id("erasure")
    number: int = column(description="1, 2, 3, … within the organisation.")
    certificate: str = column(
        lambda erasure: func.convert_from(erasure.certificate, "UTF8"),
        description="JSON whose UTF-8 bytes are what is signed. It holds the SHA-256 of the certificate before it.",
    )
    signature: JSON = column(description="Algorithm, context, public key and signature.")
    created_at: datetime = column(description="When it was signed.")


@strawberry.input(description="What the next key is to be.")
class RotateTenantKeyInput:
    suite: str | None = strawberry.field(
        default=None, description=f"{X_WING}, or {ML_KEM_1024_P384}; absent: the newest key's."
    )


@strawberry.type(description="What came of rotateTenantKey.")
class RotateTenantKeyPayload(UserErrors):
    tenant_key: TenantKey | None = strawberry.field(default=None, description="The new version; null: see userErrors.")


@strawberry.type
class VaultQuery:
    @root(
        list[SigningKey],
        access=PUBLIC,
        order=lambda key: [key.created_at.desc(), key.id.desc()],
        description="Keys that this installation's signatures verify with, the newest first.",
    )
    def signing_keys(key: Row) -> Conditions:
        return ()

    @root(
        list[TenantKey],
        access=READ_KEYRING,
        order=lambda key: [key.version.desc()],
        description="The versions of the organisation's key pair, the newest first.",
    )
    def tenant_keys(key: Row) -> Conditions:
        yield key.tenant_id == CALLER

    @root(
        Connection[Erasure],
        access=READ_ERASURES,
        order=newest,
        description="The certificates of what was erased for the organisation, the newest first.",
    )
    def erasures(erasure: Row) -> Conditions:
        yield erasure.tenant_id == CALLER


@strawberry.type
class VaultMutation:
    @operation(
        access=WRITE_KEYRING,
        description="Make the next version of the organisation's key pair. Its data keys are wrapped to it in the"
        " background; then the older versions are retired and their private halves destroyed.",
    )
    @user_errors(RotateTenantKeyPayload)
    async def rotate_tenant_key(self, info: Info, input: RotateTenantKeyInput) -> RotateTenantKeyPayload:  # noqa: A002
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            made = await rotate_tenant_key(uow, info.context.get(Keyring), input.suite)
        return RotateTenantKeyPayload(tenant_key=reference(TenantKey, made.id))
