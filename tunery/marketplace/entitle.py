"""What a paid checkout gives: the buyer its entitlement, the seller its sale.

Handlers of Stripe's events. They believe the session as Stripe has it now, and only if it is the one we opened for
that purchase, over that amount. Each is safe to run twice, at once, late and out of order.
"""

from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from tunery.billing.stripe_gateway import CheckoutSession, StripeGateway
from tunery.billing.tasks import StripeEventHandler
from tunery.core import ids
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import NotFound
from tunery.core.logs import get_logger
from tunery.core.outbox import enqueue
from tunery.core.services import Services
from tunery.marketplace.models import Entitlement, Purchase

RECORD_SALE = "marketplace.record_sale"

log = get_logger(__name__)


async def on_checkout_completed(services: Services, session_id: str) -> None:
    """Mark the purchase paid, grant its entitlement and have the sale recorded, if the session was really paid."""
    session = await services.get(StripeGateway).retrieve_checkout_session(session_id)
    ordered = _ordered_by(session)
    if session.payment_status != "paid" or ordered is None:
        return
    buyer_id, purchase_id = ordered
    async with services.get(Database).unit_of_work(buyer_id) as uow:
        purchase = await _lock(uow, purchase_id, session)
        if purchase is None or purchase.status == "paid":
            return
        if (session.amount_total, session.currency) != (purchase.price, purchase.currency):
            log.error("a checkout was paid with another amount", session=session.id, amount=session.amount_total)
            return
        purchase.status, purchase.paid_at = "paid", uow.now()
        purchase.checkout_session_id = session.id
        if await _grant(uow, purchase):
            enqueue(uow, RECORD_SALE, purchase_id=str(purchase.id), buyer_id=str(buyer_id))
        else:  # nobody earns on it: the operator gives it back
            log.error("a listing was paid twice by one tenant: refund", session=session.id)


async def on_checkout_expired(services: Services, session_id: str) -> None:
    """Close a purchase whose session can't be paid any more: it ran out, or a delayed payment failed."""
    session = await services.get(StripeGateway).retrieve_checkout_session(session_id)
    ordered = _ordered_by(session)
    if session.payment_status == "paid" or session.status == "open" or ordered is None:
        return
    buyer_id, purchase_id = ordered
    async with services.get(Database).unit_of_work(buyer_id) as uow:
        purchase = await _lock(uow, purchase_id, session)
        if purchase is not None and purchase.status == "pending":
            purchase.status, purchase.checkout_session_id = "expired", session.id


STRIPE_HANDLERS: dict[str, StripeEventHandler] = {
    "checkout.session.completed": on_checkout_completed,
    "checkout.session.async_payment_succeeded": on_checkout_completed,
    "checkout.session.expired": on_checkout_expired,
    "checkout.session.async_payment_failed": on_checkout_expired,
}


def _ordered_by(session: CheckoutSession) -> tuple[UUID, UUID] | None:
    """The buyer and the purchase that the session was opened for; None for sessions that are not the marketplace's."""
    try:
        return (
            ids.decode("tenant", session.metadata.get("tenant_id", "")),
            ids.decode("purchase", session.metadata.get("purchase_id", "")),
        )
    except NotFound:
        return None


async def _lock(uow: UnitOfWork, purchase_id: UUID, session: CheckoutSession) -> Purchase | None:
    """The purchase, if this is its session. One without any adopts it: we may have died before storing its id."""
    purchase = await uow.session.scalar(
        select(Purchase)
        .where(
            Purchase.id == purchase_id,
            or_(Purchase.checkout_session_id.is_(None), Purchase.checkout_session_id == session.id),
        )
        .with_for_update()
    )
    if purchase is None:
        log.error("a checkout session fits no purchase", session=session.id, purchase=str(purchase_id))
    return purchase


async def _grant(uow: UnitOfWork, purchase: Purchase) -> bool:
    """The right to the listing, anew if it had been revoked; False when the buyer holds it already."""
    terms = {"purchase_id": purchase.id, "licence": purchase.licence, "granted_at": uow.now(), "revoked_at": None}
    granted = await uow.session.execute(
        insert(Entitlement)
        .values(listing_id=purchase.listing_id, **terms)
        .on_conflict_do_update(
            index_elements=["tenant_id", "listing_id"], set_=terms, where=Entitlement.revoked_at.is_not(None)
        )
        .returning(Entitlement.id)
    )
    return granted.first() is not None
