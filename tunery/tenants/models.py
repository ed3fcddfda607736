from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import Identified, Table, TenantOwned


class Tenant(Identified, Table):
    """An organisation. Its row belongs to itself: row-level security compares `id`."""

    __tablename__ = "tenants"
    __table_args__ = (UniqueConstraint("id", "slug"),)

    name: Mapped[str]
    slug: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]


class Member(Identified, TenantOwned, Table):
    __tablename__ = "members"
    __table_args__ = (UniqueConstraint("tenant_id", "email"),)

    email: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[datetime]


class ApiKey(Identified, TenantOwned, Table):
    """A key of 256 random bits, of which only the SHA-256 is stored."""

    __tablename__ = "api_keys"
    __table_args__ = (Index(None, "tenant_id", "id"),)

    name: Mapped[str]
    hint: Mapped[str]
    digest: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    created_by: Mapped[UUID] = mapped_column(ForeignKey("members.id"))
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
