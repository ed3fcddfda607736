"""What this room lets go of when its tenant is erased."""

from sqlalchemy import func, select

from tunery.billing.reservations import release
from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict
from tunery.core.outbox import enqueue
from tunery.tenants.erase import ERASED, TenantErased
from tunery.training.data_sets import DELETE_OBJECT
from tunery.training.job_events import record_event
from tunery.training.leases import drop_grants
from tunery.training.models import Checkpoint, DataSet, TrainingJob


async def on_tenant_erased(uow: UnitOfWork, event: TenantErased) -> None:
    """Data sets and checkpoints are lost with their keys. Data sets' objects go right after the commit, and so does
    what jobs wrote, by `marketplace.erase`, which knows what others may have bought.

    Raises Conflict while a job is unfinished, unless its keys are destroyed: its node would go on with those that it
    holds.
    """
    unfinished = select(TrainingJob).where(TrainingJob.status.in_(("queued", "running"))).with_for_update()
    for job in (await uow.session.scalars(unfinished)).all():
        if not event.keys_are_destroyed:
            raise Conflict("a training job is not finished: cancel it and wait for its end", field="confirm")
        job.status, job.finished_at, job.lease_expires_at = "cancelled", uow.now(), None
        await drop_grants(uow, job)
        await release(uow, job.reservation_id)
        await record_event(uow, job, "cancelled", {"trained_tokens": job.trained_tokens})
    for data_set in await uow.session.scalars(select(DataSet)):
        data_set.name, data_set.sha256 = ERASED, ""
        if data_set.deleted_at is None:
            data_set.data_key_id, data_set.deleted_at = None, uow.now()
            enqueue(uow, DELETE_OBJECT, path=data_set.object_path)
        event.ended["data_sets"] += 1
    event.ended["checkpoints"] += await uow.session.scalar(select(func.count()).select_from(Checkpoint)) or 0
