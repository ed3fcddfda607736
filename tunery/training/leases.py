"""Leases: which node works on which job, and proof that it still may.

A lease carries a token that rises each time the job is leased. Every write of a node goes through `hold`, which locks
the job's row and refuses a stale token, so a node that was paused, cut off or declared dead changes nothing.
"""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, select

from tunery.billing.reservations import Usage, refund, release, settle
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import Conflict
from tunery.training.job_events import record_event
from tunery.training.models import AdapterVersion, BaseModel, Checkpoint, LeaseGrant, Quote, TrainingJob

MOST_LOST_LEASES = 10
"""A job that was lost with its node this often, without a checkpoint in between, brings its nodes down: it fails."""

TRAINED_TOKENS = "trained_tokens"


class LeaseLost(Conflict):
    """Another node has the job now, or it has ended. Stop, write nothing more."""

    code = "LEASE_LOST"


@dataclass(frozen=True)
class Lease:
    job_id: UUID
    tenant_id: UUID
    token: int
    lasts: timedelta


async def acquire_lease(database: Database, node: str, lasts: timedelta) -> Lease | None:
    """Take the oldest job that nobody holds; None when there is none."""
    async with database.dispatch() as uow:
        now = uow.now()
        free = (
            select(TrainingJob)
            .where(TrainingJob.status.in_(("queued", "running")))
            .where(TrainingJob.lease_expires_at.is_(None) | (TrainingJob.lease_expires_at <= now))
            .order_by(TrainingJob.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        job = await uow.session.scalar(free)
        if job is None:
            return None
        job.lost_leases += job.lease_node is not None
        job.lease_token += 1
        job.lease_node = node
        job.lease_expires_at = now + lasts
        await drop_grants(uow, job)
        return Lease(job.id, job.tenant_id, job.lease_token, lasts)


async def hold(uow: UnitOfWork, lease: Lease) -> TrainingJob:
    """Lock the job's row and renew the lease. Raises LeaseLost."""
    locked = select(TrainingJob).where(TrainingJob.id == lease.job_id).with_for_update()
    # A node doesn't even see those that have ended.
    job = (await uow.session.scalars(locked.execution_options(populate_existing=True))).one_or_none()
    if job is None or job.lease_token != lease.token or job.status not in ("queued", "running"):
        raise LeaseLost(f"lease {lease.token} of job {lease.job_id} is over")
    job.lease_expires_at = uow.now() + lease.lasts
    return job


async def is_hopeless(uow: UnitOfWork, lease: Lease) -> bool:
    """Whether too many nodes were lost over this job."""
    return (await hold(uow, lease)).lost_leases >= MOST_LOST_LEASES


async def hand_back(uow: UnitOfWork, lease: Lease, after: timedelta) -> None:
    """Let the job be leased again after that time: this node stops in good order, or misses something."""
    job = await hold(uow, lease)
    job.lease_node = None
    job.lease_expires_at = uow.now() + after
    await drop_grants(uow, job)


async def drop_grants(uow: UnitOfWork, job: TrainingJob) -> None:
    """Throw away what a lease was given, now that it is over. The caller holds the job's row lock."""
    given = (LeaseGrant.tenant_id == job.tenant_id, LeaseGrant.job_id == job.id)
    await uow.session.execute(delete(LeaseGrant).where(*given).execution_options(synchronize_session=False))


async def start(uow: UnitOfWork, lease: Lease, total_steps: int) -> None:
    """The node begins, or goes on after another one."""
    job = await hold(uow, lease)
    job.status = "running"
    job.started_at = job.started_at or uow.now()
    job.total_steps = total_steps
    await record_event(uow, job, "started", {"node": job.lease_node, "attempt": lease.token, "step": job.step})


async def record_progress(uow: UnitOfWork, lease: Lease, metrics: dict[str, float | int]) -> bool:
    """Append a metrics event; whether the tenant asked to cancel."""
    job = await hold(uow, lease)
    await record_event(uow, job, "metrics", dict(metrics))
    return job.cancel_requested


async def record_evaluation(uow: UnitOfWork, lease: Lease, metrics: dict[str, float]) -> None:
    """Append the held-out figures of base and adapter."""
    job = await hold(uow, lease)
    await record_event(uow, job, "evaluated", dict(metrics))


async def commit_checkpoint(
    uow: UnitOfWork, lease: Lease, *, step: int, trained_tokens: int, object_path: str, sha256: str, size: int
) -> None:
    """Make a stored checkpoint the job's newest and settle the tokens since the one before: both or neither.

    `trained_tokens` counts from the job's beginning. A token is billed here and nowhere else.
    """
    job = await hold(uow, lease)
    newest = await newest_checkpoint(uow, job.id)
    sequence = newest.sequence + 1 if newest else 1
    uow.session.add(
        Checkpoint(
            job_id=job.id,
            sequence=sequence,
            lease_token=lease.token,
            step=step,
            trained_tokens=trained_tokens,
            object_path=object_path,
            sha256=sha256,
            size=size,
            created_at=uow.now(),
        )
    )
    quote = await uow.session.get_one(Quote, job.quote_id)
    base_model = await uow.session.get_one(BaseModel, quote.base_model_id)
    tokens = trained_tokens - job.trained_tokens
    usage = Usage(TRAINED_TOKENS, base_model.name, tokens, quote.unit_price)
    await settle(uow, job.reservation_id, sequence=sequence, usage=[usage])
    job.step = step
    job.trained_tokens = trained_tokens
    job.lost_leases = 0
    await record_event(uow, job, "checkpoint", {"step": step, "trained_tokens": trained_tokens})


async def newest_checkpoint(uow: UnitOfWork, job_id: UUID) -> Checkpoint | None:
    newest = select(Checkpoint).where(Checkpoint.job_id == job_id).order_by(Checkpoint.sequence.desc()).limit(1)
    return await uow.session.scalar(newest)


async def succeed(uow: UnitOfWork, lease: Lease, version: AdapterVersion) -> None:
    """Promote the attempt's artifact to an adapter version and give back what the quote held beyond the usage."""
    job = await hold(uow, lease)
    uow.session.add(version)
    await release(uow, job.reservation_id)
    await _end(uow, job, "succeeded", {"digest": version.digest, "metrics": version.manifest["metrics"]})


async def fail(uow: UnitOfWork, lease: Lease, code: str, message: str) -> None:
    """End the job, and give everything back: what was held, and what its checkpoints had settled."""
    job = await hold(uow, lease)
    await release(uow, job.reservation_id)
    await refund(uow, job.reservation_id)
    job.error_code, job.error_message = code, message
    await _end(uow, job, "failed", {"code": code, "message": message})


async def cancel(uow: UnitOfWork, lease: Lease) -> None:
    """End the job as its tenant asked; durable steps stay billed, the rest is given back."""
    job = await hold(uow, lease)
    await release(uow, job.reservation_id)
    await _end(uow, job, "cancelled", {"trained_tokens": job.trained_tokens})


async def _end(uow: UnitOfWork, job: TrainingJob, status: str, data: dict[str, object]) -> None:
    job.status = status
    job.finished_at = uow.now()
    job.lease_expires_at = None
    await drop_grants(uow, job)
    await record_event(uow, job, status, data)
