"""Buying a listing: an order of ours and a checkout page of Stripe's.

The order is committed before Stripe is called, and what Stripe answers is stored after it: no transaction is open over
the network. A crash between the two leaves an order without a page; repeating the request with its key completes it.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import select

from tunery.billing.stripe_gateway import CheckoutSession, StripeGateway
from tunery.core import ids
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import Conflict, InvalidInput, NotFound
from tunery.core.idempotency import once
from tunery.core.identity import Identity
from tunery.core.services import Services
from tunery.marketplace.models import Entitlement, Listing, Purchase, Seller

PLATFORM_FEE: Final = Decimal("0.10")
"""The platform's part of a price."""

CHECKOUT_LASTS: Final = timedelta(hours=24)
"""How long Stripe lets a checkout page be paid."""

LONGEST_URL = 2_000


class AlreadyOwned(Conflict):
    code = "ALREADY_OWNED"


class OwnListing(Conflict):
    code = "OWN_LISTING"


@dataclass(frozen=True)
class _Order:
    purchase: Purchase
    product_name: str


def platform_fee(price: int) -> int:
    """In whole minor units, half to even."""
    return int((price * PLATFORM_FEE).to_integral_value(ROUND_HALF_EVEN))


async def purchase_listing(
    services: Services, identity: Identity, *, listing_id: UUID, idempotency_key: str, success_url: str, cancel_url: str
) -> Purchase:
    """Order the listing and open its checkout page, at `checkout_url`; Stripe's webhook grants what is paid there.

    A second order of the same listing on the same terms, while the first can still be paid, is that first one: nobody
    pays twice for having pressed "back". Raises NotFound, AlreadyOwned, OwnListing, InvalidInput, Unavailable, and
    Conflict when the key was used for another request.
    """
    _check_url(success_url, "successUrl")
    _check_url(cancel_url, "cancelUrl")
    request = {"listing": listing_id, "success_url": success_url, "cancel_url": cancel_url}
    database = services.get(Database)
    async with database.unit_of_work(identity.tenant_id) as uow:
        purchase_id = await once(
            uow, idempotency_key, "purchaseListing", request, lambda: _order(uow, identity.tenant_id, listing_id)
        )
        order = await _load(uow, purchase_id)
    if order.purchase.checkout_session_id is not None:
        return order.purchase
    session = await _open_checkout(services.get(StripeGateway), order, success_url=success_url, cancel_url=cancel_url)
    async with database.unit_of_work(identity.tenant_id) as uow:
        purchase = await uow.session.get_one(Purchase, purchase_id, with_for_update=True)
        if purchase.checkout_session_id is None:
            purchase.checkout_session_id, purchase.checkout_url = session.id, session.url
        return purchase


async def _order(uow: UnitOfWork, buyer_id: UUID, listing_id: UUID) -> UUID:
    listing = await uow.session.get(Listing, listing_id)
    if listing is None or listing.status != "published":
        raise NotFound("listing", ids.encode("listing", listing_id), field="listingId")
    if listing.tenant_id == buyer_id:
        raise OwnListing("this listing is your own: you have its files already", field="listingId")
    held = select(Entitlement.id).where(Entitlement.listing_id == listing_id, Entitlement.revoked_at.is_(None))
    if await uow.session.scalar(held) is not None:
        raise AlreadyOwned("you have bought this listing already", field="listingId")
    payable = await uow.session.scalar(
        select(Purchase.id)
        .where(
            Purchase.listing_id == listing_id,
            Purchase.status == "pending",
            Purchase.checkout_session_id.is_not(None),
            Purchase.created_at > uow.now() - CHECKOUT_LASTS,
            Purchase.price == listing.price,
            Purchase.currency == listing.currency,
            Purchase.licence == listing.licence,
        )
        .order_by(Purchase.created_at.desc())
        .limit(1)
    )
    if payable is not None:
        return payable
    purchase = Purchase(
        listing_id=listing_id,
        seller_id=listing.tenant_id,
        price=listing.price,
        fee=platform_fee(listing.price),
        currency=listing.currency,
        licence=listing.licence,
        created_at=uow.now(),
    )
    uow.session.add(purchase)
    await uow.session.flush()
    return purchase.id


async def _load(uow: UnitOfWork, purchase_id: UUID) -> _Order:
    purchase, namespace, name = (
        await uow.session.execute(
            select(Purchase, Seller.namespace, Listing.name)
            .join(Seller, Seller.tenant_id == Purchase.seller_id)
            .join(Listing, Listing.id == Purchase.listing_id)
            .where(Purchase.id == purchase_id)
        )
    ).one()
    return _Order(purchase, f"{namespace}/{name}")


async def _open_checkout(
    gateway: StripeGateway, order: _Order, *, success_url: str, cancel_url: str
) -> CheckoutSession:
    """All arguments come from what can't change between two attempts, or Stripe would refuse the second one's key."""
    purchase = order.purchase
    reference = ids.encode("purchase", purchase.id)
    return await gateway.create_checkout_session(
        idempotency_key=f"purchase-{purchase.id}",
        reference=reference,
        product_name=order.product_name,
        product_description=f"LoRA adapter, licence {purchase.licence}",
        amount=purchase.price,
        currency=purchase.currency,
        metadata={"tenant_id": ids.encode("tenant", purchase.tenant_id), "purchase_id": reference},
        success_url=success_url,
        cancel_url=cancel_url,
    )


def _check_url(url: str, field: str) -> None:
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_web = False
    if not is_web or len(url) > LONGEST_URL or not url.isprintable():
        raise InvalidInput(f"give a web address, http(s)://…, of up to {LONGEST_URL:,} characters", field=field)
