import asyncio
from decimal import Decimal
from typing import Any

import pytest
from market import Market, Sandbox
from sqlalchemy import select

from tunery.billing.models import StripeEvent
from tunery.billing.tasks import apply_stripe_event
from tunery.core import ids
from tunery.core.outbox import OutboxMessage
from tunery.marketplace.entitle import on_checkout_completed, on_checkout_expired
from tunery.marketplace.models import Entitlement
from tunery.marketplace.tasks import record_sale

NOTHING = (["pending"], 0, 0, Decimal(0))


async def test_duplicate_and_shuffled_webhooks_sell_once(
    market: Market, faultless: Sandbox, seller: Any, buyer: Any
) -> None:
    await faultless.faults(duplicate=True, shuffle=True)
    listings = [await market.publish(seller, await market.train(seller, f"tone-{n}"), price=999) for n in range(3)]
    purchases = [await market.order(buyer, listing) for listing in listings]
    sessions = [purchase.checkout_session_id for purchase in purchases]
    await asyncio.gather(*(market.sandbox.pay(session) for session in sessions))
    events = [await market.arrival("checkout.session.completed", session) for session in sessions]

    await asyncio.gather(*(apply_stripe_event(market.services, event) for event in events * 3))
    await market.run_tasks()
    await asyncio.gather(*(on_checkout_completed(market.services, session) for session in sessions * 3))
    sales = [(str(purchase.id), str(buyer.tenant_id)) for purchase in purchases]
    await asyncio.gather(*(record_sale(market.services, *sale) for sale in sales * 3))
    await market.run_tasks()

    assert await market.state(buyer, seller) == (["paid"] * 3, 3, 3, 3 * Decimal("8.99"))
    async with market.database.dispatch() as uow:
        handled = await uow.session.scalars(select(StripeEvent.handled_at).where(StripeEvent.id.in_(events)))
        assert all(handled.all())
        enqueued = select(OutboxMessage.id).where(
            OutboxMessage.task == "marketplace.record_sale", OutboxMessage.tenant_id == buyer.tenant_id
        )
        assert len((await uow.session.scalars(enqueued)).all()) == 3


async def test_unpaid_session_grants_nothing(market: Market, seller: Any, buyer: Any) -> None:
    purchase = await market.order(buyer, await market.publish(seller))

    await on_checkout_completed(market.services, purchase.checkout_session_id)
    await on_checkout_expired(market.services, purchase.checkout_session_id)  # it is open still
    await record_sale(market.services, str(purchase.id), str(buyer.tenant_id))
    await market.run_tasks()

    assert await market.state(buyer, seller) == NOTHING


@pytest.mark.parametrize("changed", [{"price": 1251}, {"price": 1249}, {"currency": "eur"}])
async def test_wrong_amount_grants_nothing(market: Market, seller: Any, buyer: Any, changed: dict[str, Any]) -> None:
    purchase = await market.order(buyer, await market.publish(seller, price=1250))
    await market.set_purchase(buyer, purchase.id, **changed)
    await market.sandbox.pay(purchase.checkout_session_id)
    await market.arrival("checkout.session.completed", purchase.checkout_session_id)

    await market.run_tasks()

    assert await market.state(buyer, seller) == NOTHING


