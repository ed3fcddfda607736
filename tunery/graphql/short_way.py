"""The short way: queries that were asked before, to the letter, answered without parsing HTTP and without ASGI.

What a server parses and an ASGI application is told and has to find out is most of the time of a request that says
nothing new. So this module remembers what a head meant, the endpoint what it made of a body, and the server's protocol
(`app/http_protocol.py`) has them answered from here: caller, points, one statement, bytes. It is for plain cases alone;
whatever is not one goes the long way, where everything is decided. A client can't tell which way its answer came.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from tunery.core.identity import Identity
from tunery.core.logs import REQUEST_ID
from tunery.core.telemetry import Sampler
from tunery.graphql.compression import LEAST_BYTES, THREAD_BYTES, compress_at_once, takes_gzip
from tunery.graphql.endpoint import GraphQLEndpoint, Prepared
from tunery.graphql.errors import as_error, encode_errors
from tunery.graphql.planner.plan import PUBLIC_ONLY, Plan
from tunery.graphql.planner.planner import Planner, Run, whole
from tunery.graphql.pricing import actual_cost, cost_extension, objects_in
from tunery.graphql.rate_limits import Bucket, RateLimiter, Taken
from tunery.graphql.requests import MediaType, accepted

Headers = Sequence[tuple[bytes, bytes]]

DECIDED_ELSEWHERE = {
    b"origin",
    b"traceparent",
    b"x-forwarded-for",
    b"x-forwarded-proto",
    b"transfer-encoding",
    b"expect",
    b"upgrade",
}
"""Headers that middleware or the server act on."""

MOST_HEADS = 10_000
"""That are kept; each takes some 300 bytes."""
MOST_TOO_LONG = 1_000

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-ratelimit-limit: %d\r\n"
    b"x-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\nx-request-id: %b\r\n%b\r\n"
)


class Head(NamedTuple):
    """What the head of a request says: what it takes and gives, in which form, and the digest of who asks."""

    length: int
    """Of the body, in bytes."""
    media: MediaType
    gzip: bool
    authorization: bytes | None


class Begun(NamedTuple):
    """A request under way."""

    prepared: Prepared
    head: Head
    buckets: Sequence[Bucket]
    taken: Taken
    at: float


Finish = Callable[[Begun, "asyncio.Future[bytes | None]"], None]


class ShortWay:
    """Of one process. `remembered` finds whose authorization has a SHA-256."""

    def __init__(
        self,
        endpoint: GraphQLEndpoint,
        planner: Planner,
        remembered: Callable[[bytes], Identity | None],
        rate_limiter: RateLimiter,
        sampler: Sampler | None,
    ) -> None:
        self._endpoint = endpoint
        self._planner = planner
        self._remembered = remembered
        self._rate_limiter = rate_limiter
        self._sampler = sampler or Sampler(0)
        self._heads: dict[bytes, Head] = {}
        """By digest, because API keys stand in them."""
        self._too_long: set[Run | None] = set()
        """Whose answers are compressed beside the event loop, which is not for here."""
        self._counted, self._objects = b"", 0
        """The last answer: identical reads get the same one, one after the other."""
        self._server_headers: Headers = ()
        self._server_lines = b""

    def learn(self, request: bytes, headers: Headers) -> None:
        """Keep what a head says: `headers` are what the server's parser found in whole requests, in their last one."""
        given = dict(headers)
        media = accepted(given.get(b"accept")).media
        if (
            media is None
            or given.get(b"content-type") != b"application/json"
            or b"content-length" not in given
            or not given.keys().isdisjoint(DECIDED_ELSEWHERE)
        ):
            return
        authorization = given.get(b"authorization")
        head = Head(
            int(given[b"content-length"]),
            media,
            takes_gzip(given.get(b"accept-encoding")),
            None if authorization is None else hashlib.sha256(authorization).digest(),
        )
        end = _end_of_head(request)
        if end + head.length == len(request):  # so the first is the last
            if len(self._heads) >= MOST_HEADS:
                del self._heads[next(iter(self._heads))]
            self._heads[_digest(request[:end])] = head

    def begin(self, request: bytes, client: str, finish: Finish) -> bool:
        """Have `finish` called with what was begun and read, maybe at once. False: take the long way; nothing has
        happened.
        """
        end = _end_of_head(request)
        head = self._heads.get(_digest(request[:end]))
        if head is None or end + head.length != len(request):
            return False
        prepared, now = self._endpoint.known(request[end:]), time.perf_counter()
        if prepared is None or prepared.run is None or (head.gzip and prepared.run in self._too_long):
            return False
        identity = None if head.authorization is None else self._remembered(head.authorization)
        if (identity is None and head.authorization is not None) or not _may(identity, prepared.run.plan):
            return False
        buckets = self._endpoint.buckets_of(identity, client)
        if self._sampler.is_due(now) or prepared.requested > self._endpoint.most_points(prepared.operation, buckets):
            return False
        taken = self._rate_limiter.take_here(buckets, prepared.requested)
        if taken is None or not taken.allowed:
            return False
        begun = Begun(prepared, head, buckets, taken, now)
        self._planner.begin(prepared.run, identity, partial(finish, begun))
        return True

    def finish(
        self, begun: Begun, data: "asyncio.Future[bytes | None]", request_id: str, server_headers: Headers
    ) -> bytes | None:
        """The whole response. None: take the long way after all."""
        prepared, head, buckets, taken, _ = begun
        requested, errors = prepared.requested, b""
        if data.cancelled():
            found = None
        elif (error := data.exception()) is not None:
            found = b"null"
            token = REQUEST_ID.set(request_id)  # for the log
            errors = b',"errors":' + encode_errors([as_error(error, request_id)])
            REQUEST_ID.reset(token)
        else:
            found = whole(data.result())
        if found is not None and head.gzip and len(found) >= THREAD_BYTES:
            if len(self._too_long) >= MOST_TOO_LONG:
                self._too_long.clear()
            self._too_long.add(prepared.run)
            found = None
        if found is None:
            self._rate_limiter.give_back(buckets, requested)
            return None
        if found is not self._counted:
            self._counted, self._objects = found, objects_in(found)
        actual = actual_cost(self._objects, requested)
        if actual < requested:
            self._rate_limiter.give_back(buckets, requested - actual)
        remaining = min(taken.limit, taken.remaining + requested - actual)
        body: tuple[bytes, ...] = (
            b'{"data":',
            found,
            errors,
            cost_extension(requested, actual, remaining, taken.limit),
        )
        length, more = sum(map(len, body)), self._lines_of(server_headers)
        if head.gzip and length >= LEAST_BYTES:
            compressed = compress_at_once(b"".join(body))
            body, length, more = (compressed,), len(compressed), more + b"content-encoding: gzip\r\n"
        lines = _HEAD % (
            head.media.header[1],
            length,
            taken.limit,
            remaining,
            taken.reset_seconds,
            request_id.encode(),
            more,
        )
        return b"".join((lines, *body))

    def _lines_of(self, server_headers: Headers) -> bytes:
        """Of the headers that the server adds to every response. It makes new ones each second."""
        if server_headers is not self._server_headers:
            self._server_headers = server_headers
            self._server_lines = b"".join([b"%b: %b\r\n" % header for header in server_headers])
        return self._server_lines


def _end_of_head(request: bytes) -> int:
    return request.find(b"\r\n\r\n") + 4


def _digest(head: bytes) -> bytes:
    return blake2b(head, digest_size=32).digest()


def _may(identity: Identity | None, plan: Plan) -> bool:
    return plan.public or (identity is not None and all(map(identity.may, plan.permissions - PUBLIC_ONLY)))
