"""A job from its data set to its signed adapter, and what happens when its node dies on the way."""

import asyncio
from decimal import Decimal

import asyncpg
import msgspec
import pytest
from sqlalchemy import func, select

from tests.training.shop import chunks, jsonl
from tests.training.training_node import LASTS, TrainingNode, answer_forever
from tunery.billing.accounts import balances
from tunery.billing.models import LedgerEntry, UsageEvent
from tunery.core.clock import TravellingClock
from tunery.core.database import Database
from tunery.core.errors import InvalidInput, Unavailable
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training import leases, request_grant
from tunery.training.adapter_manifest import MANIFEST_NAME, SIGNATURE_NAME, digest
from tunery.training.create_job import cancel_training_job, create_training_job
from tunery.training.data_sets import store_data_set
from tunery.training.job_events import follow_events
from tunery.training.leases import LeaseLost, acquire_lease
from tunery.training.models import AdapterVersion, Checkpoint, LeaseGrant, Quote, TrainingJob
from tunery.training.quote import quote_training
from tunery.training.training_spec import TrainingSpec
from tunery.training_workers import run_job as run_job_module
from tunery.vault.keyring import Keyring
from tunery.vault.signatures import verify

SPEC = TrainingSpec(rank=8, learning_rate=4e-3, batch_rows=4, epochs=4, dropout=0.1, seed=7)


@pytest.fixture(autouse=True)
async def worker(services: Services):
    worker = asyncio.create_task(answer_forever(services))
    yield worker
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)


@pytest.fixture(autouse=True)
async def _no_other_jobs(services: Services, clock: TravellingClock):
    """Leases take the oldest job first: end what other tests left, leased or not."""
    clock.travel(LASTS * 2)
    while (lease := await acquire_lease(services.get(Database), "cleaner", LASTS)) is not None:
        async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
            await leases.cancel(uow, lease)


async def create(services: Services, tenant, name: str = "support") -> tuple[TrainingJob, Quote]:
    data_set = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(jsonl()))
    quote = await quote_training(
        services, tenant.tenant_id, data_set_id=data_set.id, base_model_name="tunery/tiny", spec=SPEC
    )
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        job = await create_training_job(
            uow, services.get(Keyring), quote_id=quote.id, adapter_name=name, idempotency_key=f"{name}-{quote.id}"
        )
    return job, quote


async def reload(services: Services, tenant, job: TrainingJob) -> TrainingJob:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await uow.session.get_one(TrainingJob, job.id)


async def version_of(services: Services, tenant, job: TrainingJob) -> AdapterVersion:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return (await uow.session.scalars(select(AdapterVersion).where(AdapterVersion.job_id == job.id))).one()


async def billed(services: Services, tenant) -> tuple[int, Decimal, Decimal]:
    """Tokens in the usage ledger, credit spent, credit still reserved."""
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        events = list(await uow.session.scalars(select(UsageEvent)))
        credit = (await balances(uow))["credit"]
        assert sum((event.amount for event in events), Decimal(0)) == 5 - credit.balance
        return sum(event.quantity for event in events), 5 - credit.balance, credit.reserved


async def test_a_job_becomes_a_signed_version_and_costs_what_was_quoted(services: Services, sign_up, bases):
    tenant = await sign_up()
    job, quote = await create(services, tenant)
    node = TrainingNode(services, "node-1")
    lease = await node.lease()
    assert lease.job_id == job.id
    await node.run(bases, lease)

    done = await reload(services, tenant, job)
    assert (done.status, done.error_message) == ("succeeded", None)
    assert done.trained_tokens == quote.trained_tokens
    assert await billed(services, tenant) == (quote.trained_tokens, quote.price, 0)

    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert await uow.session.scalar(select(func.count()).select_from(LeaseGrant)) == 0, "they went with the lease"
    version = await version_of(services, tenant, job)
    storage = services.get(ObjectStorage)
    files = {file["path"]: await storage.get(f"{version.object_prefix}/{file['path']}") for file in version.files}
    assert digest(files[MANIFEST_NAME]) == version.digest
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        signer = await services.get(Keyring).signer(uow)
    signature = msgspec.json.decode(files[SIGNATURE_NAME])
    verify(files[MANIFEST_NAME], signature, signer.public_key, "tunery-adapter/1")
    metrics = version.manifest["metrics"]
    assert metrics["adapter_loss"] < metrics["base_loss"]

    events = [event async for event in follow_events(services.get(Database), tenant.tenant_id, job.id)]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    kinds = [event.kind for event in events]
    assert kinds[:2] == ["queued", "started"]
    assert kinds[-2:] == ["evaluated", "succeeded"]
    assert kinds.count("checkpoint") >= 5


