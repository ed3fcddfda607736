from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy
from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import CURRENT_TENANT, Identified, Table, TenantOwned


class Seller(Table):
    """What every tenant may know of one that sells."""

    __tablename__ = "sellers"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "namespace"], ["tenants.id", "tenants.slug"]),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text(CURRENT_TENANT))
    namespace: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]


class Listing(Identified, TenantOwned, Table):
    """An adapter on the marketplace. Published ones are every tenant's to read."""

    __tablename__ = "listings"
    __table_args__ = (
        UniqueConstraint("tenant_id", "name"),
        UniqueConstraint("tenant_id", "id", "status"),
        ForeignKeyConstraint(["tenant_id", "adapter_id"], ["adapters.tenant_id", "adapters.id"]),
        ForeignKeyConstraint(["tenant_id"], ["sellers.tenant_id"], name="fk_listings_tenant_id_sellers"),
        CheckConstraint("status IN ('published', 'withdrawn')", name="status"),
        CheckConstraint("price >= 50", name="price_is_payable"),
        Index("ix_listings_search", "search", postgresql_using="gin"),
        Index(
            "ix_listings_published",
            text("published_at DESC"),
            text("id DESC"),
            postgresql_where=text("status = 'published'"),
        ),
    )

    adapter_id: Mapped[UUID] = mapped_column(unique=True)
    name: Mapped[str]
    """The adapter's name: with the seller's namespace, the repository id on the hub."""
    base_model: Mapped[str]
    title: Mapped[str]
    description: Mapped[str]
    licence: Mapped[str]
    price: Mapped[int] = mapped_column(Integer)
    """In minor units of `currency`."""
    currency: Mapped[str]
    status: Mapped[str] = mapped_column(default="published")
    published_at: Mapped[datetime]
    search: Mapped[Any] = mapped_column(
        TSVECTOR, Computed("to_tsvector('english', title || ' ' || description || ' ' || name)", persisted=True)
    )


class ListingVersion(Identified, TenantOwned, Table):
    """An adapter version as it was offered: a snapshot, so that buyers need nothing of the seller's own rows."""

    __tablename__ = "listing_versions"
    __table_args__ = (
        UniqueConstraint("listing_id", "number"),
        Index(None, "tenant_id"),
        ForeignKeyConstraint(
            ["tenant_id", "listing_id", "listing_status"],
            ["listings.tenant_id", "listings.id", "listings.status"],
            onupdate="CASCADE",
        ),
    )

    listing_id: Mapped[UUID]
    listing_status: Mapped[str] = mapped_column(server_default="published")
    """The listing's own: PostgreSQL carries it here, so that the public's view needs no join."""
    number: Mapped[int] = mapped_column(Integer)
    digest: Mapped[str]
    base_model: Mapped[str]
    manifest: Mapped[dict[str, Any]]
    files: Mapped[list[dict[str, Any]]]
    object_prefix: Mapped[str]
    created_at: Mapped[datetime]


def _view(name: str, table: type[Table], *columns: str) -> sqlalchemy.Table:
    """A view over some columns of a table."""
    taken = [table.__table__.columns[column] for column in columns]
    return sqlalchemy.Table(
        name, MetaData(), *(Column(column.name, column.type, nullable=column.nullable) for column in taken)
    )


published_listings = _view(
    "published_listings", Listing,
    "id", "tenant_id", "name", "base_model", "title", "description", "licence", "price", "currency", "status",
    "published_at", "search",
)  # fmt: skip
"""What everybody may read, in no tenant's context. Row-level security would keep the full-text index from being used:
`@@` is not leakproof.
"""
published_listing_versions = _view(
    "published_listing_versions", ListingVersion,
    "id", "listing_id", "number", "digest", "base_model", "manifest", "created_at",
)  # fmt: skip
public_sellers = _view("public_sellers", Seller, "tenant_id", "namespace", "name")


class Purchase(Identified, TenantOwned, Table):
    """A buyer's order. Paid when Stripe says so, never before."""

    __tablename__ = "purchases"
    __table_args__ = (
        CheckConstraint("status IN ('pending', 'paid', 'expired')", name="status"),
        Index(None, "tenant_id", "id"),
    )

    listing_id: Mapped[UUID] = mapped_column(ForeignKey("listings.id"))
    seller_id: Mapped[UUID]
    price: Mapped[int]
    fee: Mapped[int]
    """The platform's part of the price."""
    currency: Mapped[str]
    licence: Mapped[str]
    status: Mapped[str] = mapped_column(default="pending")
    checkout_session_id: Mapped[str | None] = mapped_column(unique=True)
    checkout_url: Mapped[str | None]
    created_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]


class Entitlement(Identified, TenantOwned, Table):
    """A buyer's right to a listing's versions under the licence of the day."""

    __tablename__ = "entitlements"
    __table_args__ = (UniqueConstraint("tenant_id", "listing_id"),)

    listing_id: Mapped[UUID] = mapped_column(ForeignKey("listings.id"))
    purchase_id: Mapped[UUID] = mapped_column(ForeignKey("purchases.id"), unique=True)
    licence: Mapped[str]
    granted_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Sale(Identified, TenantOwned, Table):
    """The seller's side of a purchase: what it brought in."""

    __tablename__ = "sales"
    __table_args__ = (Index(None, "tenant_id", "id"),)

    purchase_id: Mapped[UUID] = mapped_column(unique=True)
    listing_id: Mapped[UUID] = mapped_column(ForeignKey("listings.id"))
    gross: Mapped[int]
    fee: Mapped[int]
    net: Mapped[int]
    currency: Mapped[str]
    created_at: Mapped[datetime]
