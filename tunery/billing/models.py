"""Append-only facts (ledger, usage) and the two running numbers that are derived from them (accounts, reservations)."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import CURRENT_TENANT, Identified, Table, TenantOwned


class Subscription(Table):
    """Which plan a tenant is on."""

    __tablename__ = "subscriptions"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text(CURRENT_TENANT))
    plan: Mapped[str]
    started_at: Mapped[datetime]


class Account(Table):
    """A tenant's balance of one kind: `credit` pays for usage, `earnings` await payout."""

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint("reserved >= 0 AND reserved <= balance", name="reserved_is_covered"),
        CheckConstraint("kind IN ('credit', 'earnings')", name="kind"),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text(CURRENT_TENANT))
    kind: Mapped[str] = mapped_column(primary_key=True)
    currency: Mapped[str]
    balance: Mapped[Decimal] = mapped_column(default=Decimal(0))
    reserved: Mapped[Decimal] = mapped_column(default=Decimal(0))


class LedgerEntry(Identified, TenantOwned, Table):
    """One change of one account. Never updated, never deleted; the balance is the sum."""

    __tablename__ = "ledger_entries"
    __table_args__ = (UniqueConstraint("tenant_id", "account", "kind", "source"),)

    account: Mapped[str]
    kind: Mapped[str]
    source: Mapped[str]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    created_at: Mapped[datetime]


class Reservation(Identified, TenantOwned, Table):
    """A hold on credit, for work that has been admitted but not yet done."""

    __tablename__ = "reservations"
    __table_args__ = (
        UniqueConstraint("tenant_id", "source"),
        CheckConstraint("settled >= 0 AND settled <= amount", name="settled_within_amount"),
        Index("ix_reservations_open", "expires_at", postgresql_where=text("closed_at IS NULL")),
    )

    source: Mapped[str]
    amount: Mapped[Decimal]
    settled: Mapped[Decimal] = mapped_column(default=Decimal(0))
    currency: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class UsageEvent(Identified, TenantOwned, Table):
    """So much of one meter, once: the key (source, sequence, meter) refuses a second copy."""

    __tablename__ = "usage_events"
    __table_args__ = (
        UniqueConstraint("source", "sequence", "meter"),
        Index("ix_usage_events_tenant_id_occurred_at", "tenant_id", "occurred_at"),
    )

    reservation_id: Mapped[UUID] = mapped_column(ForeignKey("reservations.id"))
    source: Mapped[str]
    sequence: Mapped[int]
    meter: Mapped[str]
    base_model: Mapped[str]
    quantity: Mapped[int]
    unit_price: Mapped[Decimal]
    amount: Mapped[Decimal]
    currency: Mapped[str]
    occurred_at: Mapped[datetime]


class StripeEvent(Table):
    """An inbound webhook, kept as it came. Global: seen by the dispatcher role alone."""

    __tablename__ = "stripe_events"

    id: Mapped[str] = mapped_column(primary_key=True)
    type: Mapped[str]
    payload: Mapped[dict[str, Any]]
    received_at: Mapped[datetime]
    handled_at: Mapped[datetime | None]
