"""What happens to every request before and after its handler: a request id, and no fault shown raw."""

import time
import uuid

import structlog
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tunery.core.errors import DomainError
from tunery.core.http import fault, status_of
from tunery.core.logs import get_logger

REQUEST_ID_HEADER = b"x-request-id"

log = get_logger(__name__)


class RequestContext:
    """Pure ASGI: a base-class middleware would cost ten times the routing itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex}"
        scope["request_id"] = request_id
        began, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (REQUEST_ID_HEADER, request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                if status:  # half an answer is out; closing the connection is the only honest end
                    raise
                shown = error if isinstance(error, DomainError) else fault(error, request_id)
                body = {"error": {"message": shown.message, "code": shown.error_code, "requestId": request_id}}
                await JSONResponse(body, status_of(shown))(scope, receive, send_with_id)
            finally:
                milliseconds = round(1000 * (time.monotonic() - began), 1)
                log.info("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)
