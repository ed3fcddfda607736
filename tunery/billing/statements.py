"""What a tenant used and what it comes to: usage by meter, and the invoice that this month would give today."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import func, select

from tunery.billing.models import LedgerEntry, UsageEvent
from tunery.core.database import UnitOfWork


@dataclass(frozen=True)
class UsageLine:
    """One meter of one base model at one price."""

    meter: str
    base_model: str
    unit_price: Decimal
    quantity: int
    amount: Decimal


@dataclass(frozen=True)
class Statement:
    """A calendar month in UTC, up to now."""

    starts_at: datetime
    ends_at: datetime
    lines: list[UsageLine]

    @property
    def total(self) -> Decimal:
        return sum((line.amount for line in self.lines), Decimal(0))


async def current_statement(uow: UnitOfWork) -> Statement:
    """The running month's usage, exact; rounding to cents is the invoice's business."""
    now = uow.now().astimezone(UTC)
    start = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    keys = (UsageEvent.meter, UsageEvent.base_model, UsageEvent.unit_price)
    rows = await uow.session.execute(
        select(*keys, func.sum(UsageEvent.quantity), func.sum(UsageEvent.amount))
        .where(UsageEvent.occurred_at >= start, UsageEvent.occurred_at <= now)
        .group_by(*keys)
        .order_by(*keys)
    )
    return Statement(start, now, [UsageLine(m, b, p, int(q), a) for m, b, p, q, a in rows])


async def credit_applied(uow: UnitOfWork, statement: Statement) -> Decimal:
    """What the ledger took from credit for usage in the statement's period."""
    taken = select(func.coalesce(func.sum(-LedgerEntry.amount), 0)).where(
        LedgerEntry.account == "credit",
        LedgerEntry.kind == "usage",
        LedgerEntry.created_at >= statement.starts_at,
        LedgerEntry.created_at <= statement.ends_at,
    )
    return await uow.session.scalar(taken) or Decimal(0)
