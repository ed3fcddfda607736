import asyncio
from datetime import timedelta
from uuid import UUID

import pytest
from arq.connections import ArqRedis
from sqlalchemy import select

from tunery.core.clock import TravellingClock
from tunery.core.database import Database
from tunery.core.outbox import OutboxMessage, enqueue, relay_due, run_task
from tunery.core.services import Services

QUEUE = "tunery:test"


@pytest.fixture
async def redis(services: Services, owner):
    """With nothing handed over yet, nor waiting for that."""
    await owner.execute("DELETE FROM outbox")
    redis = services.get(ArqRedis)
    await redis.flushdb()
    yield redis
    await redis.flushdb()


async def queued(redis: ArqRedis) -> list[UUID]:
    return [UUID(job.args[0]) for job in await redis.queued_jobs(queue_name=QUEUE)]


async def enqueue_one(services: Services, tenant_id: UUID, task: str = "note", **arguments: str) -> UUID:
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        enqueue(uow, task, queue=QUEUE, **arguments)
        await uow.session.flush()
        return (await uow.session.scalars(select(OutboxMessage.id).order_by(OutboxMessage.id.desc()))).first()


async def message(services: Services, identifier: UUID) -> OutboxMessage:
    async with services.get(Database).dispatch() as uow:
        return await uow.session.get_one(OutboxMessage, identifier)


async def test_a_rolled_back_transaction_enqueues_nothing(services: Services, sign_up, redis: ArqRedis):
    tenant = await sign_up()
    with pytest.raises(RuntimeError):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            enqueue(uow, "note", queue=QUEUE)
            await uow.session.flush()
            raise RuntimeError
    await relay_due(services.get(Database), redis)
    assert await queued(redis) == []


async def test_a_message_is_handed_over_until_its_task_has_run(
    services: Services, sign_up, redis: ArqRedis, clock: TravellingClock
):
    tenant = await sign_up()
    identifier = await enqueue_one(services, tenant.tenant_id, text="hello")
    database, seen = services.get(Database), []

    async def note(_services: Services, text: str) -> None:
        seen.append(text)

    await relay_due(database, redis)
    await relay_due(database, redis)
    assert await queued(redis) == [identifier]

    await redis.flushdb()  # Redis forgets everything: nothing is lost
    clock.travel(timedelta(minutes=1))
    await relay_due(database, redis)
    assert await queued(redis) == [identifier]

    await run_task(services, {"note": note}, identifier)
    await run_task(services, {"note": note}, identifier)
    assert seen == ["hello"]
    clock.travel(timedelta(days=1))
    await redis.flushdb()
    await relay_due(database, redis)
    assert identifier not in await queued(redis)


async def test_a_failed_task_is_tried_again_later_and_says_why(
    services: Services, sign_up, redis: ArqRedis, clock: TravellingClock
):
    tenant = await sign_up()
    identifier = await enqueue_one(services, tenant.tenant_id, task="break")
    database, attempts = services.get(Database), []

    async def fail_once(_services: Services) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("not today")

    await relay_due(database, redis)
    await run_task(services, {"break": fail_once}, identifier)
    failed = await message(services, identifier)
    assert failed.handled_at is None
    assert failed.last_error == "ValueError: not today"
    clock.travel(timedelta(minutes=1))
    await relay_due(database, redis)
    await run_task(services, {"break": fail_once}, identifier)
    done = await message(services, identifier)
    assert (done.attempts, len(attempts), done.last_error) == (2, 2, None)
    assert done.handled_at is not None


async def test_concurrent_relays_hand_a_message_over_once(services: Services, sign_up, redis: ArqRedis):
    tenant = await sign_up()
    identifiers = [await enqueue_one(services, tenant.tenant_id) for _ in range(20)]
    database = services.get(Database)
    counts = await asyncio.gather(*(relay_due(database, redis) for _ in range(4)))
    assert sum(counts) == len(identifiers)
    assert sorted(await queued(redis)) == sorted(identifiers)


async def test_a_tenant_cannot_read_or_change_what_others_enqueued(services: Services, sign_up):
    tenant, stranger = await sign_up(), await sign_up()
    identifier = await enqueue_one(services, tenant.tenant_id)
    async with services.get(Database).unit_of_work(stranger.tenant_id) as uow:
        assert await uow.session.get(OutboxMessage, identifier) is None
