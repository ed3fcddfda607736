import asyncio
import uuid
from decimal import Decimal
from typing import Any

import pytest
from market import Market, Sandbox

from tunery.billing.stripe_gateway import StripeGateway
from tunery.core import ids
from tunery.core.errors import Conflict, DomainError, InvalidInput, NotFound, Unavailable
from tunery.core.services import Services
from tunery.marketplace.models import Entitlement, Purchase, Sale
from tunery.marketplace.publish import withdraw_listing
from tunery.marketplace.purchase import AlreadyOwned, OwnListing, platform_fee, purchase_listing


async def sessions_of(market: Market, purchase: Purchase) -> list[dict[str, Any]]:
    reference = ids.encode("purchase", purchase.id)
    return [each for each in await market.sandbox.sessions() if each["client_reference_id"] == reference]


async def test_paid_purchase_entitles_the_buyer_and_credits_the_seller(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller, price=1250, licence="mit")

    purchase = await market.order(buyer, listing)

    assert (purchase.status, purchase.price, purchase.fee, purchase.currency) == ("pending", 1250, 125, "usd")
    assert purchase.checkout_url == f"{market.sandbox.url}/c/pay/{purchase.checkout_session_id}"
    [session] = await sessions_of(market, purchase)
    assert (session["mode"], session["amount_total"], session["currency"]) == ("payment", 1250, "usd")
    assert session["metadata"] == {
        "tenant_id": ids.encode("tenant", buyer.tenant_id),
        "purchase_id": ids.encode("purchase", purchase.id),
    }
    assert await market.state(buyer, seller) == (["pending"], 0, 0, Decimal(0))

    await market.sandbox.pay(purchase.checkout_session_id)
    await market.arrival("checkout.session.completed", purchase.checkout_session_id)
    await market.run_tasks()

    assert await market.state(buyer, seller) == (["paid"], 1, 1, Decimal("11.25"))
    [entitlement], [sale] = await market.rows(buyer, Entitlement), await market.rows(seller, Sale)
    assert (entitlement.licence, entitlement.purchase_id) == ("mit", purchase.id)
    assert (sale.gross, sale.fee, sale.net, sale.purchase_id) == (1250, 125, 1125, purchase.id)


@pytest.mark.parametrize(("price", "fee"), [(50, 5), (55, 6), (65, 6), (99, 10), (1_000_000, 100_000)])
def test_fee_is_a_tenth_rounded_half_to_even(price: int, fee: int) -> None:
    assert platform_fee(price) == fee


async def test_twenty_requests_with_one_key_are_one_purchase(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller)

    purchases = await asyncio.gather(*(market.order(buyer, listing, "the-key") for _ in range(20)))

    assert len({(each.id, each.checkout_session_id, each.checkout_url) for each in purchases}) == 1
    assert await market.count(buyer, Purchase) == 1
    assert len(await sessions_of(market, purchases[0])) == 1


async def test_key_of_another_request_is_refused(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller)
    other = await market.publish(seller, await market.train(seller, "other"))
    first = await market.order(buyer, listing, "the-key")

    with pytest.raises(Conflict):
        await market.order(buyer, other, "the-key")
    with pytest.raises(Conflict):
        await market.order(buyer, listing, "the-key", success_url="https://elsewhere.example")

    assert [each.id for each in await market.rows(buyer, Purchase)] == [first.id]


async def test_same_key_of_two_tenants_are_two_purchases(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller)
    other = await market.sign_up("Other")
    one, two = await market.order(buyer, listing, "the-key"), await market.order(other, listing, "the-key")
    assert one.id != two.id
    assert one.checkout_session_id != two.checkout_session_id


async def test_pressing_back_leads_to_the_page_that_is_open_already(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller, price=1000)
    first = await market.order(buyer, listing)
    assert (await market.order(buyer, listing)).id == first.id

    await market.publish(seller, await market.train(seller, number=2), price=900)
    cheaper = await market.order(buyer, listing)

    assert cheaper.id != first.id
    assert (cheaper.price, cheaper.fee) == (900, 90)


