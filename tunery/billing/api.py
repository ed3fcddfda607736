"""Balances, usage and the invoice preview in GraphQL."""

from datetime import datetime
from decimal import Decimal
from typing import Self

import strawberry
from sqlalchemy import ColumnElement, and_, func, select

from tunery.billing import models, statements
from tunery.core.money import CURRENCY, Money
from tunery.graphql.context import Info
from tunery.graphql.planner.declare import Conditions, Row, column, one, operation, planned, root
from tunery.graphql.planner.mapping import On
from tunery.graphql.scalars import BigInt

READ = "billing:read"


def account_of_kind(kind: str) -> On:
    return lambda subscription, account: and_(account.tenant_id == subscription.tenant_id, account.kind == kind)


def all_credit_granted(subscription: Row) -> ColumnElement[Decimal]:
    entries = models.LedgerEntry
    granted = select(func.coalesce(func.sum(entries.amount), 0)).where(
        entries.tenant_id == subscription.tenant_id, entries.account == "credit", entries.amount > 0
    )
    return granted.scalar_subquery()


@planned(models.Account, description="Money of one kind. Exact decimals, in units of the currency.")
class Balance:
    balance: Decimal = column(description="All of it, what is reserved included.")
    reserved: Decimal = column(description="Held for work that was admitted and isn't done.")
    available: Decimal = column(lambda account: account.balance - account.reserved, description="What is not held.")
    currency: str = column(description="ISO 4217, in lower case.")


@planned(models.Subscription, description="An organisation's plan and its money.")
class BillingAccount:
    plan: str = column(description="free, so far.")
    credit: Balance = one(account_of_kind("credit"), description="Pays for usage.")
    earnings: Balance = one(account_of_kind("earnings"), description="From sales, awaiting payout.")
    credit_granted: Decimal = column(
        all_credit_granted, description="All credit ever put in, refunds included; less usage it is the balance."
    )


@strawberry.type(description="So much of one meter of one base model at one price.")
class UsageLine:
    meter: str = strawberry.field(description="trained_tokens, input_tokens or output_tokens.")
    base_model: str = strawberry.field(description="Its name.")
    quantity: BigInt = strawberry.field(description="In tokens.")
    unit_price: Decimal = strawberry.field(description="Per million tokens, in US dollars.")
    amount: Decimal = strawberry.field(description="In US dollars, exact.")

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
    period_start: datetime = strawberry.field(description="The month's first moment (UTC).")
    period_end: datetime = strawberry.field(description="The moment of this preview.")
    lines: list[UsageLine] = strawberry.field(description="What was used, by meter, base model and price.")
    subtotal: Decimal = strawberry.field(description="The lines' sum, exact.")
    credit_applied: Decimal = strawberry.field(description="Usage is taken from credit as it happens.")
    amount_due: int = strawberry.field(description="In minor units (cents).")
    currency: str = strawberry.field(description="ISO 4217, in lower case.")


@strawberry.type
class BillingQuery:
    @root(BillingAccount, access=READ, description="The organisation's plan and balances.")
    def billing_account(subscription: Row) -> Conditions:
        return ()

    @operation(access=READ, description="What was metered in the running calendar month (UTC).")
    async def usage(self, info: Info) -> list[UsageLine]:
        async with info.context.database.unit_of_work(info.context.caller.tenant_id) as uow:
            return [UsageLine.of(line) for line in (await statements.current_statement(uow)).lines]

    @operation(access=READ, description="The invoice that the running month would give today.")
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
