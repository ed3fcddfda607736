"""What a node is given for its lease: the job's keys and signature, and nothing to any other node, lease, job, tenant."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import IntegrityError, ProgrammingError

from tests.training.shop import chunks, jsonl
from tests.training.training_node import LASTS, TrainingNode, answer, answer_forever, requests
from tunery.core.clock import TravellingClock
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import DomainError, Unavailable
from tunery.core.services import Services
from tunery.training import leases, request_grant
from tunery.training.adapter_manifest import AdapterManifest, BaseIdentity, FileDigest
from tunery.training.answer_grant import answer_grant
from tunery.training.create_job import cancel_training_job, create_training_job
from tunery.training.data_sets import load_conversations, store_data_set
from tunery.training.leases import Lease, LeaseLost, acquire_lease
from tunery.training.models import AdapterVersion, BaseModel, DataSet, LeaseGrant, Quote, TrainingJob
from tunery.training.nodes import HEARTBEAT_TIMEOUT, NodeKey
from tunery.training.quote import quote_training
from tunery.training.request_grant import GrantedKeys, JobKeys, grant_info, request_keys, request_signature
from tunery.training.training_spec import TrainingSpec
from tunery.vault.keyring import Keyring
from tunery.vault.sealing import UnsealingFailed
from tunery.vault.signatures import verify

SPEC = TrainingSpec(rank=4, batch_rows=4, epochs=1)


@dataclass
class Job:
    """A queued job, and what belongs to it."""

    tenant: Any
    job: TrainingJob
    quote: Quote
    data_set: DataSet


@pytest.fixture
async def make_job(services: Services, sign_up, clock: TravellingClock):
    """Make jobs; they are the only ones to lease."""
    clock.travel(LASTS)
    while (lease := await acquire_lease(services.get(Database), "cleaner", LASTS)) is not None:
        async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
            await leases.cancel(uow, lease)

    async def make(tenant: Any = None, adapter: str = "support") -> Job:
        tenant = tenant or await sign_up()
        data_set = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(jsonl()))
        quote = await quote_training(
            services, tenant.tenant_id, data_set_id=data_set.id, base_model_name="tunery/tiny", spec=SPEC
        )
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            job = await create_training_job(
                uow, services.get(Keyring), quote_id=quote.id, adapter_name=adapter, idempotency_key=str(quote.id)
            )
        return Job(tenant, job, quote, data_set)

    yield make
    async with services.get(Database).dispatch() as uow:
        await uow.session.execute(text("DELETE FROM nodes"))


@pytest.fixture
async def worker(services: Services):
    task = asyncio.create_task(answer_forever(services))
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def owner(settings):
    """What somebody could do who has the database."""
    connection = await asyncpg.connect(settings.database_url)
    yield connection
    await connection.close()


async def grants(services: Services, made: Job) -> list[LeaseGrant]:
    async with services.get(Database).unit_of_work(made.tenant.tenant_id) as uow:
        return list(await uow.session.scalars(select(LeaseGrant).order_by(LeaseGrant.id)))


async def ask(services: Services, node: TrainingNode, lease: Lease) -> asyncio.Task[JobKeys]:
    """Ask for the job's keys; returns when the request is there."""
    before = len(await requests(services))
    task = asyncio.create_task(request_keys(services.get(Database), lease, node.key))
    while len(await requests(services)) == before and not task.done():  # noqa: ASYNC110 - the event is a row
        await asyncio.sleep(0.01)
    return task


async def keys_of(services: Services, made: Job) -> tuple[bytes, bytes]:
    async with services.get(Database).unit_of_work(made.tenant.tenant_id) as uow:
        keyring = services.get(Keyring)
        data_set = await uow.session.get_one(DataSet, made.data_set.id)
        return (
            await keyring.open_data_key(uow, data_set.data_key_id),
            await keyring.open_data_key(uow, made.job.data_key_id),
        )


