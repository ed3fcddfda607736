"""One leased job from start to end: load, train, checkpoint, evaluate, export. Safe to die in at any line.

What is durable is a checkpoint whose row is committed; everything else is made again by whoever leases the job next.
A node holds no keys but those that a worker grants it for the lease (`training.request_grant`).
"""

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import msgspec
from sqlalchemy import func, select

from tunery.core.database import Database
from tunery.core.errors import DomainError, Unavailable
from tunery.core.logs import get_logger
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training import leases
from tunery.training.adapter_manifest import SIGNATURE_NAME, FileDigest
from tunery.training.catalogue import BaseModelFiles
from tunery.training.data_sets import load_conversations
from tunery.training.leases import Lease, LeaseLost
from tunery.training.models import Adapter, AdapterVersion, BaseModel, Checkpoint, DataSet, Quote, TrainingJob
from tunery.training.nodes import NodeKey
from tunery.training.quote import tokenize_rows
from tunery.training.request_grant import JobKeys, request_keys, request_signature
from tunery.training.split import split_rows
from tunery.training.tokenization import TokenizedRow
from tunery.training.training_spec import TrainingSpec
from tunery.training_workers.adapter_export import AdapterDescription, ExportedAdapter, build_adapter
from tunery.training_workers.base_model import BaseModelCache
from tunery.training_workers.checkpoints import CheckpointRefused, dump_checkpoint, parse_checkpoint
from tunery.training_workers.evaluation import EvaluationResult, evaluate
from tunery.training_workers.qlora import QLoRATrainer, StepResult
from tunery.vault.sealing import seal, unseal

CHECKPOINTS_PER_JOB = 10
PROGRESS_SECONDS = 0.5
PATIENCE = timedelta(seconds=30)
"""How long a job waits for a hub or storage that doesn't answer."""


T = TypeVar("T")

log = get_logger(__name__)


class Cancelled(Exception):
    """The tenant asked to stop."""


@dataclass(frozen=True)
class Work:
    """A job and everything that it was quoted from."""

    job: TrainingJob
    quote: Quote
    data_set: DataSet
    base_model: BaseModel
    adapter: Adapter
    checkpoint: Checkpoint | None
    keys: JobKeys

    @property
    def spec(self) -> TrainingSpec:
        return msgspec.convert(self.quote.spec, TrainingSpec).within(self.base_model.context_length)


async def run_job(services: Services, bases: BaseModelCache, lease: Lease) -> None:
    """Bring the leased job to its end.

    Raises LeaseLost when another node has it (nothing more was written), and Unavailable or whatever else kept this
    node from going on: the lease then runs out and the job is leased again, here or elsewhere.
    """
    database = services.get(Database)
    async with database.unit_of_work(lease.tenant_id) as uow:
        if await leases.is_hopeless(uow, lease):
            message = f"{leases.MOST_LOST_LEASES} nodes in a row were lost while they worked on this job"
            await leases.fail(uow, lease, "TOO_MANY_ATTEMPTS", message)
            return
    try:
        async with _renewing(services, lease) as expired:
            await _train(services, bases, lease, expired)
    except asyncio.CancelledError:
        await _hand_back(database, lease)
        raise
    except Unavailable:
        await _hand_back(database, lease, after=PATIENCE)
        raise
    except LeaseLost:
        raise
    except Cancelled:
        async with database.unit_of_work(lease.tenant_id) as uow:
            await leases.cancel(uow, lease)
    except DomainError as error:
        # The job itself is at fault (its data, its numbers): doing it again would end the same way.
        async with database.unit_of_work(lease.tenant_id) as uow:
            await leases.fail(uow, lease, error.error_code, error.message)


async def _hand_back(database: Database, lease: Lease, after: timedelta = timedelta()) -> None:
    """Best effort: a lease that can't be handed back runs out by itself."""
    try:
        async with database.unit_of_work(lease.tenant_id) as uow:
            await leases.hand_back(uow, lease, after)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not keep the node from stopping
        log.warning("lease not handed back", error=str(error))


