"""The endpoints, for mounting at `/hub`: clients use `HF_ENDPOINT=https://…/hub` or `endpoint=`, and their API key."""

from typing import Any

from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tunery.core import ids
from tunery.core.database import Database
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.marketplace.access import Repository, Revision, find_repository, find_revision
from tunery.marketplace.hub.errors import (
    entry_not_found,
    hub_errors,
    purchase_required,
    repository_not_found,
    revision_not_found,
)
from tunery.marketplace.hub.send import send_file
from tunery.tenants.api_keys import authenticate
from tunery.tenants.models import ApiKey, Tenant

POINTER_SIZE = 134
"""Of a Git LFS pointer, which every file here would be: with `lfs` clients take the SHA-256 for the file's ETag."""


def routes(services: Services) -> list[Route]:
    """Paths as the clients ask for them below the endpoint's URL."""
    hub = _Hub(services)
    model = "/api/models/{namespace}/{name}"
    return [
        Route("/api/whoami-v2", hub_errors(hub.whoami)),
        Route(model, hub_errors(hub.model_info)),
        Route(f"{model}/auth-check", hub_errors(hub.auth_check)),
        Route(f"{model}/revision/{{revision}}", hub_errors(hub.model_info)),
        Route(f"{model}/tree/{{revision}}", hub_errors(hub.tree)),
        Route("/{namespace}/{name}/resolve/{revision}/{path:path}", hub_errors(hub.resolve)),
    ]


class _Hub:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.get(Database)
        self._reader = services.get(Reader)

    async def whoami(self, request: Request) -> Response:
        identity = await authenticate(self._reader, request.headers.get("authorization"))
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            tenant = await uow.session.get_one(Tenant, identity.tenant_id)
            key_name = await uow.session.scalar(select(ApiKey.name).where(ApiKey.id == identity.api_key_id))
        return JSONResponse(
            {
                "type": "user",
                "id": ids.encode("tenant", tenant.id),
                "name": tenant.slug,
                "fullname": tenant.name,
                "orgs": [],
                "auth": {"type": "access_token", "accessToken": {"displayName": key_name, "role": "read"}},
            }
        )

    async def auth_check(self, request: Request) -> Response:
        repository, _ = await self._look_up(request)
        _require_purchase(repository)
        return JSONResponse({})

    async def model_info(self, request: Request) -> Response:
        repository, revision = await self._look_up(request)
        with_sizes = request.query_params.get("blobs", "").lower() in {"1", "true"}
        siblings = [
            {"rfilename": file["path"], **({"size": file["size"], **_blob("blobId", file)} if with_sizes else {})}
            for file in revision.files
        ]
        return JSONResponse(
            {
                "id": repository.identifier,
                "modelId": repository.identifier,
                "author": repository.identifier.partition("/")[0],
                "sha": revision.commit,
                "private": repository.listing_id is None,
                "gated": "manual" if repository.required_purchase else False,
                "disabled": False,
                "library_name": "peft",
                "tags": ["peft", "lora", "safetensors"],
                "siblings": siblings,
            }
        )

    async def tree(self, request: Request) -> Response:
        """Adapters have no folders, so the whole list is one page."""
        _, revision = await self._look_up(request)
        return JSONResponse(
            [
                {"type": "file", "path": file["path"], "size": file["size"], **_blob("oid", file)}
                for file in revision.files
            ]
        )

    async def resolve(self, request: Request) -> Response:
        repository, revision = await self._look_up(request)
        _require_purchase(repository)
        file = revision.find(request.path_params["path"])
        if file is None:
            raise entry_not_found(revision.commit)
        return await send_file(self._services, request, revision, file)

    async def _look_up(self, request: Request) -> tuple[Repository, Revision]:
        identity = await authenticate(self._reader, request.headers.get("authorization"))
        path = request.path_params
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            repository = await find_repository(uow, path["namespace"], path["name"])
            if repository is None:
                raise repository_not_found()
            revision = await find_revision(uow, repository, path.get("revision", "main"))
        if revision is None:
            raise revision_not_found(repository.identifier)
        return repository, revision


def _require_purchase(repository: Repository) -> None:
    if repository.required_purchase is not None:
        raise purchase_required(repository.required_purchase)


def _blob(id_name: str, file: dict[str, Any]) -> dict[str, Any]:
    sha256 = file["sha256"]
    lfs = {"oid": sha256, "sha256": sha256, "size": file["size"], "pointerSize": POINTER_SIZE}
    return {id_name: sha256[:40], "lfs": lfs}