async def test_a_node_is_given_the_keys_of_its_job(services: Services, make_job, worker):
    made, node = await make_job(), TrainingNode(services)
    with pytest.raises(LookupError):
        node.services.get(Keyring)
    lease = await node.lease()
    keys = await request_keys(services.get(Database), lease, node.key)
    assert (keys.data_set, keys.checkpoints) == await keys_of(services, made)
    assert repr(keys) == "JobKeys()"
    conversations = await load_conversations(node.services, made.tenant.tenant_id, made.data_set, keys.data_set)
    assert len(conversations) == made.data_set.rows
    (grant,) = await grants(services, made)
    assert (grant.node, grant.lease_token, grant.kind) == (node.name, lease.token, "keys")
    for key in (keys.data_set, keys.checkpoints):
        assert key not in msgspec.to_builtins(msgspec.json.decode(grant.response, type=GrantedKeys)).values()
        assert key not in grant.response


async def test_a_request_is_answered_once_however_often_the_task_comes(services: Services, make_job):
    made, node = await make_job(), TrainingNode(services)
    waiting = await ask(services, node, await node.lease())
    (message,) = await requests(services)
    await asyncio.gather(*(answer_grant(services, **message.arguments) for _ in range(4)))
    (first,) = await grants(services, made)
    await answer_grant(services, **message.arguments)
    (second,) = await grants(services, made)
    assert first.response == second.response is not None
    assert first.granted_at == second.granted_at
    assert (await waiting).data_set == (await keys_of(services, made))[0]
    await answer(services)
    assert await requests(services) == []