async def _train(services: Services, bases: BaseModelCache, lease: Lease, expired: asyncio.Event) -> None:
    database = services.get(Database)
    work = await _load_work(services, lease)
    train, held_out = await _load_rows(services, lease, work)
    if sum(row.tokens for row in train) * work.spec.epochs != work.quote.trained_tokens:
        # A template may print the date, say. What is trained must be what was quoted, to the token.
        raise DomainError(
            "the data set gives other tokens than when it was quoted: ask for a new quote", code="QUOTE_MISMATCH"
        )
    folder = await asyncio.to_thread(services.get(BaseModelFiles).model_folder, work.base_model)
    base = await asyncio.to_thread(bases.get, folder, work.base_model.revision)
    trainer = await asyncio.to_thread(QLoRATrainer, base, work.spec, train)
    if work.checkpoint is not None:
        await _resume(services, work, work.checkpoint, trainer)
    async with database.unit_of_work(lease.tenant_id) as uow:
        await leases.start(uow, lease, trainer.steps_total)

    interval = max(1, trainer.steps_total // CHECKPOINTS_PER_JOB)
    reported = time.monotonic()
    while not trainer.finished:
        result = await _unless_expired(expired, trainer.step)
        if time.monotonic() - reported >= PROGRESS_SECONDS or trainer.finished:
            reported = time.monotonic()
            async with database.unit_of_work(lease.tenant_id) as uow:
                if await leases.record_progress(uow, lease, _progress(result, trainer.steps_total)):
                    raise Cancelled
        if trainer.steps_done % interval == 0 or trainer.finished:
            await _save_checkpoint(services, lease, work, trainer)

    metrics = await _evaluate(services, lease, trainer, held_out, expired)
    await _publish(services, lease, work, trainer, metrics)


def _progress(result: StepResult, total_steps: int) -> dict[str, float | int]:
    """A step in JSON; a skipped one has no finite loss or gradient to show."""
    floats = {"loss": result.loss, "learning_rate": result.learning_rate, "grad_norm": result.grad_norm}
    finite = {name: value for name, value in floats.items() if math.isfinite(value)}
    return {"step": result.step, "total_steps": total_steps, "epoch": result.epoch, **finite}


async def _load_work(services: Services, lease: Lease) -> Work:
    database = services.get(Database)
    keys = await request_keys(database, lease, services.get(NodeKey))
    async with database.unit_of_work(lease.tenant_id) as uow:
        job = await leases.hold(uow, lease)
        quote = await uow.session.get_one(Quote, job.quote_id)
        return Work(
            job=job,
            quote=quote,
            data_set=await uow.session.get_one(DataSet, quote.data_set_id),
            base_model=await uow.session.get_one(BaseModel, quote.base_model_id),
            adapter=await uow.session.get_one(Adapter, job.adapter_id),
            checkpoint=await leases.newest_checkpoint(uow, job.id),
            keys=keys,
        )


async def _load_rows(services: Services, lease: Lease, work: Work) -> tuple[list[TokenizedRow], list[TokenizedRow]]:
    conversations = await load_conversations(services, lease.tenant_id, work.data_set, work.keys.data_set)
    folder = await asyncio.to_thread(services.get(BaseModelFiles).tokenizer_folder, work.base_model)
    rows = await asyncio.to_thread(tokenize_rows, folder, work.spec.max_length, conversations)
    return split_rows(rows, work.spec.seed)


async def _resume(services: Services, work: Work, checkpoint: Checkpoint, trainer: QLoRATrainer) -> None:
    sealed = await services.get(ObjectStorage).get(checkpoint.object_path)
    content = unseal(work.keys.checkpoints, checkpoint.object_path.encode(), sealed)
    if hashlib.sha256(content).hexdigest() != checkpoint.sha256:
        raise CheckpointRefused("the stored checkpoint isn't the one that was committed")
    await asyncio.to_thread(lambda: trainer.load_state(parse_checkpoint(content)))


async def _save_checkpoint(services: Services, lease: Lease, work: Work, trainer: QLoRATrainer) -> None:
    content = await asyncio.to_thread(lambda: dump_checkpoint(trainer.state()))
    path = f"attempts/{lease.job_id}/{lease.token}/checkpoint-{trainer.steps_done}"
    await services.get(ObjectStorage).put(path, seal(work.keys.checkpoints, path.encode(), content))
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await leases.commit_checkpoint(
            uow,
            lease,
            step=trainer.steps_done,
            trained_tokens=trainer.tokens_done,
            object_path=path,
            sha256=hashlib.sha256(content).hexdigest(),
            size=len(content),
        )


async def _evaluate(
    services: Services, lease: Lease, trainer: QLoRATrainer, held_out: Sequence[TokenizedRow], expired: asyncio.Event
) -> dict[str, float]:
    """Loss on the held-out rows, of the base alone and with the adapter."""

    def run() -> tuple[EvaluationResult, EvaluationResult]:
        return evaluate(trainer.model, held_out, use_adapter=False), evaluate(trainer.model, held_out)

    base, adapter = await _unless_expired(expired, run)
    metrics = {
        "base_loss": base.loss,
        "adapter_loss": adapter.loss,
        "base_perplexity": base.perplexity,
        "adapter_perplexity": adapter.perplexity,
        "held_out_rows": float(adapter.rows),
        "held_out_tokens": float(adapter.tokens),
    }
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await leases.record_evaluation(uow, lease, metrics)
    return metrics


async def _publish(
    services: Services, lease: Lease, work: Work, trainer: QLoRATrainer, metrics: dict[str, float]
) -> None:
    """Build, have signed and store the version's files under the attempt's path; the commit promotes them."""
    database, storage = services.get(Database), services.get(ObjectStorage)
    async with database.unit_of_work(lease.tenant_id) as uow:
        numbers = select(func.coalesce(func.max(AdapterVersion.number), 0))
        number = 1 + await uow.session.scalar(numbers.where(AdapterVersion.adapter_id == work.adapter.id))  # type: ignore[operator]
        now = uow.now()
    description = AdapterDescription(
        name=work.adapter.name,
        version=str(number),
        base_model=work.base_model.name,
        licence=work.base_model.licence,
        dataset_sha256=work.data_set.sha256,
        metrics=metrics,
        created_at=now,
    )
    exported: ExportedAdapter = await asyncio.to_thread(build_adapter, trainer, description)
    signature = await request_signature(database, lease, exported.manifest_bytes)
    files = {**exported.files, SIGNATURE_NAME: signature}
    prefix = f"attempts/{lease.job_id}/{lease.token}/adapter"
    for name, content in files.items():
        await storage.put(f"{prefix}/{name}", content)
    async with database.unit_of_work(lease.tenant_id) as uow:
        digests = {name: FileDigest.of(content) for name, content in sorted(files.items())}
        version = AdapterVersion(
            adapter_id=work.adapter.id,
            number=number,
            job_id=lease.job_id,
            digest=exported.digest,
            manifest=msgspec.json.decode(exported.manifest_bytes),
            files=[{"path": name, "size": file.size, "sha256": file.sha256} for name, file in digests.items()],
            object_prefix=prefix,
            created_at=now,
        )
        await leases.succeed(uow, lease, version)


@asynccontextmanager
async def _renewing(services: Services, lease: Lease) -> AsyncIterator[asyncio.Event]:
    """Renew the lease in the background; the event is set when it has run out on this node's own clock."""
    expired = asyncio.Event()
    seconds = lease.lasts.total_seconds()

    async def renew() -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(seconds / 3)
            asked = time.monotonic()
            try:
                async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
                    await leases.hold(uow, lease)
                deadline = asked + seconds
            except LeaseLost:
                break
            except Exception as error:  # noqa: BLE001 - whatever keeps us from renewing, the deadline decides
                log.warning("lease not renewed", job_id=str(lease.job_id), error=str(error))
        expired.set()

    task = asyncio.create_task(renew())
    try:
        yield expired
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _unless_expired(expired: asyncio.Event, work: Callable[[], T]) -> T:
    """Run blocking work in a thread, and stop here when the lease ran out meanwhile."""
    result = await asyncio.to_thread(work)
    if expired.is_set():
        raise LeaseLost("the lease ran out on this node's clock")
    return result
