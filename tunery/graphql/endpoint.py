"""`/graphql`: GraphQL over HTTP, subscriptions as server-sent events, a price for every operation.

POST  {"query" or "documentId", "variables", "operationName"}
GET   ?documentId=…&variables=…&operationName=…   trusted queries; public ones may be cached
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from graphql import GraphQLError, OperationType
from starlette.types import Receive, Scope, Send
from strawberry.http.ides import get_graphql_ide_html

from tunery.core.errors import Unauthenticated
from tunery.core.identity import Identity
from tunery.core.services import Services
from tunery.graphql.compression import LEAST_BYTES, compress, takes_gzip
from tunery.graphql.context import Context
from tunery.graphql.cost import Price
from tunery.graphql.documents import Document, Documents, Operation
from tunery.graphql.errors import public_error
from tunery.graphql.event_stream import each_as_json, send_single, send_stream
from tunery.graphql.executor import Answer, Executor
from tunery.graphql.options import GraphQLOptions
from tunery.graphql.planner.planner import Run
from tunery.graphql.pricing import (
    actual_cost,
    buckets_of,
    cost_extension,
    lookup_of_key,
    objects_in,
    rate_headers,
    reading_points,
)
from tunery.graphql.rate_limits import Bucket, RateLimiter, Taken
from tunery.graphql.requests import (
    EVENT_STREAM,
    JSON,
    Accepted,
    Disconnected,
    GraphQLRequest,
    Header,
    MediaType,
    Refused,
    accepted,
    decode_post,
    matches,
    read_get,
    read_post,
)
from tunery.graphql.subscriptions import OpenSubscriptions
from tunery.graphql.trusted_documents import TrustedDocuments

MOST_KEPT_BUCKETS = 10_000
MOST_REMEMBERED = 1_000_000
LONGEST_REMEMBERED = 2_000
"""Bytes of requests, and of one. Each byte keeps some 150 of memory: the document's tree and its plan."""

_ALLOW = (b"allow", b"GET, HEAD, POST")
_ALLOW_POST = (b"allow", b"POST")
_GZIP = (b"content-encoding", b"gzip")
_VARY = (b"vary", b"accept, accept-encoding, origin")
_PRIVATE = (b"cache-control", b"private, no-store")


@dataclass(slots=True)
class _Exchange:
    """A request under way."""

    scope: Scope
    send: Send
    headers: Mapping[bytes, bytes]
    accepted: Accepted
    is_get: bool