async def test_a_job_whose_node_died_goes_on_from_its_checkpoint_and_is_billed_once(
    services: Services, sign_up, bases, clock: TravellingClock, monkeypatch
):
    reference, tenant = await sign_up(), await sign_up()
    undisturbed, _ = await create(services, reference)
    await TrainingNode(services, "node-0").work(bases)

    job, quote = await create(services, tenant)
    node = TrainingNode(services, "node-1")
    first = await node.lease()
    stale_commit = {}
    real_save = run_job_module._save_checkpoint

    class Killed(BaseException):
        pass

    async def die_at_third_checkpoint(services, lease, work, trainer):
        await real_save(services, lease, work, trainer)
        if trainer.steps_done >= 6:
            stale_commit["trainer"], stale_commit["work"] = trainer, work
            raise Killed

    monkeypatch.setattr(run_job_module, "_save_checkpoint", die_at_third_checkpoint)
    with pytest.raises(Killed):
        await node.run(bases, first)
    monkeypatch.undo()
    partly = await reload(services, tenant, job)
    assert partly.status == "running"
    assert 0 < partly.trained_tokens < quote.trained_tokens
    assert await acquire_lease(services.get(Database), "node-2", LASTS) is None, "the lease still lasts"

    clock.travel(LASTS * 2)
    other_node = TrainingNode(services, "node-2")
    second = await other_node.lease()
    assert (second.job_id, second.token) == (job.id, first.token + 1)
    # The first node was only paused, and wakes up: whatever it writes is refused.
    stale_commit["trainer"].step()
    before = await billed(services, tenant)
    with pytest.raises(LeaseLost):
        await real_save(services, first, stale_commit["work"], stale_commit["trainer"])
    assert await billed(services, tenant) == before

    await other_node.run(bases, second)
    assert (await reload(services, tenant, job)).status == "succeeded"
    assert await billed(services, tenant) == (quote.trained_tokens, quote.price, 0)
    resumed = (await version_of(services, tenant, job)).manifest["files"]["adapter_model.safetensors"]
    whole = (await version_of(services, reference, undisturbed)).manifest["files"]["adapter_model.safetensors"]
    assert resumed == whole, "bit for bit what an undisturbed job gives"
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        checkpoints = list(await uow.session.scalars(select(Checkpoint).order_by(Checkpoint.sequence)))
    assert [checkpoint.sequence for checkpoint in checkpoints] == list(range(1, len(checkpoints) + 1))
    assert {checkpoint.lease_token for checkpoint in checkpoints} == {first.token, second.token}


async def test_a_cancelled_job_is_billed_for_its_durable_steps_alone(services: Services, sign_up, bases, monkeypatch):
    tenant = await sign_up()
    job, quote = await create(services, tenant)
    real_save = run_job_module._save_checkpoint

    async def ask_to_cancel(node, lease, work, trainer):
        await real_save(node, lease, work, trainer)
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await cancel_training_job(uow, job.id)

    monkeypatch.setattr(run_job_module, "_save_checkpoint", ask_to_cancel)
    monkeypatch.setattr(run_job_module, "PROGRESS_SECONDS", 0)
    await TrainingNode(services, "node-1").work(bases)
    done = await reload(services, tenant, job)
    assert done.status == "cancelled"
    tokens, spent, reserved = await billed(services, tenant)
    assert 0 < tokens == done.trained_tokens < quote.trained_tokens
    assert reserved == 0
    assert spent < quote.price


async def test_a_job_that_brings_down_its_nodes_fails_in_the_end(
    services: Services, sign_up, bases, clock: TravellingClock
):
    tenant = await sign_up()
    job, _ = await create(services, tenant)
    for _ in range(leases.MOST_LOST_LEASES):
        assert await acquire_lease(services.get(Database), "node", LASTS)
        clock.travel(LASTS * 2)
    await TrainingNode(services, "node").work(bases)
    done = await reload(services, tenant, job)
    assert (done.status, done.error_code) == ("failed", "TOO_MANY_ATTEMPTS")
    assert await billed(services, tenant) == (0, 0, 0)
    assert await acquire_lease(services.get(Database), "node", LASTS) is None


async def test_a_node_that_is_told_to_stop_hands_its_job_back(services: Services, sign_up, bases, monkeypatch):
    tenant = await sign_up()
    job, quote = await create(services, tenant)
    node = TrainingNode(services, "node-1")
    lease = await node.lease()
    saved = asyncio.Event()
    real_save = run_job_module._save_checkpoint

    async def save(*arguments):
        await real_save(*arguments)
        saved.set()

    monkeypatch.setattr(run_job_module, "_save_checkpoint", save)
    running = asyncio.create_task(node.run(bases, lease))
    await saved.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    other_node = TrainingNode(services, "node-2")
    second = await other_node.lease()
    assert (second.job_id, second.token) == (job.id, lease.token + 1)
    await other_node.run(bases, second)
    assert (await reload(services, tenant, job)).status == "succeeded"
    assert await billed(services, tenant) == (quote.trained_tokens, quote.price, 0)


