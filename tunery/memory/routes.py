"""`/v1/memories/import` and `/v1/memories/export`: NDJSON streams, with OpenAI's error shape like the rest of `/v1`."""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tunery.core.clock import Clock
from tunery.core.errors import Forbidden
from tunery.core.http import openai_error, openai_errors
from tunery.core.identity import Identity
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.memory.access import READ, WRITE
from tunery.memory.import_lines import ImportReader, InvalidImport
from tunery.memory.transfer import export_memories, import_memories
from tunery.tenants.api_keys import authenticate

NDJSON = "application/x-ndjson"


def routes(services: Services) -> list[Route]:
    """The routes, to be mounted at the root."""
    transfer = _Transfer(services)
    return [
        Route("/v1/memories/import", openai_errors(transfer.take), methods=["POST"]),
        Route("/v1/memories/export", openai_errors(transfer.give), methods=["GET"]),
    ]


class _Transfer:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._clock = services.get(Clock)
        self._reader = services.get(Reader)

    async def take(self, request: Request) -> Response:
        identity = await self._caller(request, WRITE)
        lines = ImportReader(self._clock.now())
        try:
            async for chunk in request.stream():
                lines.update(chunk)
            lines.finish()
        except InvalidImport as error:
            shown = [line.__dict__ for line in error.errors]
            return openai_error(error, errors=shown, error_count=error.error_count)
        imported = await import_memories(self._services, identity.tenant_id, lines)
        return JSONResponse({"object": "memory.import", **imported.__dict__})

    async def give(self, request: Request) -> Response:
        identity = await self._caller(request, READ)
        asked = request.query_params
        stream = export_memories(
            self._services, identity.tenant_id, subject=asked.get("subject"), agent=asked.get("agent")
        )
        # What is wrong with the request shows before the first line, while there is a status to say it with.
        first = await anext(stream, b"")

        async def lines() -> AsyncIterator[bytes]:
            yield first
            async for part in stream:
                yield part

        return StreamingResponse(lines(), media_type=NDJSON)

    async def _caller(self, request: Request, permission: str) -> Identity:
        identity = await authenticate(self._reader, request.headers.get("authorization"))
        if not identity.may(permission):
            raise Forbidden(f"this takes the permission {permission}")
        return identity