async def test_stripe_failing_leaves_an_order_that_the_same_key_completes(
    market: Market, faultless: Sandbox, seller: Any, buyer: Any
) -> None:
    listing = await market.publish(seller)
    await faultless.faults(fail_next=[{"path": "/v1/checkout/sessions", "status": 429}])

    with pytest.raises(Unavailable):
        await market.order(buyer, listing, "the-key")

    [pending] = await market.rows(buyer, Purchase)
    assert (pending.status, pending.checkout_session_id) == ("pending", None)
    assert await sessions_of(market, pending) == []

    completed = await market.order(buyer, listing, "the-key")

    assert completed.id == pending.id
    assert [each["id"] for each in await sessions_of(market, pending)] == [completed.checkout_session_id]


async def test_crash_after_stripe_answered_repeats_into_the_same_session(
    market: Market, seller: Any, buyer: Any
) -> None:
    class Crash(Exception):
        pass

    class CrashingGateway:
        async def create_checkout_session(self, **arguments: Any) -> None:
            await market.services.get(StripeGateway).create_checkout_session(**arguments)
            raise Crash

    version = await market.train(seller)
    listing = await market.publish(seller, version)
    parts = Services()
    parts.add(type(market.database), market.database)
    parts.add(StripeGateway, CrashingGateway())
    arguments = {"listing_id": listing.id, "idempotency_key": "the-key", "success_url": "https://a.example"}
    with pytest.raises(Crash):
        await purchase_listing(parts, buyer.identity, **arguments, cancel_url="https://b.example")
    [pending] = await market.rows(buyer, Purchase)
    assert pending.checkout_session_id is None
    [session] = await sessions_of(market, pending)
    # What the seller edits meanwhile must not change what Stripe is asked a second time.
    await market.publish(seller, version, title="Another title", price=999, licence="mit")

    repeated = await purchase_listing(market.services, buyer.identity, **arguments, cancel_url="https://b.example")

    assert (repeated.id, repeated.checkout_session_id) == (pending.id, session["id"])
    assert len(await sessions_of(market, pending)) == 1


async def test_what_cannot_be_bought_is_not_ordered(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller)
    with pytest.raises(OwnListing):
        await market.order(seller, listing)
    assert await market.count(seller, Purchase) == 0

    await market.buy(buyer, listing)
    with pytest.raises(AlreadyOwned) as owned:
        await market.order(buyer, listing)
    assert (owned.value.error_code, owned.value.field) == ("ALREADY_OWNED", "listingId")
    assert await market.count(buyer, Purchase) == 1

    async with market.database.unit_of_work(seller.tenant_id) as uow:
        await withdraw_listing(uow, listing.id)
    late = await market.sign_up("Late")
    for tenant in (late, buyer, seller):
        with pytest.raises(NotFound):
            await market.order(tenant, listing)
    listing.id = uuid.uuid4()
    with pytest.raises(NotFound):
        await market.order(late, listing)
    assert await market.count(late, Purchase) == await market.count(seller, Purchase) == 0


@pytest.mark.parametrize(
    "urls",
    [
        {"success_url": "javascript:alert(1)"},
        {"cancel_url": "/relative"},
        {"success_url": "https://"},
        {"cancel_url": "https://[bad"},
        {"success_url": "https://a.example/" + "x" * 2_000},
    ],
)
async def test_return_addresses_are_web_addresses(
    market: Market, seller: Any, buyer: Any, urls: dict[str, str]
) -> None:
    listing = await market.publish(seller)
    with pytest.raises(InvalidInput) as refused:
        await market.order(buyer, listing, **urls)
    assert refused.value.field in {"successUrl", "cancelUrl"}
    assert await market.count(buyer, Purchase) == 0


async def test_stripe_refusing_the_key_is_no_fault_of_the_buyer(market: Market, seller: Any, buyer: Any) -> None:
    listing = await market.publish(seller)
    wrong = StripeGateway("sk_test_wrong", market.sandbox.url, "whsec_any")
    parts = Services()
    parts.add(type(market.database), market.database)
    parts.add(StripeGateway, wrong)
    try:
        with pytest.raises(DomainError) as refused:
            await purchase_listing(
                parts,
                buyer.identity,
                listing_id=listing.id,
                idempotency_key="the-key",
                success_url="https://a.example",
                cancel_url="https://b.example",
            )
    finally:
        await wrong.close()
    assert isinstance(refused.value, Unavailable)
    assert "sk_test" not in refused.value.message
