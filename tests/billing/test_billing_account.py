"""Balances as the API shows them."""

from decimal import Decimal

from tunery.billing.accounts import credit
from tunery.billing.reservations import reserve
from tunery.core.database import Database
from tunery.core.services import Services

ACCOUNT = """{ billingAccount { plan creditGranted
    credit { balance reserved available currency } earnings { balance reserved available currency } } }"""


async def test_an_account_shows_what_is_there_what_is_held_and_what_was_granted(api, services: Services, sign_up):
    tenant, stranger = await sign_up(), await sign_up()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await reserve(uow, "a job", Decimal("1.25"))
        await credit(uow, account="credit", kind="grant", source="more", amount=Decimal("0.000000000001"))
        await credit(uow, account="earnings", kind="sale", source="a sale", amount=Decimal(7))
    answer = await api.graphql(ACCOUNT, tenant)
    assert answer["data"]["billingAccount"] == {
        "plan": "free",
        "creditGranted": "5.000000000001",
        "credit": {
            "balance": "5.000000000001",
            "reserved": "1.25",
            "available": "3.750000000001",
            "currency": "usd",
        },
        "earnings": {"balance": "7", "reserved": "0", "available": "7", "currency": "usd"},
    }
    other = (await api.graphql(ACCOUNT, stranger))["data"]["billingAccount"]
    assert (other["creditGranted"], other["credit"]["reserved"], other["earnings"]["balance"]) == ("5", "0", "0")


async def test_the_account_is_the_same_by_plan_and_by_graphql_core(api, sign_up):
    """`usage` is a hand-written root, so graphql-core reads all of the second one."""
    tenant = await sign_up()
    planned = await api.graphql(ACCOUNT, tenant)
    mixed = await api.graphql(ACCOUNT.removesuffix("}") + "usage { meter } }", tenant)
    assert mixed["data"] == planned["data"] | {"usage": []}
