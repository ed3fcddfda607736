"""Leaky buckets of points in Valkey, shared by all processes, spent mostly without a round trip.

A process draws points from Valkey in instalments of a twentieth of a bucket (more when one request needs more) and
spends them locally. Valkey keeps count of what each process may hold and refills a bucket only up to its capacity less
that, so all processes together grant at most `capacity + per_second * interval` points in any interval, net of what was
given back (points count from when Valkey hears of them, which for those of a request that is waited for is a round trip
early). Instalments return once their bucket was idle for two seconds; those of a dead process lapse after ten.
Until then, N processes keep up to N twentieths of a bucket from the others.

Buckets that are taken from together have a part of their names in braces in common, so that a Valkey cluster keeps them
on one node.

Losing Valkey loses nothing: until it answers again, each process enforces the buckets by itself.
"""

import asyncio
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tunery.core.logs import get_logger

INSTALMENTS = 20
"""Into which a full bucket divides."""
IDLE_SECONDS = 2.0
LEASE_SECONDS = 10.0
"""For how long a process may spend an instalment. It returns one that is in use when half of this is over."""
FRESH_SECONDS = 1.0
"""For how long what Valkey said suffices to refuse: the soonest that points which others return are noticed."""
RETRY_SECONDS = 1.0
ANSWER_SECONDS = 0.5
FORGET_SECONDS = 60.0
SWEEP_SECONDS = 1.0
MOST_AT_ONCE = 100
"""Instalments that return in one round trip; they are locked as long."""
MOST_EXCHANGES = 3
"""For one request. Points that seem to be there may be held by other processes."""

# Gives back what the process has left of each bucket and, if every bucket then has what is needed, draws from each.
# KEYS: the buckets, each a hash: `level`, the points in it; `at`, when that was, in seconds; and under the name of each
#   process "<points> <until>": what it keeps beyond what it needed at once, and until when.
# ARGV: the process; for how many seconds it may hold points; then of each bucket: capacity, points per second, points
#   given back, points needed, points wanted (drawn if they are there).
# Answers of each bucket: points drawn, points left. The time is Valkey's, so the processes' clocks don't matter.
EXCHANGE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local process, lease = ARGV[1], tonumber(ARGV[2])
local buckets, enough = {}, true
for i, key in ipairs(KEYS) do
  local a = 5 * i - 2
  local capacity, per_second, back = tonumber(ARGV[a]), tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local needed, wanted = tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
  local level, at, held = capacity, now, 0
  local hash = redis.call('HGETALL', key)
  for f = 1, #hash, 2 do
    local name, value = hash[f], hash[f + 1]
    if name == 'level' then level = tonumber(value)
    elseif name == 'at' then at = tonumber(value)
    elseif name ~= process then
      local points, ends = string.match(value, '(%S+) (%S+)')
      if tonumber(ends) > now then held = held + tonumber(points) else redis.call('HDEL', key, name) end
    end
  end
  level = level + math.max(0, now - at) * per_second + back
  level = math.max(0, math.min(capacity - held, level))
  if level < needed then enough = false end
  buckets[i] = {level = level, needed = needed, wanted = wanted, capacity = capacity, per_second = per_second}
end
local answer = {}
for i, key in ipairs(KEYS) do
  local bucket, drawn = buckets[i], 0
  if enough then drawn = math.floor(math.min(bucket.level, bucket.wanted)) end
  local level = bucket.level - drawn
  redis.call('HSET', key, 'level', string.format('%.17g', level), 'at', string.format('%.17g', now))
  local kept = drawn - bucket.needed
  if kept > 0 then redis.call('HSET', key, process, string.format('%d %.17g', kept, now + lease))
  else redis.call('HDEL', key, process) end
  -- When it is full again and nobody holds any of it, a bucket is as good as absent.
  redis.call('EXPIRE', key, math.ceil(math.max((bucket.capacity - level) / bucket.per_second, lease)) + 1)
  answer[2 * i - 1], answer[2 * i] = drawn, math.floor(level)
end
return answer
"""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Holds up to `capacity` points and gains `per_second` (above 0). The name holds ids, no secrets.

    When a name comes with another capacity or rate, that counts from the next exchange with Valkey, seconds later.
    """

    name: str
    capacity: int
    per_second: float


class Taken(NamedTuple):
    """How a request fared, and the state of the bucket that has the fewest points left or refused for the longest.

    Attributes:
        remaining: points that the bucket had when Valkey was last asked, less what this process spent since: an
            estimate, because it ignores the refill since then and what other processes hold or spend.
        limit: the bucket's capacity.
        reset_seconds: until it is full if nobody spends.
        retry_after: seconds until the points will be there, at least 1; 0 when allowed, and when more points were
            asked for than the bucket can ever hold, so that waiting is of no use.
    """

    allowed: bool
    remaining: int
    limit: int
    reset_seconds: int
    retry_after: int


