"""What a client sends to `/graphql`, as GraphQL over HTTP has it (https://graphql.github.io/graphql-over-http/draft/)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive

LARGEST_BODY = 1024 * 1024
LONGEST_HEADER = 300
"""Of those that are remembered. Longer ones are read anew each time, so that they fill no memory."""
MOST_PARAMETERS = 10
EVENT_STREAM = "text/event-stream"

Header = tuple[bytes, bytes]


class Refused(Exception):
    """The request itself is wrong, or comes at the wrong time: answered by its status and a GraphQL error."""

    def __init__(self, status: int, code: str, message: str, headers: tuple[Header, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


class Disconnected(Exception):
    """The client left before it had sent its request."""


class GraphQLRequest(msgspec.Struct):
    query: str | None = None
    operation_name: str | None = msgspec.field(default=None, name="operationName")
    variables: dict[str, Any] | None = None
    extensions: dict[str, Any] | None = None
    document_id: str | None = msgspec.field(default=None, name="documentId")

    def trusted_id(self) -> str | None:
        """Of the trusted document that it asks for; None: it brings its own. Raises Refused."""
        if self.document_id is not None:
            if self.query is not None:
                raise Refused(400, "BAD_REQUEST", "send either `query` or `documentId`")
            return self.document_id
        if self.query is not None:
            return None
        persisted = (self.extensions or {}).get("persistedQuery")
        digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
        if not isinstance(digest, str):
            raise Refused(400, "BAD_REQUEST", "the request has no `query`")
        return digest


_decode_request = msgspec.json.Decoder(GraphQLRequest).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class MediaType:
    """Of an answer. A request error has no `data`."""

    header: Header
    request_error_status: int


GRAPHQL_RESPONSE = MediaType((b"content-type", b"application/graphql-response+json; charset=utf-8"), 400)
JSON = MediaType((b"content-type", b"application/json; charset=utf-8"), 200)


@dataclass(frozen=True)
class Accepted:
    """What the client can read: `media` for one answer, `stream` for events. Neither: nothing that we speak."""

    media: MediaType | None
    stream: bool


ANYTHING = Accepted(GRAPHQL_RESPONSE, stream=False)


def accepted(header: bytes | None) -> Accepted:
    """From the `accept` header. Without one, the specification's own media type, as it asks since 2025."""
    if header is None or header == b"*/*":
        return ANYTHING
    return _accepted(header) if len(header) <= LONGEST_HEADER else _accepted.__wrapped__(header)


@lru_cache(256)
def _accepted(header: bytes) -> Accepted:
    ranges: dict[str, tuple[float, int]] = {}
    for position, part in enumerate(header.decode("latin-1").lower().split(",")):
        kind, *parameters = part.split(";")
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        ranges.setdefault(kind.strip(), (-quality, position))

    def rank(kind: str) -> tuple[float, int]:
        """The best one sorts first: by quality, then by its place in the header."""
        for name in (kind, "application/*", "*/*"):
            if name in ranges:
                return ranges[name]
        return (0.0, 0)

    offers = [
        (rank("application/graphql-response+json"), 0, GRAPHQL_RESPONSE),
        (rank("application/json"), 1, JSON),
    ]
    (quality, _), _, media = min(offers, key=lambda offer: offer[:2])
    stream, _ = ranges.get(EVENT_STREAM, (0.0, 0))
    return Accepted(media if quality < 0 else None, stream < 0)


async def read_post(headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
    """The body, not decoded yet. Raises Refused, Disconnected."""
    content_type = headers.get(b"content-type", b"")
    if content_type != b"application/json" and not _is_json(content_type[:LONGEST_HEADER]):
        raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", "send JSON in UTF-8: content-type: application/json")
    length = headers.get(b"content-length", b"")
    # More digits than int() should have to read are too many bytes, too.
    if length.isdigit() and (len(length) > len(str(LARGEST_BODY)) or int(length) > LARGEST_BODY):
        raise _too_large()
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body") or message["type"] != "http.request":
        body = await _read_rest(message["type"], body, receive)
    elif len(body) > LARGEST_BODY:
        raise _too_large()
    return body


def decode_post(body: bytes) -> GraphQLRequest:
    """Raises Refused."""
    try:
        return _decode_request(body)
    except msgspec.ValidationError as error:
        if body.lstrip()[:1] == b"[":
            raise Refused(400, "BATCHING_OFF", "one request at a time: batching is off") from None
        raise Refused(400, "BAD_REQUEST", f"the request's body is wrong: {error}") from None
    except (ValueError, RecursionError):  # msgspec's DecodeError, or text that is not UTF-8
        raise Refused(400, "BAD_REQUEST", "the request's body is no JSON in UTF-8") from None


async def _read_rest(kind: str, body: bytes, receive: Receive) -> bytes:
    parts, size, more = [body], len(body), True
    while kind == "http.request":
        if size > LARGEST_BODY:
            raise _too_large()
        if not more:
            return b"".join(parts)
        message = await receive()
        kind, more = message["type"], message.get("more_body", False)
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    raise Disconnected


def read_get(query_string: bytes) -> GraphQLRequest:
    """Raises Refused."""
    try:
        given = dict(parse_qsl(query_string.decode("ascii"), max_num_fields=MOST_PARAMETERS, errors="strict"))
        request = GraphQLRequest(
            given.get("query"),
            given.get("operationName") or None,
            _decode_object(given["variables"]) if "variables" in given else None,
            _decode_object(given["extensions"]) if "extensions" in given else None,
            given.get("documentId"),
        )
    except (ValueError, RecursionError):
        message = "wrong parameters: `variables` and `extensions` are JSON objects, everything is UTF-8"
        raise Refused(400, "BAD_REQUEST", message) from None
    if request.query is not None:
        message = "GET is for trusted documents, by `documentId`; send other documents by POST"
        raise Refused(400, "BAD_REQUEST", message)
    return request


def _too_large() -> Refused:
    return Refused(413, "REQUEST_TOO_LARGE", f"a request's body has up to {LARGEST_BODY} bytes")


@lru_cache(256)
def _is_json(content_type: bytes) -> bool:
    kind, *parameters = content_type.decode("latin-1").lower().split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8"):
            return False
    return kind.strip() == "application/json"


def matches(if_none_match: bytes, etag: bytes) -> bool:
    """RFC 9110's weak comparison."""
    return any(part.strip() in (b"*", etag, etag[2:]) for part in if_none_match.split(b","))
