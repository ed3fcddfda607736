"""The queue that wakes workers and nodes: others write to the same Redis."""

import asyncio
import contextlib
import pickle
import time
from pathlib import Path

import pytest
from arq.connections import ArqRedis

from tunery.app.servers import serve_queue
from tunery.core.database import Database
from tunery.core.outbox import enqueue, relay_due
from tunery.core.services import Services

QUEUE = "tunery:test-queue"


class Bomb:
    """What runs code wherever it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self):
        return (Path.touch, (self._file,))


@pytest.fixture
async def redis(services: Services, owner):
    await owner.execute("DELETE FROM outbox")
    redis = services.get(ArqRedis)
    yield redis
    await redis.flushdb()


async def test_what_others_put_there_runs_no_code_and_stops_nothing(services: Services, sign_up, redis, tmp_path: Path):
    seen = asyncio.Event()

    async def note(_services: Services) -> None:
        seen.set()

    exploded = tmp_path / "exploded"
    now = int(time.time() * 1000)
    for number, message in enumerate((
        pickle.dumps({"t": 1, "f": "run_task", "a": (Bomb(exploded),), "k": {}, "et": now}),
        pickle.dumps(Bomb(exploded)),
        b"\xff",
        b"{}",
        b'{"t":1,"f":"os.system","a":["x"],"k":{},"et":1}',
        b'{"t":1,"f":"run_task","a":["no id"],"k":{},"et":1}',
    )):  # fmt: skip
        await redis.psetex(f"arq:job:{number}", 60_000, message)
        await redis.zadd(QUEUE, {str(number): now})
    tenant = await sign_up()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        enqueue(uow, "note", queue=QUEUE)
    await relay_due(services.get(Database), redis)
    serving = asyncio.create_task(serve_queue(services, QUEUE, {"note": note}))
    try:
        async with asyncio.timeout(20):
            await seen.wait()
            while await redis.zcard(QUEUE):  # noqa: ASYNC110 - another process's queue
                await asyncio.sleep(0.05)
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
    assert not await asyncio.to_thread(exploded.exists)