@dataclass(slots=True, eq=False)
class _Instalment:
    """What this process holds of a bucket and knows of it."""

    bucket: Bucket
    used_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  # held during exchanges with Valkey
    points: float = 0.0  # to spend
    most: float = 0.0  # that `points` may become by refunds: what Valkey has down as held here
    refunds: float = 0.0  # beyond that, for Valkey
    until: float = -math.inf  # when the lease ends
    level: float = 0.0  # points in Valkey at `asked_at`
    asked_at: float = -math.inf  # never: the bucket may be full
    alone: bool = False  # `points` is the whole bucket, because Valkey is away

    def available(self, now: float) -> float:
        """The most that may be there, in Valkey and here."""
        refilled = (now - self.asked_at) * self.bucket.per_second
        return min(self.bucket.capacity, self.points + self.refunds + self.level + refilled)

    def surrender(self, now: float) -> float:
        """Empties it, for Valkey. What the lease no longer covers is void: Valkey has refilled the bucket for it."""
        surrendered = self.refunds + (self.points if now < self.until else 0.0)
        self.points = self.most = self.refunds = 0.0
        self.asked_at = -math.inf
        return 0.0 if self.alone else surrendered

    def receive(self, points: float, level: float, needed: int, now: float, until: float) -> None:
        self.points, self.most = points, max(0, points - needed)  # the needed are spent at once
        self.level, self.asked_at, self.until, self.alone = level, now, until, False

    def go_alone(self, points: float, now: float) -> None:
        """Be the bucket until Valkey may be asked again."""
        self.points, self.most, self.refunds = points, self.bucket.capacity, 0.0
        self.level, self.asked_at, self.until, self.alone = 0.0, now, now + RETRY_SECONDS, True


