"""Reserve, settle, release: money is held before work starts and taken as it gets done.

The hold is one conditional UPDATE, so any number of concurrent requests admit exactly what the balance covers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import select, update

from tunery.billing.accounts import balances, credit, debit_reserved
from tunery.billing.models import Account, Reservation, UsageEvent
from tunery.core.database import UnitOfWork
from tunery.core.errors import InsufficientFunds
from tunery.core.money import CURRENCY, token_price


@dataclass(frozen=True)
class Usage:
    """So much of one meter at one price per million."""

    meter: str
    base_model: str
    quantity: int
    unit_price: Decimal

    @property
    def amount(self) -> Decimal:
        return token_price(self.quantity, self.unit_price)


async def reserve(uow: UnitOfWork, source: str, amount: Decimal, *, expires_at: datetime | None = None) -> Reservation:
    """Hold `amount` of the tenant's credit. Raises InsufficientFunds and holds nothing."""
    hold = (
        update(Account)
        .where(Account.kind == "credit", Account.balance - Account.reserved >= amount)
        .values(reserved=Account.reserved + amount)
        .returning(Account.kind)
        .execution_options(synchronize_session=False)
    )
    if (await uow.session.execute(hold)).first() is None:
        account = (await balances(uow))["credit"]
        available = account.balance - account.reserved
        raise InsufficientFunds(f"this needs ${amount:.6f} of credit, and ${available:.6f} is available")
    reservation = Reservation(
        source=source, amount=amount, currency=CURRENCY, created_at=uow.now(), expires_at=expires_at
    )
    uow.session.add(reservation)
    await uow.session.flush()
    return reservation


async def settle(uow: UnitOfWork, reservation_id: UUID, *, sequence: int, usage: Sequence[Usage]) -> None:
    """Turn a part of the hold into usage. A sequence that was settled before is refused by the database."""
    reservation = await _lock(uow, reservation_id)
    total = sum((part.amount for part in usage), Decimal(0))
    for part in usage:
        uow.session.add(
            UsageEvent(
                reservation_id=reservation.id,
                source=reservation.source,
                sequence=sequence,
                meter=part.meter,
                base_model=part.base_model,
                quantity=part.quantity,
                unit_price=part.unit_price,
                amount=part.amount,
                currency=CURRENCY,
                occurred_at=uow.now(),
            )
        )
    reservation.settled += total
    await debit_reserved(uow, kind="usage", source=f"{reservation.source}:{sequence}", amount=total)
    await uow.session.flush()


async def release(uow: UnitOfWork, reservation_id: UUID) -> None:
    """Give back what was held and not settled. Releasing twice changes nothing."""
    reservation = await _lock(uow, reservation_id)
    if reservation.closed_at is not None:
        return
    reservation.closed_at = uow.now()
    await uow.session.execute(
        update(Account)
        .where(Account.kind == "credit")
        .values(reserved=Account.reserved - (reservation.amount - reservation.settled))
        .execution_options(synchronize_session=False)
    )
    await uow.session.flush()


async def refund(uow: UnitOfWork, reservation_id: UUID) -> None:
    """Give back what was settled. The usage stays on record, and so does the refund."""
    reservation = await _lock(uow, reservation_id)
    if reservation.settled:
        await credit(uow, account="credit", kind="refund", source=reservation.source, amount=reservation.settled)


async def _lock(uow: UnitOfWork, reservation_id: UUID) -> Reservation:
    locked = select(Reservation).where(Reservation.id == reservation_id).with_for_update()
    return (await uow.session.scalars(locked.execution_options(populate_existing=True))).one()