async def test_progress_renews_a_jobs_patience(services: Services, sign_up, bases, clock: TravellingClock, monkeypatch):
    tenant = await sign_up()
    job, _ = await create(services, tenant)
    for _ in range(leases.MOST_LOST_LEASES - 1):
        assert await acquire_lease(services.get(Database), "node", LASTS)
        clock.travel(LASTS * 2)
    real_save = run_job_module._save_checkpoint

    class Killed(BaseException):
        pass

    async def save_and_die(*arguments):
        await real_save(*arguments)
        raise Killed

    monkeypatch.setattr(run_job_module, "_save_checkpoint", save_and_die)
    with pytest.raises(Killed):
        await TrainingNode(services, "node").work(bases)
    monkeypatch.undo()
    node = TrainingNode(services)
    for _ in range(2):
        clock.travel(LASTS * 2)
        lease = await node.lease()
    assert lease.token > leases.MOST_LOST_LEASES
    await node.run(bases, lease)
    assert (await reload(services, tenant, job)).status == "succeeded"


async def test_a_failed_job_costs_nothing_however_far_it_came(services: Services, sign_up, bases, monkeypatch):
    tenant = await sign_up()
    job, quote = await create(services, tenant)

    async def fail(*_arguments):
        raise InvalidInput("no room for the evaluation")

    monkeypatch.setattr(run_job_module, "_evaluate", fail)
    await TrainingNode(services, "node").work(bases)
    done = await reload(services, tenant, job)
    assert (done.status, done.trained_tokens) == ("failed", quote.trained_tokens)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        credit = (await balances(uow))["credit"]
        assert (credit.balance, credit.reserved) == (5, 0)
        entries = await uow.session.execute(
            select(LedgerEntry.kind, func.sum(LedgerEntry.amount)).group_by(LedgerEntry.kind)
        )
        assert dict(entries.all()) == {"grant": 5, "usage": -quote.price, "refund": quote.price}


async def test_a_job_waits_for_a_storage_that_does_not_answer(services: Services, sign_up, bases, clock, monkeypatch):
    tenant = await sign_up()
    job, quote = await create(services, tenant)

    async def away(*_arguments):
        raise Unavailable("the storage is away")

    monkeypatch.setattr(run_job_module, "_save_checkpoint", away)
    for _ in range(leases.MOST_LOST_LEASES + 2):
        with pytest.raises(Unavailable):
            await TrainingNode(services, "node").work(bases)
        assert await acquire_lease(services.get(Database), "node", LASTS) is None
        clock.travel(run_job_module.PATIENCE)
    monkeypatch.undo()
    await TrainingNode(services, "node").work(bases)
    assert (await reload(services, tenant, job)).status == "succeeded"
    assert await billed(services, tenant) == (quote.trained_tokens, quote.price, 0)


async def test_a_job_waits_for_a_worker_that_does_not_answer(
    services: Services, sign_up, bases, clock: TravellingClock, worker: asyncio.Task, monkeypatch
):
    tenant = await sign_up()
    job, quote = await create(services, tenant)
    worker.cancel()
    monkeypatch.setattr(request_grant, "LONGEST_WAIT", 0.1)
    for _ in range(leases.MOST_LOST_LEASES + 2):
        with pytest.raises(Unavailable, match="no worker answered"):
            await TrainingNode(services).work(bases)
        assert await acquire_lease(services.get(Database), "node", LASTS) is None
        clock.travel(run_job_module.PATIENCE)
    monkeypatch.undo()
    answering = asyncio.create_task(answer_forever(services))
    await TrainingNode(services).work(bases)
    answering.cancel()
    assert (await reload(services, tenant, job)).status == "succeeded"
    assert await billed(services, tenant) == (quote.trained_tokens, quote.price, 0)


async def test_a_job_that_would_train_other_tokens_than_quoted_fails_and_costs_nothing(
    services: Services, settings, sign_up, bases
):
    tenant = await sign_up()
    job, quote = await create(services, tenant)
    owner = await asyncpg.connect(settings.database_url)
    await owner.execute("UPDATE quotes SET trained_tokens = trained_tokens - 1 WHERE id = $1", quote.id)
    await owner.close()
    await TrainingNode(services, "node").work(bases)
    done = await reload(services, tenant, job)
    assert (done.status, done.error_code) == ("failed", "QUOTE_MISMATCH")
    assert await billed(services, tenant) == (0, 0, 0)
