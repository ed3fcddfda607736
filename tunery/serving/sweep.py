"""Gives back what a gateway that died held for its chats. Scheduled by the worker; safe to run at any time, twice."""

from typing import Final

from sqlalchemy import select

from tunery.billing.models import Reservation
from tunery.billing.reservations import release
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.serving.metering import SOURCE_PREFIX

BATCH: Final = 500


async def release_expired_reservations(services: Services) -> int:
    """Release the chat reservations that are past their time; how many were found. Nothing of them is billed: what was
    delivered is known to the gateway alone.
    """
    database = services.get(Database)
    async with database.dispatch() as uow:
        expired = (
            select(Reservation.tenant_id, Reservation.id)
            .where(
                Reservation.closed_at.is_(None),
                Reservation.expires_at <= uow.now(),
                Reservation.source.startswith(SOURCE_PREFIX),
            )
            .order_by(Reservation.expires_at)
            .limit(BATCH)
        )
        found = (await uow.session.execute(expired)).all()
    for tenant_id, reservation_id in found:
        async with database.unit_of_work(tenant_id) as uow:
            await release(uow, reservation_id)
    return len(found)
