"""`/v1/files` as the OpenAI clients know it: upload, list, read and delete data sets."""

from typing import Any
from uuid import UUID

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tunery.core import ids
from tunery.core.database import Database
from tunery.core.errors import InvalidInput
from tunery.core.http import Handler, openai_error, openai_errors
from tunery.core.identity import Identity
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.tenants.api_keys import authenticate
from tunery.training.data_sets import delete_data_set, find_data_set, open_data_set, store_data_set
from tunery.training.models import DataSet
from tunery.training.upload import MultipartUpload
from tunery.training.validation import InvalidDataSet
from tunery.vault.keyring import Keyring

PURPOSE = "fine-tune"
MOST_PER_PAGE = 10_000


def routes(services: Services) -> list[Route]:
    """The routes, to be mounted at the root."""
    files = _Files(services)

    def route(path: str, handler: Handler, method: str) -> Route:
        return Route(path, openai_errors(handler), methods=[method])

    return [
        route("/v1/files", files.create, "POST"),
        route("/v1/files", files.list, "GET"),
        route("/v1/files/{id}", files.retrieve, "GET"),
        route("/v1/files/{id}/content", files.content, "GET"),
        route("/v1/files/{id}", files.delete, "DELETE"),
    ]


class _Files:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.get(Database)
        self._reader = services.get(Reader)

    async def create(self, request: Request) -> Response:
        identity = await self._caller(request)
        upload = MultipartUpload(request)
        name = await upload.open()
        purpose = upload.fields.get("purpose", PURPOSE.encode()).decode("utf-8", "replace")
        if purpose != PURPOSE:
            raise InvalidInput(f"purpose {purpose!r} is not served: send {PURPOSE!r}", field="purpose")
        try:
            data_set = await store_data_set(self._services, identity.tenant_id, name, upload.chunks())
        except InvalidDataSet as error:
            lines = [line.__dict__ for line in error.errors]
            return openai_error(error, errors=lines, error_count=error.error_count)
        return JSONResponse(_file(data_set))

    async def list(self, request: Request) -> Response:
        identity = await self._caller(request)
        limit = _limit(request.query_params.get("limit"))
        rows = select(DataSet).where(DataSet.deleted_at.is_(None)).order_by(DataSet.id.desc()).limit(limit + 1)
        after = request.query_params.get("after")
        if after is not None:
            rows = rows.where(DataSet.id < ids.decode("data set", after, field="after"))
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            found = (await uow.session.scalars(rows)).all()
        page = [_file(row) for row in found[:limit]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return JSONResponse({"object": "list", "data": page, "has_more": len(found) > limit, **ends})

    async def retrieve(self, request: Request) -> Response:
        return JSONResponse(_file((await self._find(request))[1]))

    async def content(self, request: Request) -> Response:
        identity, data_set = await self._find(request)
        # Read twice: of a data set that doesn't open to its end, nobody gets the beginning.
        async for _ in open_data_set(self._services, identity.tenant_id, data_set):
            pass
        stream = open_data_set(self._services, identity.tenant_id, data_set)
        return StreamingResponse(stream, media_type="application/jsonl", headers={"content-length": str(data_set.size)})

    async def delete(self, request: Request) -> Response:
        identity = await self._caller(request)
        identifier = _id_of(request)
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            await delete_data_set(uow, self._services.get(Keyring), identifier)
        return JSONResponse({"id": ids.encode("data set", identifier), "object": "file", "deleted": True})

    async def _caller(self, request: Request) -> Identity:
        return await authenticate(self._reader, request.headers.get("authorization"))

    async def _find(self, request: Request) -> tuple[Identity, DataSet]:
        identity = await self._caller(request)
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            return identity, await find_data_set(uow, _id_of(request))


def _file(data_set: DataSet) -> dict[str, Any]:
    return {
        "id": ids.encode("data set", data_set.id),
        "object": "file",
        "bytes": data_set.size,
        "created_at": int(data_set.created_at.timestamp()),
        "filename": data_set.name,
        "purpose": PURPOSE,
        "status": "processed",
    }


def _id_of(request: Request) -> UUID:
    return ids.decode("data set", request.path_params["id"], field="id")


def _limit(text: str | None) -> int:
    if text is None:
        return MOST_PER_PAGE
    if not text.isdecimal() or not 1 <= int(text) <= MOST_PER_PAGE:
        raise InvalidInput(f"a page has 1 to {MOST_PER_PAGE} files", field="limit")
    return int(text)
