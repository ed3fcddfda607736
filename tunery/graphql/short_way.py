"""The short way: queries that were asked before, to the letter, answered from the parsed HTTP request without ASGI.

What an ASGI application is told and has to find out is most of the time of a request whose body says all that there is
to know. So the endpoint remembers what it made of a body, and this module, called by the server's protocol
(`app/http_protocol.py`), answers it: caller, points, one statement, bytes. It is for plain cases alone; whatever is not
one goes the long way, where everything is decided. A client can't tell which way its answer came.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tunery.core.identity import Identity
from tunery.core.telemetry import Sampler
from tunery.graphql.access import PUBLIC
from tunery.graphql.compression import LEAST_BYTES, THREAD_BYTES, compress_at_once, takes_gzip
from tunery.graphql.endpoint import GraphQLEndpoint, Prepared, actual_cost, cost_extension, encode_errors
from tunery.graphql.errors import as_error
from tunery.graphql.planner.planner import Planner, Run, whole
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
}
"""Headers that middleware or the server act on."""

_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-ratelimit-limit: %d\r\n"
    b"x-ratelimit-remaining: %d\r\nx-ratelimit-reset: %d\r\nx-request-id: %b\r\n%b\r\n"
)


class Begun(NamedTuple):
    """A request under way; `data` comes to what `Planner.begin` gives."""

    prepared: Prepared
    media: MediaType
    gzip: bool
    buckets: Sequence[Bucket]
    taken: Taken
    data: "asyncio.Future[bytes | None]"
    at: float


class ShortWay:
    """Of one process."""

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
        self._sampler = sampler

    def begin(self, headers: Headers, client: str, body: bytes) -> Begun | None:
        """None: take the long way. Nothing has happened then."""
        prepared, given = self._endpoint.known(body), dict(headers)
        if prepared is None or prepared.run is None or not given.keys().isdisjoint(DECIDED_ELSEWHERE):
            return None
        media, now = accepted(given.get(b"accept")).media, time.perf_counter()
        if media is None or given.get(b"content-type") != b"application/json":
            return None
        if self._sampler is not None and self._sampler.is_due(now):
            return None
        authorization = given.get(b"authorization")
        identity = None if authorization is None else self._remembered(authorization)
        if (identity is None and authorization is not None) or not _may(identity, prepared.run):
            return None
        buckets = self._endpoint.buckets_of(identity, client)
        taken = self._take(prepared, buckets)
        if taken is None:
            return None
        data = self._planner.begin(prepared.run, identity)
        return Begun(prepared, media, takes_gzip(given.get(b"accept-encoding")), buckets, taken, data, now)

    def _take(self, prepared: Prepared, buckets: Sequence[Bucket]) -> Taken | None:
        """None: more than an operation may cost, or not to be had here and now."""
        if prepared.requested > self._endpoint.most_points(prepared.operation, buckets):
            return None
        taken = self._rate_limiter.take_here(buckets, prepared.requested)
        return taken if taken is not None and taken.allowed else None

    def finish(self, begun: Begun, request_id: bytes, more_headers: bytes) -> bytes | None:
        """The whole response; `more_headers` are lines of the server's own. None: take the long way after all."""
        requested, error = begun.prepared.requested, None
        if begun.data.cancelled():
            found = None
        elif (error := begun.data.exception()) is not None:
            found = b"null"
        else:
            found = whole(begun.data.result())
        if found is None or (begun.gzip and len(found) >= THREAD_BYTES):
            self._rate_limiter.give_back(begun.buckets, requested)
            return None
        actual = actual_cost(found, requested)
        if actual < requested:
            self._rate_limiter.give_back(begun.buckets, requested - actual)
        taken = begun.taken
        remaining = min(taken.limit, taken.remaining + requested - actual)
        if error is not None:
            found += b',"errors":' + encode_errors([as_error(error, request_id.decode())])
        body = b'{"data":%b%b' % (found, cost_extension(requested, actual, remaining, taken.limit))
        if begun.gzip and len(body) >= LEAST_BYTES:
            body = compress_at_once(body)
            more_headers += b"content-encoding: gzip\r\n"
        head = _HEAD % (
            begun.media.header[1],
            len(body),
            taken.limit,
            remaining,
            taken.reset_seconds,
            request_id,
            more_headers,
        )
        return head + body


def _may(identity: Identity | None, run: Run) -> bool:
    return all(
        permission == PUBLIC or (identity is not None and identity.may(permission))
        for permission in run.plan.permissions
    )
