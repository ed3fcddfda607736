"""The installation's public signing keys in GraphQL."""

import strawberry
from sqlalchemy import func

from tunery.graphql.access import PUBLIC
from tunery.graphql.planner.declare import Conditions, Row, column, planned, root
from tunery.vault import models

FINGERPRINT_DIGITS = 32
"""As `signatures.fingerprint` takes them."""


@planned(models.SigningKey, description="The public half of a key that this installation signs adapters with.")
class SigningKey:
    algorithm: str = column(description="ML-DSA-65 (FIPS 204).")
    fingerprint: str = column(
        lambda key: func.left(func.encode(func.sha256(key.public_key), "hex"), FINGERPRINT_DIGITS),
        description="The first 32 hexadecimal digits of the public key's SHA-256.",
    )
    public_key: str = column(
        # PostgreSQL breaks base64 into lines.
        lambda key: func.replace(func.encode(key.public_key, "base64"), "\n", ""),
        description="1,952 bytes in base64.",
    )


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
