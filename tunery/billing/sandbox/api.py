"""The `/v1` API: what happens to a request around the operation that it names."""

import asyncio
import base64
import binascii
import hmac
import json
import logging
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from tunery.billing.sandbox.engine import Engine
from tunery.billing.sandbox.errors import (
    AccountForbidden,
    IdempotencyKeyInUse,
    InvalidRequest,
    StripeFault,
    Unauthenticated,
    UnknownUrl,
)
from tunery.billing.sandbox.expansion import expand
from tunery.billing.sandbox.faults import OrderedFailure, RequestFault
from tunery.billing.sandbox.form_encoding import Raw, decode_form
from tunery.billing.sandbox.idempotency import StoredResponse, fingerprint_of
from tunery.billing.sandbox.parameters import parse_parameters
from tunery.billing.sandbox.resource import Call, Operation, new_id
from tunery.billing.sandbox.unit_of_work import Origin

_log = logging.getLogger(__name__)

_ALL_METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]
_API_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(\.[a-z]+)?")
_MAX_BODY = 1 << 20
_SERVER_ERROR = 500


class NoResponse(Response):
    """Answers nothing until the client gives up: what a time-out looks like from the other side."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - it never sends
        while (await receive())["type"] != "http.disconnect":
            pass


@dataclass(frozen=True)
class _Caller:
    """The context of one authenticated request."""

    request_id: str
    api_version: str
    idempotency_key: str | None
    base_url: str


def api_routes(engine: Engine) -> list[BaseRoute]:
    """One route per URL of the resource types, and one that refuses every other `/v1` URL."""
    by_path: dict[str, dict[str, Operation]] = {}
    for kind in engine.types.values():
        for operation in kind.operations:
            by_path.setdefault(operation.path, {})[operation.method] = operation
    routes: list[BaseRoute] = [
        Route(path, _Endpoint(engine, operations).answer, methods=_ALL_METHODS) for path, operations in by_path.items()
    ]
    return [*routes, Route("/v1/{rest:path}", _Endpoint(engine, {}).answer, methods=_ALL_METHODS)]


def public_base_url(engine: Engine, request: Request) -> str:
    return (engine.settings.public_url or str(request.base_url)).rstrip("/")


def authenticate(engine: Engine, request: Request) -> None:
    """Takes the secret key as a Bearer token or as the user of Basic authentication.

    Raises:
        Unauthenticated: there is no key, or it is another one.
    """
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    key = credentials.strip()
    if scheme.lower() == "basic":
        try:
            key = base64.b64decode(key, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            key = ""
    if not key or scheme.lower() not in {"basic", "bearer"}:
        raise Unauthenticated(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using "
            "Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
    if not hmac.compare_digest(key.encode(), engine.settings.secret_key.encode()):
        raise Unauthenticated(f"Invalid API Key provided: {key[:8]}{'*' * 8}{key[-4:]}")


class _Endpoint:
    """Answers the requests to one URL."""

    def __init__(self, engine: Engine, operations: dict[str, Operation]) -> None:
        self._engine = engine
        self._operations = operations

    async def answer(self, request: Request) -> Response:
        caller = _Caller(
            request_id=new_id("req_", 14),
            api_version=request.headers.get("stripe-version", self._engine.settings.api_version),
            idempotency_key=request.headers.get("idempotency-key") if request.method == "POST" else None,
            base_url=public_base_url(self._engine, request),
        )
        try:
            response = await self._answer_caller(request, caller)
        except StripeFault as fault:
            response = _error(fault)
        except Exception:  # noqa: BLE001 - the last resort of every request
            # The client learns the request id only; the cause is in the log under it.
            _log.exception("request %s failed", caller.request_id)
            response = _error(OrderedFailure(_SERVER_ERROR), message="An unknown error occurred")
        response.headers["Request-Id"] = caller.request_id
        response.headers["Stripe-Version"] = caller.api_version
        if caller.idempotency_key is not None:
            response.headers["Idempotency-Key"] = caller.idempotency_key
        return response

    async def _answer_caller(self, request: Request, caller: _Caller) -> Response:
        authenticate(self._engine, request)
        if not _API_VERSION.fullmatch(caller.api_version):
            raise InvalidRequest(f"Invalid Stripe API version: {caller.api_version}")
        account = request.headers.get("stripe-account", self._engine.settings.account)
        if account != self._engine.settings.account:
            raise AccountForbidden(
                f"The provided key does not have access to account '{account}' (or that account does not exist)."
            )
        operation = self._operations.get(request.method)
        if operation is None:
            raise UnknownUrl(request.method, request.url.path)
        raw = await _parameters(request)
        with ExitStack() as claimed:
            fingerprint = ""
            if caller.idempotency_key:
                fingerprint = fingerprint_of(request.method, request.url.path, raw)
                keys, now = self._engine.idempotency_keys, self._engine.now()
                claim = keys.claim(account, caller.idempotency_key, fingerprint, now)
                stored = claimed.enter_context(claim)
                if stored is not None:
                    return _replay(stored)
            fault = self._engine.faults.take(request.method, request.url.path)
            if fault is not None and fault.delay_ms:
                await asyncio.sleep(fault.delay_ms / 1000)
            response = self._execute(operation, Call(dict(request.path_params), {}), raw, caller, fingerprint, fault)
        return NoResponse() if fault is not None and fault.timeout_after_commit else response

    def _execute(
        self,
        operation: Operation,
        call: Call,
        raw: dict[str, Raw],
        caller: _Caller,
        fingerprint: str,
        fault: RequestFault | None,
    ) -> Response:
        """Work and the answer kept for its idempotency key commit together.

        Errors of validation are raised before executing begins, so the key stays free, as at Stripe.
        """
        if fault is not None and fault.status is not None:
            failure = OrderedFailure(fault.status)
            if not failure.was_executing:
                raise failure
        else:
            failure = None
            call.params.update(parse_parameters(operation.accepted(), raw))
        origin = Origin(caller.base_url, caller.request_id, caller.idempotency_key)
        with self._engine.begin(origin, api_version=caller.api_version) as uow:
            try:
                if failure is not None:
                    raise failure
                kept: StripeFault | None = None
                with self._engine.store.savepoint():
                    try:
                        document = operation.handle(uow, call)
                    except StripeFault as declined:
                        if not declined.keeps_changes:
                            raise
                        kept = declined
                    else:
                        document = expand(uow, document, call.params.get("expand", []))
                response = _json(document) if kept is None else _error(kept)
            except StripeFault as refused:
                response = _error(refused)
            if caller.idempotency_key:
                answer = StoredResponse(response.status_code, bytes(response.body).decode(), caller.request_id)
                self._engine.idempotency_keys.remember(
                    uow.account, caller.idempotency_key, fingerprint, answer, self._engine.now()
                )
        return response


async def _parameters(request: Request) -> dict[str, Raw]:
    return decode_form(request.url.query) if request.method in {"GET", "DELETE"} else await read_form(request)


async def read_form(request: Request) -> dict[str, Raw]:
    """Decodes a form-encoded body of at most 1 MiB.

    Raises:
        InvalidRequest: it is larger, of another type, or malformed.
    """
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > _MAX_BODY:
            raise InvalidRequest("The request body is larger than 1 MiB.")
        chunks.append(chunk)
    content_type = request.headers.get("content-type", "application/x-www-form-urlencoded").partition(";")[0]
    if size and content_type.strip().lower() != "application/x-www-form-urlencoded":
        raise InvalidRequest(f"Invalid request: the v1 API takes form encoding, not {content_type}.")
    try:
        return decode_form(b"".join(chunks).decode("ascii"))
    except UnicodeDecodeError as error:
        raise InvalidRequest("Invalid request: the body is not form-encoded.") from error


def _json(document: object, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> Response:
    body = json.dumps(document, indent=2)
    return Response(body, status, dict(headers), media_type="application/json")


def _error(fault: StripeFault, *, message: str | None = None) -> Response:
    headers: list[tuple[str, str]] = []
    if isinstance(fault, Unauthenticated):
        headers.append(("WWW-Authenticate", 'Bearer realm="Stripe"'))
    if isinstance(fault, IdempotencyKeyInUse):
        headers.append(("Stripe-Should-Retry", "true"))
    body = fault.body()
    if message is not None:
        body["error"]["message"] = message
    return _json(body, fault.status, headers)


def _replay(stored: StoredResponse) -> Response:
    headers = {"Idempotent-Replayed": "true", "Original-Request": stored.request_id}
    if stored.status >= _SERVER_ERROR:
        # The key will give this answer for a day: trying again cannot help.
        headers["Stripe-Should-Retry"] = "false"
    return Response(stored.body, stored.status, headers, media_type="application/json")