class RateLimiter:
    """Of one process: `async with` it, so that what it holds goes back. `now` is monotonic, in seconds.

    A take that is cancelled while it waits for Valkey costs the bucket what it had asked for.
    """

    def __init__(self, redis: Redis, now: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._exchange_script = redis.register_script(EXCHANGE)
        self._now = now
        self._process = secrets.token_hex(8)
        self._instalments: dict[str, _Instalment] = {}
        self._retry_at: float | None = None  # while Valkey is away
        self._sweeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._sweeping = asyncio.create_task(self._sweep_forever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        await self._return([each for each in self._instalments.values() if each.most or each.refunds])

    def take(self, buckets: Sequence[Bucket], points: int) -> Taken | Awaitable[Taken]:
        """Take points from each of at least one, different buckets, or from none. Await the answer if it isn't there.

        It is there when what is held or known here suffices, which is nearly always. Never fails for want of Valkey.
        """
        return self.take_here(buckets, points) or self._take_from_valkey(buckets, points)

    def give_back(self, buckets: Sequence[Bucket], points: int) -> None:
        """Return what a request took and then didn't need: to be spent here, or by way of Valkey within seconds."""
        for bucket in buckets:
            instalment = self._instalments.get(bucket.name) or self._instalment(bucket)
            kept = min(points, instalment.most - instalment.points)
            instalment.points += kept
            instalment.refunds += points - kept

    def take_here(self, buckets: Sequence[Bucket], points: int) -> Taken | None:
        """None: Valkey has to be asked."""
        now = self._now()
        instalments = []
        for bucket in buckets:
            instalment = self._instalments.get(bucket.name)
            if instalment is None or instalment.points < points or now >= instalment.until:
                return self._refuse(buckets, points, now)
            instalments.append(instalment)
        fewest = math.inf
        for instalment in instalments:
            instalment.points -= points
            instalment.used_at = now
            remaining = instalment.points + instalment.level
            if remaining < fewest:
                fewest, tightest = remaining, instalment.bucket
        reset_seconds = math.ceil((tightest.capacity - fewest) / tightest.per_second)
        return Taken(True, int(fewest), tightest.capacity, reset_seconds, 0)

    def _refuse(self, buckets: Sequence[Bucket], points: int, now: float) -> Taken | None:
        """If a bucket is known not to have the points; else None."""
        longest = 0.0
        refusal = None
        for bucket in buckets:
            instalment = self._instalments.get(bucket.name)
            available = bucket.capacity if instalment is None else instalment.available(now)
            if points > bucket.capacity:
                wait, retry_after = math.inf, 0
            elif instalment is not None and now < instalment.asked_at + FRESH_SECONDS:
                wait = (points - available) / bucket.per_second
                retry_after = max(1, math.ceil(wait))
            else:
                continue
            if wait > longest:
                reset_seconds = math.ceil((bucket.capacity - available) / bucket.per_second)
                longest, refusal = wait, Taken(False, int(available), bucket.capacity, reset_seconds, retry_after)
        return refusal

    async def _take_from_valkey(self, buckets: Sequence[Bucket], points: int) -> Taken:
        instalments = [self._instalment(bucket) for bucket in buckets]
        async with await _lock(instalments):
            for _ in range(MOST_EXCHANGES):
                # The caller that held the locks before may have drawn enough for this one, or learned that there isn't.
                taken = self.take_here(buckets, points)
                if taken is not None:
                    return taken
                await self._exchange(instalments, points)
            return self.take_here(buckets, points) or _held_by_others(instalments)

    def _instalment(self, bucket: Bucket) -> _Instalment:
        instalment = self._instalments.get(bucket.name)
        if instalment is None:
            instalment = self._instalments[bucket.name] = _Instalment(bucket)
        instalment.bucket, instalment.used_at = bucket, self._now()
        return instalment

    async def _exchange(self, instalments: Sequence[_Instalment], needed: int) -> None:
        """Give back what is held and draw anew, for instalments that the caller has locked. Needed 0 draws nothing."""
        now = self._now()
        available = [instalment.available(now) for instalment in instalments]
        if self._retry_at is None or now >= self._retry_at:
            if self._retry_at is not None:
                self._retry_at = now + RETRY_SECONDS
            arguments: list[list[float]] = []
            for instalment in instalments:
                bucket = instalment.bucket
                wanted = max(needed, bucket.capacity // INSTALMENTS) if needed else 0
                arguments.append([bucket.capacity, bucket.per_second, instalment.surrender(now), needed, wanted])
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    answer = await self._ask([instalment.bucket.name for instalment in instalments], arguments, needed)
            except (RedisError, OSError) as error:
                if self._retry_at is None:
                    log.warning("rate limits are kept per process: no answer from Valkey", error=repr(error))
                self._retry_at = self._now() + RETRY_SECONDS
            else:
                self._retry_at = None
                answered_at = self._now()
                # Counted from before Valkey was asked: ends here no later than there.
                until = now + LEASE_SECONDS
                for instalment, drawn, level in zip(instalments, answer[::2], answer[1::2], strict=True):
                    instalment.receive(drawn, level, needed, answered_at, until)
                return
        for instalment, points in zip(instalments, available, strict=True):
            instalment.go_alone(points, now)

    async def _ask(self, names: Sequence[str], arguments: Sequence[Sequence[float]], needed: int) -> list[int]:
        """Valkey, in one round trip or two. Its script's answer."""
        keys = [f"tunery:bucket:{name}" for name in names]
        common = (self._process, LEASE_SECONDS)
        if needed:
            return list(await self._exchange_script(keys, [*common, *chain.from_iterable(arguments)]))
        # What needs nothing needs no other bucket either: one script each, so that a cluster may have them anywhere.
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key, own in zip(keys, arguments, strict=True):
                await self._exchange_script([key], [*common, *own], client=pipeline)
            return list(chain.from_iterable(await pipeline.execute()))

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> None:
        """Return instalments that are idle or half through their lease; forget buckets that nobody uses."""
        now = self._now()
        due = []
        for name, instalment in list(self._instalments.items()):
            idle = now - instalment.used_at
            if idle >= FORGET_SECONDS and not instalment.lock.locked():
                del self._instalments[name]
            elif (instalment.most or instalment.refunds) and (
                idle >= IDLE_SECONDS or now >= instalment.until - LEASE_SECONDS / 2
            ):
                due.append(instalment)
        await self._return(due)

    async def _return(self, instalments: Sequence[_Instalment]) -> None:
        for first in range(0, len(instalments), MOST_AT_ONCE):
            together = instalments[first : first + MOST_AT_ONCE]
            async with await _lock(together):
                await self._exchange(together, 0)


def _held_by_others(instalments: Sequence[_Instalment]) -> Taken:
    """A refusal, for points that are not to be had although the bucket isn't known to lack them."""
    tightest = min(instalments, key=lambda each: each.level)
    bucket = tightest.bucket
    reset_seconds = math.ceil((bucket.capacity - tightest.level) / bucket.per_second)
    return Taken(False, int(tightest.level), bucket.capacity, reset_seconds, 1)


async def _lock(instalments: Sequence[_Instalment]) -> AsyncExitStack:
    """Lock all, in one order everywhere, so that no two callers wait for each other. The block's end unlocks them."""
    async with AsyncExitStack() as locks:
        for instalment in sorted(instalments, key=lambda each: each.bucket.name):
            await locks.enter_async_context(instalment.lock)
        return locks.pop_all()
