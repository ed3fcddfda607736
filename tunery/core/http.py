"""Domain errors as HTTP statuses, and the OpenAI error shape that `/v1` speaks."""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tunery.core.database import QUERY_CANCELED, is_unavailable, sqlstate_of
from tunery.core.errors import (
    Conflict,
    Damaged,
    DomainError,
    Forbidden,
    InsufficientFunds,
    InvalidInput,
    NotFound,
    Unauthenticated,
    Unavailable,
)
from tunery.core.logs import get_logger

log = get_logger(__name__)

_STATUSES = {
    Unauthenticated: (401, "authentication_error"),
    InsufficientFunds: (402, "insufficient_quota"),
    Forbidden: (403, "permission_error"),
    NotFound: (404, "invalid_request_error"),
    Conflict: (409, "invalid_request_error"),
    Unavailable: (503, "server_error"),
    Damaged: (500, "server_error"),
}

NOT_IN_REPERTOIRE = "22021"
"""PostgreSQL's SQLSTATE for text that it can't store."""

Handler = Callable[[Request], Awaitable[Response]]


def status_of(error: DomainError) -> int:
    """The HTTP status of a domain error; 400 when nothing more precise fits."""
    return _status_and_type(error)[0]


def openai_error(error: DomainError, **more: Any) -> JSONResponse:
    """`{"error": {message, type, param, code, …}}`, as the OpenAI clients expect it."""
    status, kind = _status_and_type(error)
    body = {"message": error.message, "type": kind, "param": error.field, "code": error.error_code.lower(), **more}
    # OpenAI's clients repeat 409s and 5xx by themselves; these stay what they are, so they are told not to.
    headers = {"x-should-retry": "false"} if isinstance(error, Conflict | Damaged) else {}
    if status == 503:  # noqa: PLR2004 - HTTP's own number
        headers["retry-after"] = "1"
    return JSONResponse({"error": body}, status, headers)


def openai_errors(handler: Handler) -> Handler:
    """Let a `/v1` handler raise domain errors. An unexpected fault is logged and shown as its request id alone."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except DomainError as error:
            return openai_error(error)
        except Exception as error:  # noqa: BLE001 - the edge of the process: logged, and answered with 5xx
            return openai_error(fault(error, request.scope.get("request_id")))

    return handle


class TooSlow(DomainError):
    code = "TOO_SLOW"


class UnexpectedFault(DomainError):
    code = "INTERNAL_ERROR"


def fault(error: BaseException, request_id: str | None, **where: Any) -> DomainError:
    """What a caller may know of an unexpected error; the log gets the rest, and `where` it happened."""
    if is_unavailable(error):
        log.warning("database unavailable", error=str(error))
        return Unavailable("the database does not answer, or not in time; try again in a moment")
    if sqlstate_of(error) == NOT_IN_REPERTOIRE:
        return InvalidInput("text can't hold the character NUL")
    if sqlstate_of(error) == QUERY_CANCELED:
        log.warning("statement timed out", error=str(error))
        return TooSlow("the answer took longer than a request may: ask for shorter pages or fewer fields")
    log.error("unexpected fault", exc_info=error, **where)
    return UnexpectedFault(f"something went wrong on our side; quote request {request_id} when you report it")


def _status_and_type(error: DomainError) -> tuple[int, str]:
    if isinstance(error, UnexpectedFault):
        return 500, "server_error"
    for kind, answer in _STATUSES.items():
        if isinstance(error, kind):
            return answer
    return 400, "invalid_request_error"
