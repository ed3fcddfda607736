"""Stripe's webhooks: verified, kept, answered. What they mean is a task's business, so that the answer is quick.

Stripe delivers an event more than once and in any order. The event's id is a primary key, so it is kept and enqueued
once; what a handler does, it derives from the object as Stripe has it now, not from the event.
"""

from sqlalchemy.dialects.postgresql import insert
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tunery.billing.models import StripeEvent
from tunery.billing.stripe_gateway import InvalidSignature, StripeGateway, VerifiedEvent
from tunery.billing.tasks import APPLY_STRIPE_EVENT
from tunery.core.database import Database
from tunery.core.outbox import enqueue
from tunery.core.services import Services

LARGEST_EVENT = 1024 * 1024
"""In bytes; Stripe's own events stay below 256 KiB. Read before anything is verified, so it has to be small."""


def routes(services: Services) -> list[Route]:
    """`POST /webhooks/stripe`: 200 when the event is kept, 400 when Stripe did not sign it."""

    async def receive(request: Request) -> Response:
        payload = await _read(request)
        if payload is None:
            return JSONResponse({"error": "an event is smaller than this"}, 413)
        try:
            event = services.get(StripeGateway).verify_event(payload, request.headers.get("stripe-signature", ""))
        except InvalidSignature as error:
            return JSONResponse({"error": error.message}, 400)
        await keep_event(services.get(Database), event)
        return JSONResponse({"received": True})

    return [Route("/webhooks/stripe", receive, methods=["POST"])]


async def keep_event(database: Database, event: VerifiedEvent) -> bool:
    """Keep the event and enqueue its application in one transaction; False when it was here already."""
    async with database.dispatch() as uow:
        row = insert(StripeEvent).values(
            id=event.id, type=event.type, payload=event.payload, received_at=uow.now(), handled_at=None
        )
        is_new = (await uow.session.execute(row.on_conflict_do_nothing().returning(StripeEvent.id))).first() is not None
        if is_new:
            enqueue(uow, APPLY_STRIPE_EVENT, event_id=event.id)
        return is_new


async def _read(request: Request) -> bytes | None:
    """The raw body, None when it is too large."""
    payload = bytearray()
    async for chunk in request.stream():
        payload += chunk
        if len(payload) > LARGEST_EVENT:
            return None
    return bytes(payload)