async def test_session_of_somebody_else_grants_nothing(market: Market, seller: Any, buyer: Any) -> None:
    """Another session of the same Stripe account, however it names the purchase."""
    stranger = await market.sign_up("Stranger")
    listing = await market.publish(seller, price=1250)
    purchase = await market.order(buyer, listing)
    reference = ids.encode("purchase", purchase.id)
    named = [
        {"tenant_id": ids.encode("tenant", buyer.tenant_id), "purchase_id": reference},
        {"tenant_id": ids.encode("tenant", stranger.tenant_id), "purchase_id": reference},
        {"tenant_id": ids.encode("tenant", seller.tenant_id), "purchase_id": reference},
        {"tenant_id": str(buyer.tenant_id), "purchase_id": str(purchase.id)},
        {"tenant_id": "org_" + "z" * 32, "purchase_id": reference},
        {},
    ]
    for metadata in named:
        session = await market.sandbox.post(
            "/v1/checkout/sessions",
            mode="payment",
            success_url="https://a.example",
            **{
                "line_items[0][price_data][currency]": "usd",
                "line_items[0][price_data][unit_amount]": "1250",
                "line_items[0][price_data][product_data][name]": "Cheap",
                "line_items[0][quantity]": "1",
            },
            **{f"metadata[{name}]": value for name, value in metadata.items()},
        )
        await market.sandbox.pay(session["id"])
        await market.arrival("checkout.session.completed", session["id"])

    await market.run_tasks()

    assert await market.state(buyer, seller) == NOTHING
    assert await market.state(stranger, seller) == ([], 0, 0, Decimal(0))


async def test_expired_checkout_closes_the_purchase_and_another_may_follow(
    market: Market, seller: Any, buyer: Any
) -> None:
    listing = await market.publish(seller)
    first = await market.order(buyer, listing)
    await market.sandbox.post(f"/v1/checkout/sessions/{first.checkout_session_id}/expire")
    event = await market.arrival("checkout.session.expired", first.checkout_session_id)
    await market.run_tasks()
    await apply_stripe_event(market.services, event)
    assert await market.state(buyer, seller) == (["expired"], 0, 0, Decimal(0))

    second = await market.buy(buyer, listing)

    assert second.id != first.id
    await on_checkout_expired(market.services, second.checkout_session_id)  # late, and about a paid session
    assert await market.state(buyer, seller) == (["expired", "paid"], 1, 1, Decimal("11.25"))


async def test_payment_is_honoured_though_the_session_id_was_never_stored(
    market: Market, seller: Any, buyer: Any
) -> None:
    purchase = await market.order(buyer, await market.publish(seller))
    await market.set_purchase(buyer, purchase.id, checkout_session_id=None, checkout_url=None)
    await market.sandbox.pay(purchase.checkout_session_id)
    await market.arrival("checkout.session.completed", purchase.checkout_session_id)
    await on_checkout_expired(market.services, purchase.checkout_session_id)
    assert await market.state(buyer, seller) == NOTHING

    await market.run_tasks()

    assert await market.state(buyer, seller) == (["paid"], 1, 1, Decimal("11.25"))


async def test_revoked_entitlement_stays_revoked_until_it_is_bought_anew(
    market: Market, seller: Any, buyer: Any
) -> None:
    listing = await market.publish(seller, licence="mit")
    first = await market.buy(buyer, listing)
    async with market.database.unit_of_work(buyer.tenant_id) as uow:
        (await uow.session.scalars(select(Entitlement))).one().revoked_at = uow.now()

    await on_checkout_completed(market.services, first.checkout_session_id)
    assert await market.state(buyer, seller) == (["paid"], 0, 1, Decimal("11.25"))

    second = await market.buy(buyer, listing)

    assert await market.state(buyer, seller) == (["paid", "paid"], 1, 2, Decimal("22.50"))
    [entitlement] = await market.rows(buyer, Entitlement)
    assert entitlement.purchase_id == second.id


async def test_purchase_outlives_the_listing_and_keeps_the_terms_of_its_day(
    market: Market, seller: Any, buyer: Any
) -> None:
    version = await market.train(seller)
    listing = await market.publish(seller, version, price=1250, licence="mit")
    purchase = await market.order(buyer, listing)
    await market.publish(seller, version, price=5000, licence="proprietary")

    await market.sandbox.pay(purchase.checkout_session_id)
    await market.arrival("checkout.session.completed", purchase.checkout_session_id)
    await market.run_tasks()

    assert await market.state(buyer, seller) == (["paid"], 1, 1, Decimal("11.25"))
    [entitlement] = await market.rows(buyer, Entitlement)
    assert entitlement.licence == "mit"
