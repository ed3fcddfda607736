"""Tasks of the billing room. Each is safe to run twice."""

from collections.abc import Awaitable, Callable, Mapping

from tunery.billing.models import StripeEvent
from tunery.core.database import Database
from tunery.core.logs import get_logger
from tunery.core.outbox import Task
from tunery.core.services import Services

APPLY_STRIPE_EVENT = "billing.apply_stripe_event"

StripeEventHandler = Callable[[Services, str], Awaitable[None]]
"""`async def handler(services, object_id)`: fetches the object from Stripe and makes the database agree with it. Events
come twice, late and in any order, also two at a time: a handler locks what it changes and looks before it does.
"""

log = get_logger(__name__)


class StripeEventHandlers:
    """Who handles which type of event; the application fills it with the handlers of the rooms."""

    def __init__(self, handlers: Mapping[str, StripeEventHandler]) -> None:
        self._handlers = dict(handlers)

    def find(self, event_type: str) -> StripeEventHandler | None:
        return self._handlers.get(event_type)


async def apply_stripe_event(services: Services, event_id: str) -> None:
    """Let the event's handler do its work, once it has succeeded never again.

    The row is not locked meanwhile, because handlers call Stripe: two runs at once are the handlers' own affair.
    """
    database = services.get(Database)
    async with database.dispatch() as uow:
        event = await uow.session.get(StripeEvent, event_id)
    if event is None or event.handled_at is not None:
        return
    handler = services.get(StripeEventHandlers).find(event.type)
    if handler is not None:
        await handler(services, event.payload["data"]["object"]["id"])
    async with database.dispatch() as uow:
        row = await uow.session.get_one(StripeEvent, event_id, with_for_update=True)
        row.handled_at = row.handled_at or uow.now()
    log.info("stripe event handled", event_id=event_id, type=event.type, known=handler is not None)


TASKS: dict[str, Task] = {APPLY_STRIPE_EVENT: apply_stripe_event}
