"""The keys at rest: public halves in the clear, everything else sealed or wrapped.

A destroyed key's row stays as a tombstone: without the key, with its fingerprint.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, Integer, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import Identified, Table, TenantOwned


class TenantKey(Identified, TenantOwned, Table):
    """One version of a tenant's HPKE key pair."""

    __tablename__ = "tenant_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "version"),
        UniqueConstraint("tenant_id", "id"),
        Index("ix_tenant_keys_root_key", "root_key", postgresql_where=text("destroyed_at IS NULL")),
        CheckConstraint("(sealed_private_key IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed"),
        CheckConstraint("retired_at IS NULL OR destroyed_at IS NOT NULL", name="retired"),
    )

    version: Mapped[int] = mapped_column(Integer)
    suite: Mapped[str]
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_private_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    root_key: Mapped[str]
    """Which one sealed the private key; '': one of the local ones, from before rows said which."""
    fingerprint: Mapped[str]
    """The public key's."""
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    """When nothing was wrapped to this version any more. What claims to be is refused."""
    destroyed_at: Mapped[datetime | None]


class DataKey(Identified, TenantOwned, Table):
    """An AES-256 key for one purpose (a data set, a job's checkpoints), wrapped to the tenant's public key."""

    __tablename__ = "data_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "tenant_key_id"], ["tenant_keys.tenant_id", "tenant_keys.id"]),
        Index(
            "uq_data_keys_living", "tenant_id", "purpose", unique=True, postgresql_where=text("destroyed_at IS NULL")
        ),
        Index("ix_data_keys_wrapped", "tenant_id", "tenant_key_id", postgresql_where=text("destroyed_at IS NULL")),
        CheckConstraint("(wrapped_key IS NULL) = (destroyed_at IS NOT NULL)", name="destroyed"),
    )

    tenant_key_id: Mapped[UUID]
    suite: Mapped[str]
    purpose: Mapped[str]
    wrapped_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    fingerprint: Mapped[str]
    created_at: Mapped[datetime]
    destroyed_at: Mapped[datetime | None]


class Secret(Identified, TenantOwned, Table):
    """A small secret of another room's, sealed under the data key of its purpose."""

    __tablename__ = "secrets"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "data_key_id"], ["data_keys.tenant_id", "data_keys.id"]),
    )

    data_key_id: Mapped[UUID]
    sealed_value: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class Erasure(Identified, TenantOwned, Table):
    """A signed certificate of what was destroyed. A tenant's are a chain: each holds the hash of the one before."""

    __tablename__ = "erasures"
    __table_args__ = (UniqueConstraint("tenant_id", "number"), Index(None, "tenant_id", "id"))

    number: Mapped[int] = mapped_column(Integer)
    """1, 2, 3, …"""
    certificate: Mapped[bytes] = mapped_column(LargeBinary)
    """Canonical JSON: the signed bytes themselves."""
    signature: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class SigningKey(Identified, Table):
    """The installation's key pair, which signs adapters and certificates of erasure. Global: every tenant may read the
    public half.
    """

    __tablename__ = "signing_keys"

    algorithm: Mapped[str]
    public_key: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    sealed_private_key: Mapped[bytes] = mapped_column(LargeBinary)
    root_key: Mapped[str]
    created_at: Mapped[datetime]