class _RequestErrors(Exception):
    """The document can't be executed: answered without `data`."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__()
        self.errors = errors


class Prepared(NamedTuple):
    """What a request asks for: `run` where the planner can answer."""

    operation: Operation
    variables: Mapping[str, Any]
    requested: Price
    run: Run | None


class GraphQLEndpoint:
    """An ASGI application. It wants `request_id` in the scope, and an error middleware around it.

    `recall` gives who presents an API key if that is remembered, `confirm` asks the database (raises Unauthenticated).
    Starlette's requests, headers and responses are left out on purpose: they took twice the time of all else here.
    """

    def __init__(
        self,
        documents: Documents,
        trusted: TrustedDocuments,
        executor: Executor,
        services: Services,
        recall: Callable[[str], Identity | None],
        confirm: Callable[[str], Awaitable[Identity]],
        rate_limiter: RateLimiter,
        options: GraphQLOptions,
    ) -> None:
        self._documents = documents
        self._trusted = trusted
        self._executor = executor
        self._services = services
        self._recall = recall
        self._confirm = confirm
        self._rate_limiter = rate_limiter
        self._options = options
        self._subscriptions = OpenSubscriptions(options.subscriptions)
        self._prepared_bytes = 0
        self._prepared: dict[bytes, Prepared] = {}
        """Of planned queries, by the request's body."""
        self._ide = get_graphql_ide_html("graphiql").encode() if options.development else None
        self._buckets: dict[int, tuple[Bucket, ...]] = {}  # by the number of the API key: a UUID takes 0.5 µs to hash

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        exchange = _Exchange(scope, send, headers, accepted(headers.get(b"accept")), scope["method"] in ("GET", "HEAD"))
        try:
            await self._handle(exchange, receive)
        except Refused as refused:
            await self._send_refusal(exchange, refused)
        except _RequestErrors as wrong:
            await self._send_request_errors(exchange, wrong.errors)
        except Disconnected:
            return

    async def _handle(self, exchange: _Exchange, receive: Receive) -> None:
        """Raises Refused, _RequestErrors, Disconnected."""
        scope, headers, kinds = exchange.scope, exchange.headers, exchange.accepted
        if scope["method"] == "POST":
            body = await read_post(headers, receive)
            request = None
        elif exchange.is_get:
            if b"text/html" in headers.get(b"accept", b"") and b"documentId" not in scope["query_string"]:
                await self._send_ide(exchange.send)
                return
            body, request = b"", read_get(scope["query_string"])
        else:
            raise Refused(405, "METHOD_NOT_ALLOWED", "send POST, or GET for a trusted query", (_ALLOW,))
        if kinds.media is None and not kinds.stream:
            message = "answers come as application/graphql-response+json, application/json or text/event-stream"
            raise Refused(406, "NOT_ACCEPTABLE", message)
        client = scope["client"][0] if scope.get("client") else "unknown"
        identity, refusal, presented = None, None, None
        if b"authorization" in headers:
            presented = headers[b"authorization"].decode("latin-1")
            try:
                identity = self._recall(presented) or await self._look_up(presented, client)
            except Unauthenticated as error:
                refusal = error
        buckets = self.buckets_of(identity, client)
        prepared = self.known(body)
        if prepared is None:
            prepared = await self._prepare(request or decode_post(body), buckets)
            self._remember(body, prepared)
        context = Context(self._services, scope["request_id"], identity, refusal, presented)
        await self._answer(exchange, prepared, context, buckets, receive)

    async def _look_up(self, presented: str, client: str) -> Identity:
        """Guesses are paid: else anybody could keep the database busy. Raises Unauthenticated, Refused."""
        lookups, points = lookup_of_key(client, self._options)
        await self._take((lookups,), points, "looking up an API key")
        try:
            return await self._confirm(presented)
        except Unauthenticated:
            points = 0
            raise
        finally:
            self._rate_limiter.give_back((lookups,), points)

    async def _prepare(self, request: GraphQLRequest, buckets: Sequence[Bucket]) -> Prepared:
        """All that a request says, whoever sends it. Raises Refused, _RequestErrors."""
        operation, variables = await self._operation(request, buckets), request.variables or {}
        if operation.is_new(variables):
            await self._take(buckets, reading_points(operation.document.text))
        return Prepared(operation, variables, operation.cost(variables), self._executor.prepare(operation, variables))

    def _remember(self, body: bytes, prepared: Prepared) -> None:
        """Many requests are the same to the letter: pages that everybody opens, clients that poll."""
        if prepared.run is not None and 0 < len(body) <= LONGEST_REMEMBERED and body not in self._prepared:
            self._prepared[body] = prepared
            self._prepared_bytes += len(body)
            while self._prepared_bytes > MOST_REMEMBERED:
                oldest = next(iter(self._prepared))
                del self._prepared[oldest]
                self._prepared_bytes -= len(oldest)

    async def _answer(
        self,
        exchange: _Exchange,
        prepared: Prepared,
        context: Context,
        buckets: Sequence[Bucket],
        receive: Receive,
    ) -> None:
        """Raises Refused, _RequestErrors."""
        operation, variables, requested, run = prepared
        kind = operation.kind
        if kind is not OperationType.QUERY:
            self._check_kind(exchange, kind)
        most = self.most_points(operation, buckets)
        if requested > most:
            message = f"an operation may cost {most} points, this one costs {requested}: ask for shorter pages"
            raise _too_expensive(message)
        if kind is OperationType.SUBSCRIPTION:
            with self._subscriptions.one_of(*(bucket.name for bucket in buckets)):
                taken = await self._take(buckets, requested)
                await self._stream(exchange, operation, variables, context, taken, receive)
            return
        taken = await self._take(buckets, requested)
        try:
            answer = await self._executor.execute(operation, variables, context, run)
        except BaseException:
            self._rate_limiter.give_back(buckets, requested)
            raise
        actual = actual_cost(objects_in(answer.data or b""), requested)
        if actual < requested:
            self._rate_limiter.give_back(buckets, requested - actual)
        await self._send_answer(exchange, operation, answer, taken, requested, actual)

    def most_points(self, operation: Operation, buckets: Sequence[Bucket]) -> int:
        """That one operation may cost."""
        capacity = buckets[0].capacity
        return capacity if operation.document.trusted else min(self._options.limits.nodes, capacity)

    def known(self, body: bytes) -> Prepared | None:
        """What was made of the same body before."""
        return self._prepared.get(body)

    def buckets_of(self, identity: Identity | None, client: str) -> tuple[Bucket, ...]:
        if identity is None:
            return buckets_of(None, client, self._options)
        buckets = self._buckets.get(identity.api_key_id.int)
        if buckets is None:
            if len(self._buckets) >= MOST_KEPT_BUCKETS:
                self._buckets.clear()
            buckets = self._buckets[identity.api_key_id.int] = buckets_of(identity, "", self._options)
        return buckets

    async def _operation(self, request: GraphQLRequest, buckets: Sequence[Bucket]) -> Operation:
        """What is to be executed. Raises Refused, _RequestErrors."""
        trusted_id = request.trusted_id()
        if trusted_id is None:
            document = await self._read(request.query or "", buckets)
        else:
            found = self._trusted.find(trusted_id)
            if found is None:
                raise _RequestErrors([_unknown_document(trusted_id)])
            document = found
        if document.errors:
            raise _RequestErrors(document.errors)
        try:
            return document.operation(request.operation_name)
        except GraphQLError as error:
            raise _RequestErrors([error]) from None

    async def _read(self, text: str, buckets: Sequence[Bucket]) -> Document:
        """Raises Refused, _RequestErrors."""
        if text not in self._documents and len(text) <= self._options.limits.characters:
            await self._take(buckets, reading_points(text))
        return self._documents.get(text)

    async def _take(self, buckets: Sequence[Bucket], points: int, what: str = "this") -> Taken:
        """Raises Refused, _RequestErrors."""
        taken = self._rate_limiter.take(buckets, points)
        if not isinstance(taken, Taken):
            taken = await taken
        if taken.allowed:
            return taken
        seconds = taken.retry_after
        if not seconds:
            raise _too_expensive(f"{what} costs {points} points, and there are never more than {taken.limit}")
        message = f"{what} costs {points} points, {taken.remaining} of {taken.limit} are left; try again in {seconds} s"
        headers = ((b"retry-after", b"%d" % seconds), *rate_headers(taken, taken.remaining))
        raise Refused(429, "RATE_LIMITED", message, headers)

    def _check_kind(self, exchange: _Exchange, kind: OperationType) -> None:
        """Raises Refused."""
        if exchange.is_get:
            raise Refused(405, "METHOD_NOT_ALLOWED", f"send a {kind.value} by POST", (_ALLOW_POST,))
        if kind is OperationType.SUBSCRIPTION and not exchange.accepted.stream:
            message = f"a subscription is answered by events: send the header accept: {EVENT_STREAM}"
            raise Refused(406, "NOT_ACCEPTABLE", message)

    async def _stream(
        self,
        exchange: _Exchange,
        operation: Operation,
        variables: Mapping[str, Any],
        context: Context,
        taken: Taken,
        receive: Receive,
    ) -> None:
        found = await self._executor.subscribe(operation, variables, context)
        headers = rate_headers(taken, taken.remaining)
        if isinstance(found, Answer):
            await send_single(found.to_json(), headers, exchange.send)
        else:
            await send_stream(each_as_json(found, context.request_id), headers, receive, exchange.send)

    async def _send_answer(
        self,
        exchange: _Exchange,
        operation: Operation,
        answer: Answer,
        taken: Taken,
        requested: int,
        actual: int,
    ) -> None:
        media = exchange.accepted.media
        cacheable = exchange.is_get and operation.is_public
        if cacheable and media is not None and answer.data is not None and not answer.errors:
            await self._send_public(exchange, answer.data, media)
            return
        remaining = min(taken.limit, taken.remaining + requested - actual)
        extensions = cost_extension(requested, actual, remaining, taken.limit)
        if answer.data is not None and not answer.errors:
            body = b"".join((b'{"data":', answer.data, extensions))
        else:
            body = answer.to_json()[:-1] + extensions
        rates = rate_headers(taken, remaining)
        if media is None:
            await send_single(body, rates, exchange.send)
            return
        status = 200 if answer.data is not None else media.request_error_status
        headers = (*rates, _PRIVATE, _VARY) if exchange.is_get else rates
        await _send(exchange, status, media, body, headers)

    async def _send_public(self, exchange: _Exchange, data: bytes, media: MediaType) -> None:
        """The same for everybody, so without the price that this caller paid. Shared caches may keep it."""
        # Weak: the same answer may leave compressed.
        etag = b'W/"%b"' % hashlib.blake2b(data, digest_size=16).hexdigest().encode()
        headers = (
            (b"cache-control", b"public, max-age=%d" % self._options.public_cache_seconds),
            (b"etag", etag),
            _VARY,
        )
        if matches(exchange.headers.get(b"if-none-match", b""), etag):
            await exchange.send({"type": "http.response.start", "status": 304, "headers": list(headers)})
            await exchange.send({"type": "http.response.body", "body": b""})
            return
        await _send(exchange, 200, media, b"".join((b'{"data":', data, b"}")), headers)

    async def _send_request_errors(self, exchange: _Exchange, errors: Iterable[GraphQLError]) -> None:
        request_id = exchange.scope["request_id"]
        body = Answer(None, [public_error(error, request_id) for error in errors]).to_json()
        media = exchange.accepted.media
        if media is None:  # readers of events see no status and no other body
            await send_single(body, (), exchange.send)
            return
        headers = (_PRIVATE, _VARY) if exchange.is_get else ()
        await _send(exchange, media.request_error_status, media, body, headers)

    async def _send_refusal(self, exchange: _Exchange, refused: Refused) -> None:
        error = GraphQLError(refused.message, extensions={"code": refused.code})
        media = exchange.accepted.media or JSON
        headers = (*refused.headers, _PRIVATE) if exchange.is_get else refused.headers
        await _send(exchange, refused.status, media, Answer(None, [error]).to_json(), headers)

    async def _send_ide(self, send: Send) -> None:
        """Raises Refused where it is off."""
        if self._ide is None:
            raise Refused(404, "NOT_FOUND", "there is no page here; send POST")
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(self._ide)),
            _PRIVATE,
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self._ide})


async def _send(exchange: _Exchange, status: int, media: MediaType, body: bytes, headers: tuple[Header, ...]) -> None:
    if len(body) >= LEAST_BYTES and takes_gzip(exchange.headers.get(b"accept-encoding")):
        body = await compress(body)
        headers = (*headers, _GZIP)
    send = exchange.send
    fields = [media.header, (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def _unknown_document(identifier: str) -> GraphQLError:
    message = f"there is no trusted document {identifier[:80]!r}"
    return GraphQLError(message, extensions={"code": "PERSISTED_QUERY_NOT_FOUND"})


def _too_expensive(message: str) -> _RequestErrors:
    return _RequestErrors([GraphQLError(message, extensions={"code": "QUERY_TOO_EXPENSIVE"})])