async def end_by_another_lease(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    clock.travel(LASTS * 2)
    assert await TrainingNode(services, "another").lease()
    await node.announce()


async def end_by_time(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    clock.travel(LASTS)
    await node.announce()


async def end_by_handing_back(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await leases.hand_back(uow, lease, timedelta())


async def end_by_cancelling(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await cancel_training_job(uow, lease.job_id)


async def end_by_failing(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await leases.fail(uow, lease, "X", "x")


async def let_the_node_die(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    clock.travel(HEARTBEAT_TIMEOUT - timedelta(seconds=1))
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await leases.hold(uow, lease)
    clock.travel(timedelta(seconds=1))


async def remove_the_node(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    async with services.get(Database).dispatch() as uow:
        await uow.session.execute(text("DELETE FROM nodes"))


async def start_the_node_anew(services: Services, clock: TravellingClock, node: TrainingNode, lease: Lease) -> None:
    await TrainingNode(services, node.name).announce()


STALE = [
    end_by_another_lease, end_by_time, end_by_handing_back, end_by_cancelling, end_by_failing, let_the_node_die,
    remove_the_node, start_the_node_anew,
]  # fmt: skip


@pytest.mark.parametrize("end", STALE)
async def test_a_stale_request_gets_nothing(services: Services, make_job, clock: TravellingClock, end, monkeypatch):
    made, node = await make_job(), TrainingNode(services)
    lease = await node.lease()
    waiting = await ask(services, node, lease)
    (message,) = await requests(services)
    opened = []
    real_open = Keyring.open_data_key

    async def open_data_key(self: Keyring, uow: UnitOfWork, identifier: Any) -> bytes:
        opened.append(identifier)
        return await real_open(self, uow, identifier)

    monkeypatch.setattr(Keyring, "open_data_key", open_data_key)
    await end(services, clock, node, lease)
    await answer(services)
    with pytest.raises(LeaseLost):
        await waiting
    await answer_grant(services, **message.arguments)
    assert opened == []
    assert [grant for grant in await grants(services, made) if grant.response or grant.error_code] == []
    assert await requests(services) == [], "the task is done with"


async def test_a_stale_node_cannot_even_ask(services: Services, make_job, clock: TravellingClock):
    made, node = await make_job(), TrainingNode(services)
    lease = await node.lease()
    clock.travel(LASTS * 2)
    assert await TrainingNode(services, "another").lease()
    await node.announce()
    for ask_for in (
        request_keys(services.get(Database), lease, node.key),
        request_signature(services.get(Database), lease, b"{}"),
    ):
        with pytest.raises(LeaseLost):
            await ask_for
    assert await grants(services, made) == []
    assert await requests(services) == []


async def test_a_row_that_another_node_wrote_gets_nothing(services: Services, make_job):
    """With the rights of a node's database roles one can write such rows."""
    made, node, other = await make_job(), TrainingNode(services, "holder"), TrainingNode(services, "other")
    lease = await node.lease()
    await other.announce()
    forged = [
        (other.name, lease.token, other.key),
        (node.name, lease.token, other.key),
        (node.name, lease.token + 1, node.key),
        (node.name, lease.token - 1, node.key),
    ]
    for claimed, token, key in forged:
        async with services.get(Database).unit_of_work(made.tenant.tenant_id) as uow:
            grant = LeaseGrant(
                job_id=made.job.id, lease_token=token, node=claimed, kind="keys", request=key.public_key,
                created_at=uow.now(),
            )  # fmt: skip
            uow.session.add(grant)
        await answer_grant(services, str(made.tenant.tenant_id), str(grant.id))
        assert await grants(services, made) == []


async def test_a_lease_that_ends_while_a_worker_looks_at_it_gets_nothing(services: Services, make_job):
    made, node = await make_job(), TrainingNode(services)
    lease = await node.lease()
    waiting = await ask(services, node, lease)
    (message,) = await requests(services)
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await leases.hand_back(uow, lease, timedelta())
        answering = asyncio.create_task(answer_grant(services, **message.arguments))
        await asyncio.sleep(0.2)
        assert not answering.done()
    await answering
    with pytest.raises(LeaseLost):
        await waiting
    assert await grants(services, made) == []


@pytest.mark.parametrize("other", ["tenant", "job", "lease", "node", "key"])
async def test_a_grant_that_is_copied_does_not_open(services: Services, make_job, clock, owner, other):
    made, node = await make_job(), TrainingNode(services)
    lease = await node.lease()
    waiting = await ask(services, node, lease)
    await answer(services)
    await waiting
    (given,) = await grants(services, made)

    if other in ("lease", "node"):
        clock.travel(LASTS * 2)
        same_key, node = node.key, TrainingNode(services, "node" if other == "lease" else "another")
        node.key = same_key
        target = made
    elif other == "key":
        clock.travel(LASTS * 2)
        node, target = TrainingNode(services), made
    else:
        target = await make_job(made.tenant if other == "job" else None)
    next_lease = await node.lease()
    assert next_lease.job_id == target.job.id
    waiting = await ask(services, node, next_lease)
    await owner.execute(
        "UPDATE lease_grants SET response = $1, granted_at = now() WHERE job_id = $2", given.response, target.job.id
    )
    with pytest.raises(UnsealingFailed):
        await waiting


async def test_keys_are_bound_to_what_they_are_for(services: Services, make_job, worker):
    made, node = await make_job(), TrainingNode(services)
    await request_keys(services.get(Database), await node.lease(), node.key)
    (grant,) = await grants(services, made)
    place = f"lease_grants/response/{made.tenant.tenant_id}/{made.job.id}/{grant.lease_token}/{node.name}"
    assert grant_info(grant, "checkpoints").decode() == f"{place}/checkpoints"
    wrapped = msgspec.json.decode(grant.response, type=GrantedKeys)
    with pytest.raises(UnsealingFailed):
        node.key.unwrap(wrapped.data_set, grant_info(grant, "checkpoints"))
    with pytest.raises(UnsealingFailed):
        node.key.unwrap(wrapped.checkpoints, grant_info(grant, "data set"))
    with pytest.raises(UnsealingFailed):
        NodeKey().unwrap(wrapped.data_set, grant_info(grant, "data set"))


@pytest.mark.parametrize("forged", ["checkpoints", "data set", "data set's path"])
async def test_no_key_of_another_purpose_is_given(services: Services, make_job, worker, owner, forged):
    """Whoever can write a job's rows can't have its node given the key of a secret, say."""
    made, node = await make_job(), TrainingNode(services)
    async with services.get(Database).unit_of_work(made.tenant.tenant_id) as uow:
        secret = await services.get(Keyring).purpose_key(uow, "webhook")
    if forged == "checkpoints":
        await owner.execute("UPDATE training_jobs SET data_key_id = $1 WHERE id = $2", secret.id, made.job.id)
    else:
        await owner.execute("UPDATE data_sets SET data_key_id = $1 WHERE id = $2", secret.id, made.data_set.id)
    if forged == "data set's path":
        await owner.execute("UPDATE data_sets SET object_path = 'webhook' WHERE id = $1", made.data_set.id)
    with pytest.raises(DomainError) as refusal:
        await request_keys(services.get(Database), await node.lease(), node.key)
    assert refusal.value.error_code == "GRANT_REFUSED"
    assert [grant.response for grant in await grants(services, made)] == [None]


async def test_a_key_that_is_destroyed_ends_the_wait(services: Services, make_job, worker, owner):
    made, node = await make_job(), TrainingNode(services)
    async with services.get(Database).unit_of_work(made.tenant.tenant_id) as uow:
        await services.get(Keyring).destroy_data_key(uow, made.data_set.data_key_id)
    with pytest.raises(DomainError) as refusal:
        await request_keys(services.get(Database), await node.lease(), node.key)
    assert refusal.value.error_code == "NOT_FOUND"
    assert [grant.response for grant in await grants(services, made)] == [None]


async def test_while_the_root_key_is_away_the_request_waits(services: Services, make_job, monkeypatch):
    made, node = await make_job(), TrainingNode(services)
    waiting = await ask(services, node, await node.lease())

    async def away(*_arguments: object) -> bytes:
        raise Unavailable("the root key is away")

    monkeypatch.setattr(Keyring, "open_data_key", away)
    await answer(services)
    (message,) = await requests(services)
    assert message.last_error == "Unavailable: the root key is away"
    assert [(grant.response, grant.error_code) for grant in await grants(services, made)] == [(None, None)]
    assert not waiting.done()
    monkeypatch.undo()
    await answer(services)
    assert (await waiting).data_set == (await keys_of(services, made))[0]


async def test_without_a_worker_the_wait_ends(services: Services, make_job, monkeypatch):
    monkeypatch.setattr(request_grant, "LONGEST_WAIT", 0.1)
    made, node = await make_job(), TrainingNode(services)
    with pytest.raises(Unavailable, match=r"no worker answered .* is one running"):
        await request_keys(services.get(Database), await node.lease(), node.key)
    assert (await grants(services, made))[0].response is None


async def test_grants_go_with_the_lease(services: Services, make_job, clock: TravellingClock, worker):
    database = services.get(Database)
    for end in (end_by_handing_back, end_by_cancelling, end_by_failing, end_by_another_lease):
        made, node = await make_job(), TrainingNode(services)
        lease = await node.lease()
        assert lease.job_id == made.job.id
        await request_keys(database, lease, node.key)
        assert len(await grants(services, made)) == 1
        await end(services, clock, node, lease)
        assert await grants(services, made) == [], end.__name__
        async with database.unit_of_work(made.tenant.tenant_id) as uow:
            await uow.session.execute(update(TrainingJob).values(status="cancelled"))


async def test_one_job_s_grants_end_alone(services: Services, make_job, worker):
    first, node = await make_job(), TrainingNode(services)
    lease = await node.lease()
    await request_keys(services.get(Database), lease, node.key)
    second = await make_job(first.tenant)
    other_lease = await node.lease()
    assert other_lease.job_id == second.job.id
    await request_keys(services.get(Database), other_lease, node.key)
    async with services.get(Database).unit_of_work(first.tenant.tenant_id) as uow:
        await leases.hand_back(uow, other_lease, timedelta())
    assert [grant.job_id for grant in await grants(services, first)] == [first.job.id]


async def test_grants_are_their_tenant_s_alone(services: Services, make_job, sign_up, worker):
    made, node, stranger = await make_job(), TrainingNode(services), await sign_up()
    await request_keys(services.get(Database), await node.lease(), node.key)
    async with services.get(Database).unit_of_work(stranger.tenant_id) as uow:
        assert await uow.session.scalar(select(func.count()).select_from(LeaseGrant)) == 0
    with pytest.raises(IntegrityError, match="violates foreign key constraint"):
        async with services.get(Database).unit_of_work(stranger.tenant_id) as uow:
            uow.session.add(
                LeaseGrant(job_id=made.job.id, lease_token=1, node="x", kind="keys", request=b"", created_at=uow.now())
            )
    for statement in ("SELECT response FROM lease_grants", "UPDATE lease_grants SET response = ''"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            async with services.get(Database).dispatch() as uow:
                await uow.session.execute(text(statement))
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with services.get(Database).unit_of_work(made.tenant.tenant_id) as uow:
            await uow.session.execute(text("UPDATE lease_grants SET lease_token = 99"))


# Signatures


@pytest.fixture
async def trained(services: Services, make_job):
    """A job that is trained to its end, its lease, and the manifest that is due."""
    made, node = await make_job(), TrainingNode(services)
    lease = await node.lease()
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        await leases.start(uow, lease, 1)
        await leases.commit_checkpoint(
            uow, lease, step=1, trained_tokens=made.quote.trained_tokens, object_path="x", sha256="", size=0
        )
        base = await uow.session.get_one(BaseModel, made.quote.base_model_id)
    manifest = AdapterManifest(
        name="support",
        version="1",
        base_model=BaseIdentity(base.name, base.revision, "0" * 64),
        quantisation="nf4",
        dataset_sha256=made.data_set.sha256,
        spec=SPEC.within(base.context_length),
        rows=20,
        trained_tokens=made.quote.trained_tokens,
        metrics={"adapter_loss": 1.5},
        created_at="2026-01-01T00:00:00+00:00",
        files={"adapter_model.safetensors": FileDigest(3, "0" * 64)},
    )
    return made, lease, manifest


async def test_the_manifest_of_the_job_is_signed(services: Services, trained, worker):
    _, lease, manifest = trained
    signature = await request_signature(services.get(Database), lease, manifest.to_bytes())
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        public_key = (await services.get(Keyring).signer(uow)).public_key
    verify(manifest.to_bytes(), msgspec.json.decode(signature), public_key, "tunery-adapter/1")


WRONG: dict[str, Any] = {
    "name": "another",
    "base_model": BaseIdentity("tunery/other", "1", "0" * 64),
    "dataset_sha256": "f" * 64,
    "trained_tokens": 1,
    "spec": TrainingSpec(rank=5, batch_rows=4, epochs=1),
}


@pytest.mark.parametrize("what", WRONG)
async def test_a_manifest_that_is_not_the_job_s_is_not_signed(services: Services, trained, worker, what):
    made, lease, manifest = trained
    wrong = msgspec.structs.replace(manifest, **{what: WRONG[what]})
    with pytest.raises(DomainError) as refusal:
        await request_signature(services.get(Database), lease, wrong.to_bytes())
    assert refusal.value.error_code == "MANIFEST_INVALID"
    assert [grant.response for grant in await grants(services, made)] == [None]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":"tunery-erasure/1"}', b"x" * 300_000])
async def test_nothing_but_a_manifest_is_signed(services: Services, trained, worker, content):
    made, lease, _ = trained
    with pytest.raises(DomainError) as refusal:
        await request_signature(services.get(Database), lease, content)
    assert refusal.value.error_code == "MANIFEST_INVALID"
    assert [grant.response for grant in await grants(services, made)] == [None]


async def test_a_job_that_is_not_trained_to_its_end_gets_no_signature(services: Services, trained, worker, owner):
    made, lease, manifest = trained
    await owner.execute("UPDATE training_jobs SET trained_tokens = trained_tokens - 1 WHERE id = $1", made.job.id)
    with pytest.raises(DomainError, match="settled tokens") as refusal:
        await request_signature(services.get(Database), lease, manifest.to_bytes())
    assert refusal.value.error_code == "MANIFEST_INVALID"


async def test_a_node_that_is_not_alive_gets_no_signature(services: Services, trained, worker):
    made, lease, manifest = trained
    async with services.get(Database).dispatch() as uow:
        await uow.session.execute(text("DELETE FROM nodes"))
    with pytest.raises(LeaseLost):
        await request_signature(services.get(Database), lease, manifest.to_bytes())
    assert await grants(services, made) == []


async def test_a_version_that_another_job_took_is_asked_for_again(services: Services, trained, worker):
    made, lease, manifest = trained
    async with services.get(Database).unit_of_work(lease.tenant_id) as uow:
        uow.session.add(
            AdapterVersion(
                adapter_id=made.job.adapter_id, number=1, job_id=made.job.id, digest=f"taken {made.job.id}",
                manifest={}, files=[], object_prefix="", created_at=uow.now(),
            )
        )  # fmt: skip
    with pytest.raises(Unavailable, match="the next version of this adapter is 2, not 1"):
        await request_signature(services.get(Database), lease, manifest.to_bytes())


async def test_a_lease_gets_one_signature(services: Services, trained, worker):
    _, lease, manifest = trained
    await request_signature(services.get(Database), lease, manifest.to_bytes())
    with pytest.raises(IntegrityError):
        await request_signature(services.get(Database), lease, manifest.to_bytes())
