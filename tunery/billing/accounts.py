"""The ledger and the balances: every change of a balance is one entry, written with it."""

from decimal import Decimal

from sqlalchemy import select, update

from tunery.billing.models import Account, LedgerEntry
from tunery.core.database import UnitOfWork
from tunery.core.money import CURRENCY


async def credit(uow: UnitOfWork, *, account: str, kind: str, source: str, amount: Decimal) -> None:
    """Add to a balance. A second entry of the same account, kind and source is refused by the database."""
    _write(uow, account=account, kind=kind, source=source, amount=amount)
    await uow.session.execute(
        update(Account)
        .where(Account.kind == account)
        .values(balance=Account.balance + amount)
        .execution_options(synchronize_session=False)
    )


async def debit_reserved(uow: UnitOfWork, *, kind: str, source: str, amount: Decimal) -> None:
    """Take from credit what a reservation holds there."""
    _write(uow, account="credit", kind=kind, source=source, amount=-amount)
    await uow.session.execute(
        update(Account)
        .where(Account.kind == "credit")
        .values(balance=Account.balance - amount, reserved=Account.reserved - amount)
        .execution_options(synchronize_session=False)
    )


async def balances(uow: UnitOfWork) -> dict[str, Account]:
    """The tenant's accounts by kind."""
    rows = await uow.session.scalars(select(Account).execution_options(populate_existing=True))
    return {row.kind: row for row in rows}


def _write(uow: UnitOfWork, *, account: str, kind: str, source: str, amount: Decimal) -> None:
    entry = LedgerEntry(
        account=account, kind=kind, source=source, amount=amount, currency=CURRENCY, created_at=uow.now()
    )
    uow.session.add(entry)
