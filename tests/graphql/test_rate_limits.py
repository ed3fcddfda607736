"""Buckets of points on a real Valkey: never overspent by any number of processes, kept locally while it is away."""

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import structlog
from arq.connections import ArqRedis

import tunery.app.embedded.valkey
from tunery.app.embedded.guarded_process import free_port
from tunery.app.embedded.valkey import RunningValkey, start_valkey
from tunery.core.identity import Identity
from tunery.graphql import rate_limits
from tunery.graphql.options import GraphQLOptions
from tunery.graphql.pricing import buckets_of
from tunery.graphql.rate_limits import Bucket, RateLimiter, Taken

SLOW = 0.001
"""Points per second of a bucket that doesn't refill while a test runs."""


class TravellingMonotonic:
    def __init__(self) -> None:
        self.distance = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.distance


class Meter:
    """A leaky bucket over what was granted: `fullest` exceeds the capacity if any interval's grants were too many."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.granted = 0
        self.level = self.fullest = 0.0
        self.at = time.monotonic()

    def add(self, points: int) -> None:
        now = time.monotonic()
        self.level = max(0.0, self.level - (now - self.at) * self.per_second) + points
        self.at = now
        self.granted += points
        self.fullest = max(self.fullest, self.level)


async def take(limiter: RateLimiter, buckets: Sequence[Bucket], points: int) -> Taken:
    taken = limiter.take(buckets, points)
    return taken if isinstance(taken, Taken) else await taken


async def take_all(limiter: RateLimiter, bucket: Bucket) -> int:
    """Point by point, until refused."""
    points = 0
    while (await take(limiter, [bucket], 1)).allowed:
        points += 1
    return points


async def level(redis: ArqRedis, bucket: Bucket) -> int:
    return round(float(await redis.hget(f"tunery:bucket:{bucket.name}", "level")))


@pytest.fixture
async def redis(valkey: RunningValkey) -> AsyncIterator[ArqRedis]:
    async with ArqRedis.from_url(valkey.url) as redis:
        await redis.flushdb()
        yield redis


@pytest.fixture
def now() -> TravellingMonotonic:
    return TravellingMonotonic()


@pytest.fixture
async def limiter(redis: ArqRedis, now: TravellingMonotonic) -> AsyncIterator[RateLimiter]:
    async with RateLimiter(redis, now) as limiter:
        yield limiter


@pytest.fixture
async def other(redis: ArqRedis, now: TravellingMonotonic) -> AsyncIterator[RateLimiter]:
    """Of another process."""
    async with RateLimiter(redis, now) as limiter:
        yield limiter


async def test_a_request_takes_from_every_bucket_and_is_told_of_the_tightest(limiter: RateLimiter) -> None:
    key, tenant = Bucket("key", 100, 10), Bucket("tenant", 1000, 10)
    assert await take(limiter, [key, tenant], 30) == Taken(True, 70, 100, 3, 0)
    assert await take(limiter, [tenant], 1) == Taken(True, 969, 1000, 4, 0)


async def test_most_requests_do_not_ask_valkey(limiter: RateLimiter, redis: ArqRedis) -> None:
    buckets = [Bucket("key", 10_000, SLOW), Bucket("tenant", 10_000, SLOW)]
    await redis.config_resetstat()
    asked = 0
    for _ in range(500):
        taken = limiter.take(buckets, 2)
        if not isinstance(taken, Taken):
            asked += 1
            taken = await taken
        assert taken.allowed
    assert asked == 2
    assert (await redis.info("commandstats"))["cmdstat_hgetall"]["calls"] == 4


async def test_callers_short_of_the_same_bucket_share_one_exchange(limiter: RateLimiter, redis: ArqRedis) -> None:
    bucket = Bucket("key", 1000, SLOW)
    await redis.config_resetstat()
    results = await asyncio.gather(*(take(limiter, [bucket], 1) for _ in range(50)))
    assert all(taken.allowed for taken in results)
    assert (await redis.info("commandstats"))["cmdstat_hgetall"]["calls"] == 1


async def test_a_refusal_takes_from_no_bucket_and_says_when_to_come_back(
    limiter: RateLimiter, other: RateLimiter, redis: ArqRedis
) -> None:
    key, tenant = Bucket("key", 100, 2), Bucket("tenant", 1000, SLOW)
    assert (await take(limiter, [key, tenant], 95)).allowed
    for process in (limiter, other):
        refused = await take(process, [key, tenant], 20)
        assert (refused.allowed, refused.remaining, refused.limit) == (False, 5, 100)
        assert refused.retry_after == 8  # (20 - 5) / 2
        assert refused.reset_seconds == 48
    assert await level(redis, tenant) == 905
    assert await redis.hlen("tunery:bucket:tenant") == 2  # nobody holds any


async def test_a_refusal_asks_for_a_second_at_least(limiter: RateLimiter) -> None:
    bucket = Bucket("key", 10, 5)
    await take(limiter, [bucket], 10)
    assert (await take(limiter, [bucket], 1)).retry_after == 1


async def test_refusals_of_an_empty_bucket_do_not_ask_valkey_each_time(limiter: RateLimiter, redis: ArqRedis) -> None:
    bucket = Bucket("key", 10, SLOW)
    await take(limiter, [bucket], 10)
    await redis.config_resetstat()
    for _ in range(100):
        assert not (await take(limiter, [bucket], 1)).allowed
    assert (await redis.info("commandstats")).get("cmdstat_hgetall", {"calls": 0})["calls"] <= 1


async def test_more_than_a_bucket_holds_is_refused_for_good(limiter: RateLimiter) -> None:
    refused = await take(limiter, [Bucket("key", 10, 5), Bucket("tenant", 100, 5)], 11)
    assert refused == Taken(False, 10, 10, 0, 0)
    assert (await take(limiter, [Bucket("key", 10, 5)], 10)).allowed


async def test_a_bucket_refills(limiter: RateLimiter) -> None:
    bucket = Bucket("key", 10, 50)
    assert await take_all(limiter, bucket) >= 10
    await asyncio.sleep(0.1)
    assert (await take(limiter, [bucket], 4)).allowed


async def test_what_is_given_back_can_be_taken_again(limiter: RateLimiter) -> None:
    bucket = Bucket("key", 100, SLOW)
    await take(limiter, [bucket], 1)
    limiter.take([bucket], 4)
    limiter.give_back([bucket], 3)
    assert isinstance(limiter.take([bucket], 3), Taken)
    assert (await take(limiter, [bucket], 95)).allowed
    limiter.give_back([bucket], 60)
    assert (await take(limiter, [bucket], 40)).allowed
    assert await take_all(limiter, bucket) == 20


async def test_what_is_given_back_late_returns_by_way_of_valkey(
    limiter: RateLimiter, other: RateLimiter, redis: ArqRedis, now: TravellingMonotonic
) -> None:
    bucket = Bucket("key", 100, SLOW)
    await take(limiter, [bucket], 100)
    now.distance += rate_limits.IDLE_SECONDS
    await limiter.sweep()
    limiter.give_back([bucket], 60)
    await limiter.sweep()
    assert await level(redis, bucket) == 60
    assert await take_all(other, bucket) == 60


async def test_giving_back_never_overfills_a_bucket(
    limiter: RateLimiter, redis: ArqRedis, now: TravellingMonotonic
) -> None:
    bucket = Bucket("key", 100, 5000)
    await take(limiter, [bucket], 60)
    await asyncio.sleep(0.02)  # full again
    limiter.give_back([bucket], 50)
    now.distance += rate_limits.IDLE_SECONDS
    await limiter.sweep()
    assert await level(redis, bucket) == 100


async def test_idle_points_return_for_other_processes_to_use(
    limiter: RateLimiter, other: RateLimiter, now: TravellingMonotonic
) -> None:
    bucket = Bucket("key", 100, SLOW)
    await take(limiter, [bucket], 1)
    assert await take_all(other, bucket) == 95  # a twentieth is held by the first
    now.distance += rate_limits.IDLE_SECONDS
    await limiter.sweep()
    assert await take_all(other, bucket) == 4


async def test_the_limiter_sweeps_by_itself(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(rate_limits, "IDLE_SECONDS", 0.02)
    bucket = Bucket("key", 100, SLOW)
    async with RateLimiter(redis) as limiter:
        await take(limiter, [bucket], 1)
        for _ in range(1000):
            if await level(redis, bucket) == 99:
                break
            await asyncio.sleep(0.01)
        assert await level(redis, bucket) == 99


def exchanges_of(limiter: RateLimiter, monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with each time that the limiter asks Valkey."""
    asked: list[None] = []
    script = limiter._exchange_script

    async def ask(*arguments: object) -> object:
        asked.append(None)
        return await script(*arguments)

    monkeypatch.setattr(limiter, "_exchange_script", ask)
    return asked


