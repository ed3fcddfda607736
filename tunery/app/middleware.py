"""What happens to every request before and after its handler: a request id, and no fault shown raw."""

import itertools
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunery.core.errors import DomainError
from tunery.core.http import fault, status_of
from tunery.core.logs import REQUEST_ID, get_logger
from tunery.core.telemetry import Sampler, request_span

REQUEST_ID_HEADER = b"x-request-id"
SLOW_SECONDS = 1.0
_LEAST_ERROR = 400
_LEAST_FAULT = 500

_PROCESS = secrets.token_hex(8)
_numbers = itertools.count(1)
"""Together unique: drawing a new random number for each request costs four times as much."""

log = get_logger(__name__)
# structlog takes 5 µs to find out that a level is off, this 0.06.
_levels = logging.getLogger(__name__)


class RequestContext:
    """Pure ASGI: a base-class middleware would cost ten times the routing itself. `sampler` chooses
    what is traced; None: nobody collects spans.
    """

    def __init__(self, app: ASGIApp, sampler: Sampler | None = None) -> None:
        self._app = app
        self._sampler = sampler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Ours, never the client's: what stands in the log can't be forged.
        request_id = new_request_id()
        scope["request_id"] = request_id
        began, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id.encode())]
            await send(message)

        token = REQUEST_ID.set(request_id)
        try:
            if self._sampler is not None and self._sampler.wants(scope["headers"], began):
                with request_span(f"{scope['method']} {scope['path']}", scope["headers"]) as span:
                    await self._app(scope, receive, send_with_id)
                    span.set_attributes({"http.response.status_code": status, "request.id": request_id})
            else:
                await self._app(scope, receive, send_with_id)
        except Exception as error:
            if status:  # half an answer is out; closing the connection is the only honest end
                raise
            shown = error if isinstance(error, DomainError) else fault(error, request_id)
            body = {"error": {"message": shown.message, "code": shown.error_code, "requestId": request_id}}
            await JSONResponse(body, status_of(shown))(scope, receive, send_with_id)
        finally:
            log_request(scope, status, began, request_id)
            REQUEST_ID.reset(token)


def new_request_id() -> str:
    return f"req_{_PROCESS}{next(_numbers):08x}"


def log_request(scope: Mapping[str, Any], status: int, began: float, request_id: str) -> None:
    """Faults and slow answers as warnings, what callers did wrong for information, all else when debugging."""
    seconds = time.perf_counter() - began
    if status < _LEAST_ERROR and seconds <= SLOW_SECONDS and not _levels.isEnabledFor(logging.DEBUG):
        return
    if status >= _LEAST_FAULT or seconds > SLOW_SECONDS:
        level = logging.WARNING
    elif status >= _LEAST_ERROR:
        level = logging.INFO
    else:
        level = logging.DEBUG
    log.log(
        level,
        "request",
        method=scope["method"],
        path=scope["path"],
        status=status,
        ms=round(1000 * seconds, 1),
        request_id=request_id,
    )
