"""Starting and cancelling training jobs."""

from uuid import UUID

from sqlalchemy import select

from tunery.billing.reservations import release, reserve
from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, NotFound
from tunery.core.idempotency import once
from tunery.core.outbox import NODE_QUEUE, enqueue
from tunery.core.slugs import check_slug
from tunery.training.data_sets import find_data_set
from tunery.training.job_events import record_event
from tunery.training.leases import drop_grants
from tunery.training.models import Adapter, Quote, TrainingJob
from tunery.training.quote import find_quote
from tunery.vault.keyring import Keyring

DOORBELL = "training.ring"


class QuoteExpired(Conflict):
    code = "QUOTE_EXPIRED"


async def create_training_job(
    uow: UnitOfWork, keyring: Keyring, *, quote_id: UUID, adapter_name: str, idempotency_key: str
) -> TrainingJob:
    """Hold the quote's price and queue the job. Raises NotFound, QuoteExpired, Conflict, InsufficientFunds."""

    async def create() -> UUID:
        quote = await find_quote(uow, quote_id, field="quoteId")
        await _check_quote(uow, quote)
        await find_data_set(uow, quote.data_set_id, field="quoteId")
        adapter = await _adapter_named(uow, adapter_name, quote.base_model_id)
        reservation = await reserve(uow, f"quote:{quote.id}", quote.price)
        # A restored backup may have lost the job, and not its key.
        data_key = await keyring.purpose_key(uow, checkpoints_purpose(quote.id))
        job = TrainingJob(
            quote_id=quote.id,
            adapter_id=adapter.id,
            reservation_id=reservation.id,
            data_key_id=data_key.id,
            created_at=uow.now(),
        )
        uow.session.add(job)
        await uow.session.flush()
        await record_event(uow, job, "queued", {})
        enqueue(uow, DOORBELL, queue=NODE_QUEUE)
        return job.id

    request = {"quote": str(quote_id), "adapter": adapter_name}
    identifier = await once(uow, idempotency_key, "createTrainingJob", request, create)
    return await uow.session.get_one(TrainingJob, identifier)


async def cancel_training_job(uow: UnitOfWork, identifier: UUID) -> TrainingJob:
    """A queued job ends at once; a running one at its node's next step, billed up to its last durable checkpoint."""
    job = await find_job(uow, identifier, lock=True)
    if job.status == "queued":
        job.status = "cancelled"
        job.finished_at = uow.now()
        await release(uow, job.reservation_id)
        await drop_grants(uow, job)
        await record_event(uow, job, "cancelled", {})
    elif job.status == "running":
        job.cancel_requested = True
    else:
        raise Conflict(f"this job has {job.status} already", field="id")
    return job


async def find_job(uow: UnitOfWork, identifier: UUID, *, lock: bool = False) -> TrainingJob:
    job = await uow.session.get(TrainingJob, identifier, with_for_update=lock)
    if job is None:
        raise NotFound("training job", ids.encode("training job", identifier), field="id")
    return job


def checkpoints_purpose(quote_id: UUID) -> str:
    """What the key of a job's checkpoints is for."""
    return f"checkpoints of quote {quote_id}"


async def _check_quote(uow: UnitOfWork, quote: Quote) -> None:
    if quote.expires_at <= uow.now():
        raise QuoteExpired(f"this quote was good until {quote.expires_at:%Y-%m-%d %H:%M} UTC", field="quoteId")
    if await uow.session.scalar(select(TrainingJob.id).where(TrainingJob.quote_id == quote.id)) is not None:
        raise Conflict("a job was started from this quote: ask for a new one", field="quoteId")


async def _adapter_named(uow: UnitOfWork, name: str, base_model_id: UUID) -> Adapter:
    """The tenant's adapter of that name, made when there is none. All its versions share one base model."""
    check_slug(name, field="adapterName")
    adapter = await uow.session.scalar(select(Adapter).where(Adapter.name == name))
    if adapter is None:
        adapter = Adapter(name=name, base_model_id=base_model_id, created_at=uow.now())
        uow.session.add(adapter)
        await uow.session.flush()
    elif adapter.base_model_id != base_model_id:
        raise Conflict(f"adapter {name!r} stands on another base model: choose another name", field="adapterName")
    return adapter
