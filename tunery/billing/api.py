"""Balances, usage and the invoice preview in GraphQL."""

from datetime import datetime
from decimal import Decimal
from typing import Self

import strawberry
from sqlalchemy import func, select

from tunery.billing import models, statements
from tunery.billing.accounts import balances
from tunery.core.money import CURRENCY, Money
from tunery.graphql.context import Info
from tunery.graphql.scalars import BigInt


@strawberry.type(description="Money of one kind. Exact decimals, in units of the currency.")
class Balance:
    balance: Decimal
    reserved: Decimal = strawberry.field(description="Held for work that was admitted and isn't done.")
    available: Decimal
    currency: str

    @classmethod
    def of(cls, row: models.Account) -> Self:
        available = row.balance - row.reserved
        return cls(balance=row.balance, reserved=row.reserved, available=available, currency=row.currency)


@strawberry.type
class BillingAccount:
    plan: str
    credit: Balance = strawberry.field(description="Pays for usage.")
    earnings: Balance = strawberry.field(description="From sales, awaiting payout.")
    credit_granted: Decimal = strawberry.field(description="All credit ever put in; less usage it is the balance.")


@strawberry.type(description="So much of one meter of one base model at one price.")
class UsageLine:
    meter: str = strawberry.field(description="trained_tokens, input_tokens or output_tokens.")
    base_model: str
    quantity: BigInt
    unit_price: Decimal = strawberry.field(description="Per million.")
    amount: Decimal = strawberry.field(description="Exact.")

    @classmethod
    def of(cls, line: statements.UsageLine) -> Self:
        return cls(
            meter=line.meter,
            base_model=line.base_model,
            quantity=BigInt(line.quantity),
            unit_price=line.unit_price,
            amount=line.amount,
        )


@strawberry.type(description="The invoice that the running month would give today.")
class InvoicePreview:
    period_start: datetime
    period_end: datetime
    lines: list[UsageLine]
    subtotal: Decimal = strawberry.field(description="The lines' sum, exact.")
    credit_applied: Decimal = strawberry.field(description="Usage is taken from credit as it happens.")
    amount_due: int = strawberry.field(description="In minor units (cents).")
    currency: str


@strawberry.type
class BillingQuery:
    @strawberry.field(description="The organisation's plan and balances.")
    async def billing_account(self, info: Info) -> BillingAccount:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id, snapshot=True) as uow:
            accounts = await balances(uow)
            plan = (await uow.session.scalars(select(models.Subscription))).one().plan
            entries = models.LedgerEntry
            granted = await uow.session.scalar(
                select(func.coalesce(func.sum(entries.amount), 0)).where(
                    entries.account == "credit", entries.amount > 0
                )
            )
            return BillingAccount(
                plan=plan,
                credit=Balance.of(accounts["credit"]),
                earnings=Balance.of(accounts["earnings"]),
                credit_granted=granted or Decimal(0),
            )

    @strawberry.field(description="What was metered in the running calendar month (UTC).")
    async def usage(self, info: Info) -> list[UsageLine]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            return [UsageLine.of(line) for line in (await statements.current_statement(uow)).lines]

    @strawberry.field(description="The invoice that the running month would give today.")
    async def invoice_preview(self, info: Info) -> InvoicePreview:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id, snapshot=True) as uow:
            statement = await statements.current_statement(uow)
            credit_applied = await statements.credit_applied(uow, statement)
            return InvoicePreview(
                period_start=statement.starts_at,
                period_end=statement.ends_at,
                lines=[UsageLine.of(line) for line in statement.lines],
                subtotal=statement.total,
                credit_applied=credit_applied,
                amount_due=Money(statement.total - credit_applied).minor_units,
                currency=CURRENCY,
            )
