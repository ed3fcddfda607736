"""The plans, as data. One for now: free, without a card, with some credit to start on."""

from dataclasses import dataclass
from decimal import Decimal

from tunery.billing.accounts import credit
from tunery.billing.models import Account, Subscription
from tunery.core.database import UnitOfWork
from tunery.core.money import CURRENCY
from tunery.tenants.sign_up import TenantSignedUp


@dataclass(frozen=True)
class Plan:
    name: str
    starter_credit: Decimal
    """In US dollars, granted once."""


FREE = Plan(name="free", starter_credit=Decimal("5.00"))


async def start_free_plan(uow: UnitOfWork, event: TenantSignedUp) -> None:
    """Open the new tenant's accounts and grant the free plan's credit."""
    uow.session.add(Subscription(plan=FREE.name, started_at=event.tenant.created_at))
    uow.session.add_all([Account(kind=kind, currency=CURRENCY) for kind in ("credit", "earnings")])
    await uow.session.flush()
    await credit(uow, account="credit", kind="grant", source=f"plan:{FREE.name}", amount=FREE.starter_credit)
