"""What happens in a job, as a numbered list that grows: status changes, metrics, checkpoints."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from sqlalchemy import func, select

from tunery.core.database import Database, UnitOfWork
from tunery.training.models import TrainingEvent, TrainingJob

FINAL_KINDS = frozenset({"succeeded", "failed", "cancelled"})
POLL_SECONDS = 0.3


async def record_event(uow: UnitOfWork, job: TrainingJob, kind: str, data: dict[str, Any]) -> None:
    """Append an event. The caller holds the job's row lock, which orders the numbers."""
    last = await uow.session.scalar(select(func.max(TrainingEvent.sequence)).where(TrainingEvent.job_id == job.id))
    event = TrainingEvent(job_id=job.id, sequence=(last or 0) + 1, kind=kind, data=data, created_at=uow.now())
    uow.session.add(event)
    await uow.session.flush()


async def list_events(uow: UnitOfWork, job_id: UUID, after: int = 0) -> list[TrainingEvent]:
    events = select(TrainingEvent).where(TrainingEvent.job_id == job_id, TrainingEvent.sequence > after)
    return list(await uow.session.scalars(events.order_by(TrainingEvent.sequence)))


async def follow_events(
    database: Database, tenant_id: UUID, job_id: UUID, after: int = 0
) -> AsyncIterator[TrainingEvent]:
    """Events as they happen, from number `after` + 1 on, until the job has ended. Nothing is missed or repeated."""
    while True:
        # One snapshot: a job that ends between the two reads must not seem to have ended without its last event.
        async with database.unit_of_work(tenant_id, snapshot=True) as uow:
            events = await list_events(uow, job_id, after)
            ended = (await uow.session.get_one(TrainingJob, job_id)).status in FINAL_KINDS
        for event in events:
            yield event
            after = event.sequence
            if event.kind in FINAL_KINDS:
                return
        if ended:  # and `after` is beyond its last event
            return
        if not events:
            await asyncio.sleep(POLL_SECONDS)