async def test_points_that_others_hold_are_not_asked_for_without_end(
    limiter: RateLimiter, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole bucket is out, and what it regains in no time has no room in it."""
    bucket = Bucket("key", 1000, 10**9)
    holders = [RateLimiter(redis) for _ in range(20)]
    for holder in holders:
        assert (await take(holder, [bucket], 1)).allowed
    asked = exchanges_of(limiter, monkeypatch)
    async with asyncio.timeout(5):
        refused = await take(limiter, [bucket], 500)
    assert (refused.allowed, refused.remaining, refused.limit, refused.retry_after) == (False, 20, 1000, 1)
    assert len(asked) == rate_limits.MOST_EXCHANGES


async def test_a_valkey_cluster_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It refuses scripts whose keys are not all in one slot. One node with all slots does, too."""
    sound = tunery.app.embedded.valkey.configuration

    def clustered(port: int, password: str) -> str:
        return sound(port, password) + f"cluster-enabled yes\ncluster-port {free_port('127.0.0.1')}\n"

    monkeypatch.setattr(tunery.app.embedded.valkey, "configuration", clustered)
    valkey = start_valkey(tmp_path)
    options = GraphQLOptions(points_per_second=SLOW, anonymous_points_per_second=SLOW)
    paid_together = [buckets_of(Identity(uuid4(), uuid4(), uuid4()), "", options) for _ in range(3)]
    paid_together += [buckets_of(None, f"192.0.2.{number}", options) for number in range(3)]
    try:
        async with ArqRedis.from_url(valkey.url) as redis:
            await redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in await redis.execute_command("CLUSTER", "INFO"):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)
            with structlog.testing.capture_logs() as logs:
                async with RateLimiter(redis) as limiter:
                    for buckets in paid_together:
                        assert (await take(limiter, buckets, 10)).allowed
            assert logs == [], "it answered each time"
            for buckets in paid_together:
                assert [await level(redis, bucket) for bucket in buckets] == [each.capacity - 10 for each in buckets]
    finally:
        valkey.stop()


