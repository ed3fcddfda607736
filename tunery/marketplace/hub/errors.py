"""Errors as the hub's clients know them: by the `X-Error-Code` header.

Unknown and invisible repositories are one and the same answer; so are, without a valid key, all repositories.
"""

from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tunery.core.errors import DomainError, Unauthenticated
from tunery.core.http import fault, status_of

Handler = Callable[[Request], Awaitable[Response]]

INVALID_CREDENTIALS = "Invalid credentials in Authorization header"
"""The hub's words: clients compare with them, and otherwise take any 401 for a repository that is not there."""


class HubError(Exception):
    """An answer with `X-Error-Code: {code}`; headers are ASCII, as HTTP wants them."""

    def __init__(self, status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message, **(headers or {})}
        if code is not None:
            self.headers["X-Error-Code"] = code


def repository_not_found() -> HubError:
    return HubError(404, "RepoNotFound", "Repository not found")


def revision_not_found(repository: str) -> HubError:
    return HubError(404, "RevisionNotFound", f"{repository} has no such revision")


def entry_not_found(commit: str) -> HubError:
    # With the commit, clients remember that the file does not exist there and don't ask again.
    return HubError(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})


def purchase_required(what: str) -> HubError:
    return HubError(403, "GatedRepo", f"purchase required: {what}")


def hub_errors(handler: Handler) -> Handler:
    """Let a handler raise HubError and domain errors; an unexpected fault is logged, and shown as its request id."""

    @wraps(handler)
    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except HubError as error:
            return _answer(error, str(error))
        except Unauthenticated as error:
            return _answer(_unauthenticated("authorization" in request.headers), error.message)
        except DomainError as error:
            return _answer(HubError(status_of(error), None, error.error_code), error.message)
        except Exception as error:  # noqa: BLE001 - the edge of the process: logged, and answered with 5xx
            shown = fault(error, request.scope.get("request_id"))
            return _answer(HubError(status_of(shown), None, shown.error_code), shown.message)

    return handle


def _unauthenticated(presented_a_key: bool) -> HubError:
    """As the hub does: a wrong key is called wrong, and without one no repository exists."""
    if presented_a_key:
        return HubError(401, None, INVALID_CREDENTIALS)
    return HubError(401, "RepoNotFound", "Repository not found, or it needs an API key")


def _answer(error: HubError, message: str) -> JSONResponse:
    return JSONResponse({"error": message}, error.status, error.headers)
