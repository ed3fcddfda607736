"""Base models of the Hugging Face hub: registered, pinned to a commit, fetched; against a hub on this machine."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import select
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tests.training.shop import chunks, jsonl
from tunery.app.base_models import add_base_model
from tunery.app.embedded.errors import CannotStart
from tunery.app.settings import Settings
from tunery.core.database import Database
from tunery.core.errors import InvalidInput
from tunery.core.services import Services
from tunery.training.catalogue import BUNDLED_FOLDER, BaseModelFiles, BaseModelUnavailable, describe_hub_model
from tunery.training.data_sets import store_data_set
from tunery.training.models import BaseModel
from tunery.training.quote import quote_training
from tunery.training.training_spec import TrainingSpec

SHA = "0123456789abcdef0123456789abcdef01234567"
TINY = BUNDLED_FOLDER / "tiny"
PRICES = (Decimal("0.5"), Decimal("0.1"), Decimal("0.2"))
CONFIGS: dict[str, Any] = {
    "flat": {"max_position_embeddings": 512, "n_positions": 7},
    "early": {"n_positions": 1024},
    "multimodal": {"max_position_embeddings": None, "text_config": {"max_position_embeddings": 4096}},
    "nested-early": {"text_config": {"n_positions": 2048}},
    "endless": {"model_type": "mamba", "text_config": None},
}
"""`config.json` of repositories that are otherwise acme/lantern."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """`acme/lantern` on a server that speaks the hub's protocol; its files are those of tunery/tiny."""

    async def info(request: Request) -> Response:
        if request.path_params["name"] not in ("lantern", *CONFIGS):
            return JSONResponse({}, 404, headers={"x-error-code": "RepoNotFound"})
        siblings = [{"rfilename": path.name} for path in TINY.iterdir()]
        return JSONResponse(
            {
                "id": f"acme/{request.path_params['name']}",
                "sha": SHA,
                "siblings": siblings,
                "safetensors": {"parameters": {"BF16": 4000000}, "total": 4000000},
                "cardData": {"license": "mit"},
            }
        )

    async def tree(request: Request) -> Response:
        if request.path_params["name"] != "lantern":
            return JSONResponse({}, 404, headers={"x-error-code": "RepoNotFound"})
        files = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "0" * 40} for f in TINY.iterdir()]
        return JSONResponse(files)

    async def resolve(request: Request) -> Response:
        if (config := CONFIGS.get(request.path_params["name"])) is not None:
            assert request.path_params["path"] == "config.json"
            return JSONResponse(config, headers={"x-repo-commit": SHA, "etag": f'"{len(json.dumps(config))}"'})
        path = TINY / request.path_params["path"]
        if not path.is_file():
            headers = {"x-error-code": "EntryNotFound", "x-repo-commit": SHA}
            return JSONResponse({}, 404, headers=headers)
        etag = base64.b16encode(path.name.encode()).decode().lower()
        return FileResponse(path, headers={"x-repo-commit": SHA, "etag": f'"{etag}"'})

    app = Starlette(
        routes=[
            Route("/api/models/acme/{name}", info),
            Route("/api/models/acme/{name}/revision/{revision}", info),
            Route("/api/models/acme/{name}/tree/{revision}", tree),
            Route("/acme/{name}/resolve/{revision}/{path}", resolve, methods=["GET", "HEAD"]),
        ]
    )
    bound = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=server.run, args=([bound],))
    thread.start()
    yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(autouse=True)
def _online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """The other tests must not ask the hub; these ask one of their own, and keep nothing."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


async def test_a_hub_model_is_registered_at_its_commit_and_can_be_quoted(
    services: Services, settings: Settings, sign_up, hub: str, tmp_path: Path
):
    chosen = settings.model_copy(update={"hub_endpoint": hub})
    entry = await asyncio.to_thread(
        add_base_model, chosen, "acme/lantern", repository=None, revision="main", licence=None, prices=PRICES
    )
    assert (entry.revision, entry.licence, entry.parameters) == (SHA, "mit", 4000000)
    async with services.get(Database).unit_of_work() as uow:
        row = await uow.session.scalar(select(BaseModel).where(BaseModel.name == "acme/lantern"))
    files = BaseModelFiles(tmp_path / "models", hub)
    folder = await asyncio.to_thread(files.model_folder, row)
    assert (folder / "model.safetensors").read_bytes() == (TINY / "model.safetensors").read_bytes()
    assert not (folder / "README.md").exists(), "only what training and serving need"

    tenant = await sign_up()
    with_hub = Services()
    with_hub._parts = {**services._parts, BaseModelFiles: files}
    data_set = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(jsonl()))
    quote = await quote_training(
        with_hub, tenant.tenant_id, data_set_id=data_set.id, base_model_name="acme/lantern", spec=TrainingSpec()
    )
    assert quote.unit_price == PRICES[0]
    assert quote.trained_tokens > quote.trainable_tokens > 0

    with pytest.raises(CannotStart, match="choose another name"):
        other = chosen.model_copy()
        await asyncio.to_thread(
            add_base_model,
            other,
            "tunery/tiny",
            repository="acme/lantern",
            revision="main",
            licence=None,
            prices=PRICES,
        )


@pytest.mark.parametrize(
    ("name", "length"), [("flat", 512), ("early", 1024), ("multimodal", 4096), ("nested-early", 2048)]
)
def test_the_context_length_is_found_where_models_state_it(hub: str, name: str, length: int):
    assert describe_hub_model(f"acme/{name}", "main", hub)["context_length"] == length


def test_a_model_without_a_context_length_is_refused_by_name(hub: str):
    with pytest.raises(InvalidInput, match=r"acme/endless.*max_position_embeddings nor n_positions") as refusal:
        describe_hub_model("acme/endless", "main", hub)
    assert refusal.value.field == "repository"


def test_an_unknown_repository_is_named(hub: str):
    with pytest.raises(BaseModelUnavailable, match="acme/absent"):
        describe_hub_model("acme/absent", "main", hub)


async def test_a_model_that_the_hub_lost_is_said_so(hub: str, tmp_path: Path):
    row = BaseModel(name="acme/absent", repository="acme/absent", revision=SHA)
    files = BaseModelFiles(tmp_path / "models", hub)
    with pytest.raises(BaseModelUnavailable, match="can't be fetched"):
        await asyncio.to_thread(files.model_folder, row)
