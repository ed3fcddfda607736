import asyncio
import uuid
from decimal import Decimal

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from tunery.billing.accounts import balances
from tunery.billing.models import LedgerEntry, Reservation, UsageEvent
from tunery.billing.reservations import Usage, release, reserve, settle
from tunery.billing.statements import credit_applied, current_statement
from tunery.core.database import Database
from tunery.core.errors import InsufficientFunds
from tunery.core.services import Services

PRICE = Decimal("0.40")


async def credit_of(services: Services, tenant_id: uuid.UUID) -> tuple[Decimal, Decimal]:
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        account = (await balances(uow))["credit"]
        entries = await uow.session.scalar(select(func.sum(LedgerEntry.amount)).where(LedgerEntry.account == "credit"))
        assert account.balance == entries, "the balance is the ledger's sum"
        return account.balance, account.reserved


async def test_reserve_settle_release(services: Services, sign_up):
    tenant = await sign_up()
    database = services.get(Database)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        reservation = await reserve(uow, "job:1", Decimal("1.5"))
    assert await credit_of(services, tenant.tenant_id) == (Decimal(5), Decimal("1.5"))
    for sequence, tokens in ((1, 1_000_000), (2, 12_345)):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            await settle(uow, reservation.id, sequence=sequence, usage=[Usage("trained_tokens", "b", tokens, PRICE)])
    spent = PRICE * 1_012_345 / 1_000_000
    assert await credit_of(services, tenant.tenant_id) == (5 - spent, Decimal("1.5") - spent)
    for _ in range(2):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            await release(uow, reservation.id)
    assert await credit_of(services, tenant.tenant_id) == (5 - spent, 0)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        statement = await current_statement(uow)
        assert [(line.quantity, line.amount) for line in statement.lines] == [(1_012_345, spent)]
        assert await credit_applied(uow, statement) == statement.total == spent


async def test_a_sequence_is_settled_once(services: Services, sign_up):
    tenant = await sign_up()
    database = services.get(Database)
    source = f"job:{uuid.uuid4()}"
    async with database.unit_of_work(tenant.tenant_id) as uow:
        reservation = await reserve(uow, source, Decimal(1))
        await settle(uow, reservation.id, sequence=1, usage=[Usage("trained_tokens", "b", 1000, PRICE)])
    before = await credit_of(services, tenant.tenant_id)
    with pytest.raises(IntegrityError):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            await settle(uow, reservation.id, sequence=1, usage=[Usage("trained_tokens", "b", 1000, PRICE)])
    assert await credit_of(services, tenant.tenant_id) == before


async def test_no_more_is_settled_than_was_reserved(services: Services, sign_up):
    tenant = await sign_up()
    database = services.get(Database)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        reservation = await reserve(uow, "job:1", Decimal("0.1"))
    before = await credit_of(services, tenant.tenant_id)
    with pytest.raises(IntegrityError, match="settled_within_amount"):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            await settle(uow, reservation.id, sequence=1, usage=[Usage("trained_tokens", "b", 10**6, PRICE)])
    assert await credit_of(services, tenant.tenant_id) == before
    async with database.unit_of_work(tenant.tenant_id) as uow:
        assert await uow.session.scalar(select(func.count()).select_from(UsageEvent)) == 0


async def test_concurrent_reservations_admit_exactly_what_the_balance_covers(services: Services, sign_up):
    tenant = await sign_up()
    database = services.get(Database)

    async def attempt(number: int) -> bool:
        try:
            async with database.unit_of_work(tenant.tenant_id) as uow:
                await reserve(uow, f"chat:{number}", Decimal("0.5"))
        except InsufficientFunds:
            return False
        return True

    admitted = await asyncio.gather(*(attempt(number) for number in range(60)))
    assert sum(admitted) == 10
    assert await credit_of(services, tenant.tenant_id) == (5, 5)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        assert await uow.session.scalar(select(func.count()).select_from(Reservation)) == 10
