"""The keys at rest: public halves in the clear, everything else sealed or wrapped."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import Identified, Table, TenantOwned


class TenantKey(Identified, TenantOwned, Table):
    """One version of a tenant's HPKE key pair."""

    __tablename__ = "tenant_keys"
    __table_args__ = (UniqueConstraint("tenant_id", "version"),)

    version: Mapped[int]
    suite: Mapped[str]
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    sealed_private_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class DataKey(Identified, TenantOwned, Table):
    """An AES-256 key for one purpose (a data set, a job's checkpoints), wrapped to the tenant's public key."""

    __tablename__ = "data_keys"
    __table_args__ = (Index(None, "tenant_id"),)

    tenant_key_id: Mapped[UUID] = mapped_column(ForeignKey("tenant_keys.id"))
    purpose: Mapped[str]
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class SigningKey(Identified, Table):
    """The installation's key pair for signing adapters. Global: every tenant may read the public half."""

    __tablename__ = "signing_keys"

    algorithm: Mapped[str]
    public_key: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    sealed_private_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