async def test_closing_returns_everything(redis: ArqRedis) -> None:
    buckets = [Bucket(f"key-{number}", 100, SLOW) for number in range(250)]
    async with RateLimiter(redis) as limiter:
        await asyncio.gather(*(take(limiter, [bucket], 1) for bucket in buckets))
        assert await level(redis, buckets[0]) == 95
    assert {await level(redis, bucket) for bucket in buckets} == {99}


async def test_idle_points_return_in_few_round_trips(
    limiter: RateLimiter, redis: ArqRedis, now: TravellingMonotonic
) -> None:
    buckets = [Bucket(f"key-{number}", 100, SLOW) for number in range(250)]
    for bucket in buckets:
        await take(limiter, [bucket], 1)
    now.distance += rate_limits.IDLE_SECONDS
    await redis.config_resetstat()
    await limiter.sweep()
    assert (await redis.info("stats"))["total_reads_processed"] < 50
    assert {await level(redis, bucket) for bucket in buckets} == {99}


async def test_what_a_dead_process_held_lapses(
    limiter: RateLimiter, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket("key", 100, 1000)
    monkeypatch.setattr(rate_limits, "LEASE_SECONDS", 0.02)
    await take(RateLimiter(redis), [bucket], 1)
    await asyncio.sleep(0.05)
    assert (await take(limiter, [bucket], 1)).remaining == 99
    assert await redis.hlen("tunery:bucket:key") == 3  # what one process holds


async def test_a_process_that_was_paused_neither_spends_nor_returns_what_lapsed(
    redis: ArqRedis, other: RateLimiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket("key", 100, SLOW)
    monkeypatch.setattr(rate_limits, "LEASE_SECONDS", 0.02)
    paused = RateLimiter(redis)
    await take(paused, [bucket], 1)
    await asyncio.sleep(0.05)
    assert (await take(other, [bucket], 95)).allowed
    assert not (await take(paused, [bucket], 4)).allowed
    assert await level(redis, bucket) == 0


async def test_buckets_vanish_from_valkey_and_from_memory(
    limiter: RateLimiter, redis: ArqRedis, now: TravellingMonotonic
) -> None:
    bucket = Bucket("key", 100, 0.5)
    await take(limiter, [bucket], 60)
    assert 110 <= await redis.ttl("tunery:bucket:key") <= 121
    now.distance += rate_limits.FORGET_SECONDS
    await limiter.sweep()
    assert limiter._instalments == {}


async def test_a_flushed_bucket_is_full_again(limiter: RateLimiter, redis: ArqRedis, now: TravellingMonotonic) -> None:
    bucket = Bucket("key", 100, SLOW)
    await take(limiter, [bucket], 100)
    await redis.flushall()
    now.distance += rate_limits.FRESH_SECONDS
    assert (await take(limiter, [bucket], 100)).allowed


# What no number of processes may exceed


async def spend(redis: ArqRedis, bucket: Bucket, own: Callable[[int], Bucket], refunds: bool) -> tuple[Meter, float]:
    """400 callers in 4 processes, in waves, for about two seconds. What was granted, and for how long."""
    meter, start = Meter(bucket.per_second), time.monotonic()
    chance = random.Random(3)  # noqa: S311
    async with AsyncExitStack() as stack:
        limiters = [await stack.enter_async_context(RateLimiter(redis)) for _ in range(4)]

        async def call(number: int) -> None:
            process = number % 4
            buckets = [Bucket(f"own-{number % 8}", 100_000, SLOW), own(process)]
            for _wave in range(4):
                for _ in range(3):
                    points = chance.randint(1, 10)
                    if (await take(limiters[process], buckets, points)).allowed:
                        meter.add(points)
                        await asyncio.sleep(chance.random() * 0.05)
                        if refunds:
                            unused = chance.randint(0, points)
                            limiters[process].give_back(buckets, unused)
                            meter.granted -= unused
                await asyncio.sleep(chance.random() * 0.6)

        await asyncio.gather(*(call(number) for number in range(400)))
    return meter, time.monotonic() - start


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instalments return, lapse and are renewed many times while a test runs."""
    monkeypatch.setattr(rate_limits, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(rate_limits, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(rate_limits, "LEASE_SECONDS", 0.2)
    monkeypatch.setattr(rate_limits, "FRESH_SECONDS", 0.05)
    monkeypatch.setattr(rate_limits, "ANSWER_SECONDS", 30)


@pytest.mark.usefixtures("hurried")
async def test_processes_together_never_exceed_the_bucket_in_any_interval(redis: ArqRedis) -> None:
    bucket = Bucket("tenant", 1000, 500)
    meter, seconds = await spend(redis, bucket, lambda _: bucket, refunds=False)
    # The meter counts a request when it hears of it, Valkey up to one round trip earlier: 4 processes, 10 points each.
    assert meter.fullest <= bucket.capacity + 4 * 10
    assert meter.granted >= bucket.per_second * seconds  # nor do they leave it unused


@pytest.mark.usefixtures("hurried")
async def test_processes_with_a_bucket_each_exceed_it(redis: ArqRedis) -> None:
    """The control of the test above: its meter notices."""
    bucket = Bucket("tenant", 1000, 500)
    meter, _ = await spend(redis, bucket, lambda process: Bucket(f"tenant-{process}", 1000, 500), refunds=False)
    assert meter.fullest > 1.5 * bucket.capacity


@pytest.mark.usefixtures("hurried")
async def test_refunds_neither_add_points_nor_lose_them(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "LEASE_SECONDS", 10)  # none lapses, however slow the machine
    bucket = Bucket("tenant", 20_000, SLOW)
    meter, _ = await spend(redis, bucket, lambda _: bucket, refunds=True)
    assert await level(redis, bucket) == bucket.capacity - meter.granted


@pytest.mark.parametrize("counted", [True, False])
async def test_points_that_a_process_holds_are_not_refilled_meanwhile(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, counted: bool
) -> None:
    if not counted:  # the control: a script that forgets who holds what
        monkeypatch.setattr(rate_limits, "EXCHANGE", rate_limits.EXCHANGE.replace("capacity - held", "capacity"))
    bucket = Bucket("key", 1000, 2000)
    async with RateLimiter(redis) as first, RateLimiter(redis) as second:
        await take(first, [bucket], 1)  # holds 49 more
        await asyncio.sleep(0.1)  # refills 200
        meter = Meter(bucket.per_second)
        assert (await take(second, [bucket], 950)).allowed
        meter.add(950)
        if (await take(second, [bucket], 50)).allowed:
            meter.add(50)
        for _ in range(49):
            assert isinstance(first.take([bucket], 1), Taken)
            meter.add(1)
    assert (meter.fullest <= bucket.capacity + 1) == counted


# Without Valkey


@pytest.mark.parametrize("fault", ["killed", "hanging"])
async def test_each_process_goes_on_by_itself_while_valkey_is_away(
    tmp_path: Path, now: TravellingMonotonic, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(rate_limits, "ANSWER_SECONDS", 0.1)
    valkey = start_valkey(tmp_path)
    bucket = Bucket("key", 100, SLOW)
    async with (
        ArqRedis.from_url(valkey.url) as redis,
        RateLimiter(redis, now) as limiter,
        RateLimiter(redis, now) as other,
    ):
        try:
            await take(limiter, [bucket], 40)
            await take(other, [bucket], 10)
            if fault == "killed":
                valkey.stop()
            else:
                os.kill(valkey.pid, signal.SIGSTOP)

            with structlog.testing.capture_logs() as logs:
                assert await take_all(limiter, bucket) == 60  # what it last knew of
                assert not (await take(limiter, [bucket], 10)).allowed
                limiter.give_back([bucket], 5)
                assert await take_all(limiter, bucket) == 5
                now.distance += 20_000  # 20 points refill, and it is asked again
                assert await take_all(limiter, bucket) == 20
                assert (await take(limiter, [Bucket("new", 50, SLOW)], 50)).allowed
                now.distance += 20_000  # 20 more, of which 19 are of no account once Valkey is back
                await take(limiter, [Bucket("new", 50, SLOW)], 1)
                now.distance += 0.9 * rate_limits.RETRY_SECONDS
                assert (await take(limiter, [bucket], 1)).remaining == 19
            assert [(line["log_level"], line["event"]) for line in logs] == [
                ("warning", "rate limits are kept per process: no answer from Valkey")
            ]

            if fault == "killed":
                valkey = start_valkey(tmp_path, port=valkey.port)
            else:
                os.kill(valkey.pid, signal.SIGCONT)
            now.distance += 0.2 * rate_limits.RETRY_SECONDS
            await limiter.sweep()
            first, second = await take(limiter, [bucket], 1), await take(other, [bucket], 1)
            assert first.allowed
            assert second.allowed
            left = await take_all(limiter, bucket) + await take_all(other, bucket)
            # One bucket again. A new server's is full; the other one may have drawn for a call that had gone.
            assert left == 98 if fault == "killed" else 40 <= left <= 48
        finally:
            valkey.stop()


async def test_valkey_that_is_away_is_asked_once_a_second(
    valkey: RunningValkey, now: TravellingMonotonic, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ArqRedis.from_url("redis://127.0.0.1:1/0") as nowhere:
        limiter = RateLimiter(nowhere, now)
        asked = exchanges_of(limiter, monkeypatch)
        for second in range(1, 4):
            for number in range(50):
                assert (await take(limiter, [Bucket(f"key-{number}", 1000, SLOW)], 1)).allowed
            assert len(asked) == second
            now.distance += 1.5
