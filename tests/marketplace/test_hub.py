"""The Hugging Face clients, unmodified, against the hub on a loopback port."""

import asyncio
import hashlib
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from market import FILES, Market
from sqlalchemy import select

from tunery.core.storage import ObjectStorage
from tunery.marketplace.hub.send import UnsatisfiableRange, parse_range
from tunery.marketplace.models import Entitlement
from tunery.marketplace.publish import withdraw_listing
from tunery.tenants.api_keys import generate_secret, revoke_api_key
from tunery.training.catalogue import BUNDLED_FOLDER

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All tests run with HF_HUB_OFFLINE, which the client reads once, at its import."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield
    huggingface_hub.close_session()


@pytest.fixture
async def http(market: Market) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{market.url}/hub", trust_env=False) as client:
        yield client


def api_of(market: Market, tenant: Any) -> HfApi:
    return HfApi(endpoint=f"{market.url}/hub", token=tenant.api_key)


async def download(market: Market, tenant: Any, repository: str, folder: Path, **options: Any) -> Path:
    path = await asyncio.to_thread(
        snapshot_download,
        repository,
        endpoint=f"{market.url}/hub",
        token=tenant.api_key,
        cache_dir=folder,
        **options,
    )
    return Path(path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder: Path) -> list[str]:
    """What a client's cache holds of an adapter."""
    return [path.name for path in folder.rglob("*") if path.name in FILES]


async def refuses(kind: type[Exception], function: Callable[..., Any], *arguments: Any, **options: Any) -> Exception:
    with pytest.raises(kind) as refused:
        await asyncio.to_thread(function, *arguments, **options)
    return refused.value


async def test_own_adapter_is_downloaded_without_any_listing(market: Market, seller: Any, tmp_path: Path):
    version = await market.train(seller)
    repository = f"{seller.slug}/support-tone"

    assert contents(await download(market, seller, repository, tmp_path)) == FILES

    api = api_of(market, seller)
    info = await asyncio.to_thread(api.model_info, repository, files_metadata=True)
    assert (info.id, info.sha, info.author, info.gated) == (repository, version.digest[:40], seller.slug, False)
    sizes = {each.rfilename: (each.size, each.lfs.sha256) for each in info.siblings}
    assert sizes == {file["path"]: (file["size"], file["sha256"]) for file in version.files}
    assert sorted(await asyncio.to_thread(api.list_repo_files, repository)) == sorted(FILES)
    assert (await asyncio.to_thread(api.whoami))["name"] == seller.slug
    await asyncio.to_thread(api.auth_check, repository)


async def test_bought_adapter_is_downloaded_and_an_unbought_one_is_gated(
    market: Market, seller: Any, buyer: Any, tmp_path: Path
):
    listing = await market.publish(seller, price=1250)
    repository = f"{seller.slug}/{listing.name}"
    api = api_of(market, buyer)
    info = await asyncio.to_thread(api.model_info, repository)
    assert info.gated == "manual"
    assert sorted(each.rfilename for each in info.siblings) == sorted(FILES)
    await refuses(GatedRepoError, api.auth_check, repository)
    await refuses(GatedRepoError, api.hf_hub_download, repository, "README.md", cache_dir=tmp_path)
    with pytest.raises(GatedRepoError) as gated:
        await download(market, buyer, repository, tmp_path)
    assert gated.value.response.status_code == 403
    assert "purchase required" in gated.value.response.headers["x-error-message"]
    assert "12.50 USD" in str(gated.value)
    assert not names(tmp_path)

    await market.buy(buyer, listing)

    assert contents(await download(market, buyer, repository, tmp_path)) == FILES
    await asyncio.to_thread(api.auth_check, repository)
    assert (await asyncio.to_thread(api.model_info, repository)).gated is False


async def test_revoked_entitlement_shuts_the_files_again(
    market: Market, seller: Any, buyer: Any, tmp_path: Path
) -> None:
    listing = await market.publish(seller)
    repository = f"{seller.slug}/{listing.name}"
    await market.buy(buyer, listing)
    async with market.database.unit_of_work(buyer.tenant_id) as uow:
        (await uow.session.scalars(select(Entitlement))).one().revoked_at = uow.now()

    await refuses(GatedRepoError, api_of(market, buyer).hf_hub_download, repository, "README.md", cache_dir=tmp_path)
    assert not names(tmp_path)


async def test_withdrawn_listing_remains_with_its_buyers_alone(market: Market, seller: Any, buyer: Any, tmp_path: Path):
    listing = await market.publish(seller)
    repository = f"{seller.slug}/{listing.name}"
    await market.buy(buyer, listing)
    async with market.database.unit_of_work(seller.tenant_id) as uow:
        await withdraw_listing(uow, listing.id)

    assert contents(await download(market, buyer, repository, tmp_path)) == FILES
    stranger = await market.sign_up("Stranger")
    await refuses(RepositoryNotFoundError, api_of(market, stranger).model_info, repository)

    async with market.database.unit_of_work(buyer.tenant_id) as uow:
        (await uow.session.scalars(select(Entitlement))).one().revoked_at = uow.now()
    await refuses(RepositoryNotFoundError, api_of(market, buyer).hf_hub_download, repository, "README.md")


async def test_revisions_are_versions(market: Market, seller: Any, buyer: Any, tmp_path: Path):
    one = await market.train(seller, files={"README.md": b"one"})
    two = await market.train(seller, number=2, files={"README.md": b"two"})
    unlisted = await market.train(seller, number=3, files={"README.md": b"three"})
    listing = await market.publish(seller, one)
    await market.publish(seller, two)
    await market.buy(buyer, listing)
    repository = f"{seller.slug}/{listing.name}"
    expected = {"main": b"two", "v1": b"one", "v2": b"two", one.digest[:40]: b"one", two.digest[:40]: b"two"}
    for revision, content in expected.items():
        folder = await download(market, buyer, repository, tmp_path, revision=revision)
        assert contents(folder) == {"README.md": content}
    for revision in ("v3", "v0", "v01", "v99999999999", "dev", unlisted.digest[:40], one.digest[:39], "0" * 40):
        await refuses(
            RevisionNotFoundError, api_of(market, buyer).hf_hub_download, repository, "README.md", revision=revision
        )
    own = await download(market, seller, repository, tmp_path / "own")
    assert contents(own) == {"README.md": b"three"}


async def test_what_a_tenant_may_not_see_does_not_exist(market: Market, seller: Any, buyer: Any, tmp_path: Path):
    await market.train(seller, "secret")
    api = api_of(market, buyer)
    for repository in (f"{seller.slug}/secret", f"{seller.slug}/none", f"{buyer.slug}/secret", "nobody/nothing"):
        for look in (api.model_info, api.list_repo_files, api.auth_check):
            await refuses(RepositoryNotFoundError, look, repository)
        await refuses(RepositoryNotFoundError, api.hf_hub_download, repository, "README.md", cache_dir=tmp_path)
    assert not names(tmp_path)


async def test_without_a_valid_key_nothing_is_shown(
    market: Market, http: httpx.AsyncClient, seller: Any, buyer: Any, tmp_path: Path
):
    listing = await market.publish(seller)
    repository = f"{seller.slug}/{listing.name}"
    await market.buy(buyer, listing)
    paths = [
        f"/api/models/{repository}",
        f"/api/models/{repository}/tree/main",
        f"/{repository}/resolve/main/{WEIGHTS}",
    ]
    keyless = HfApi(endpoint=f"{market.url}/hub", token=False)
    await refuses(RepositoryNotFoundError, keyless.model_info, repository)
    for path in paths:
        answer = await http.get(path)
        assert (answer.status_code, answer.headers["x-error-code"]) == (401, "RepoNotFound")

    async with market.database.unit_of_work(buyer.tenant_id) as uow:
        await revoke_api_key(uow, buyer.identity.api_key_id)
    for key in (buyer.api_key, generate_secret(), "hf_no_key_of_ours"):
        for path in [*paths, "/api/whoami-v2"]:
            answer = await http.get(path, headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 401
            assert answer.headers["x-error-message"] == "Invalid credentials in Authorization header"
    refused = await refuses(
        HfHubHTTPError, api_of(market, buyer).hf_hub_download, repository, WEIGHTS, cache_dir=tmp_path
    )
    assert not isinstance(refused, RepositoryNotFoundError)
    assert "revoked" in str(await refuses(HfHubHTTPError, api_of(market, buyer).model_info, repository))


async def test_missing_file_names_the_commit(market: Market, http: httpx.AsyncClient, seller: Any, tmp_path: Path):
    version = await market.train(seller)
    repository = f"{seller.slug}/support-tone"
    await refuses(
        RemoteEntryNotFoundError, api_of(market, seller).hf_hub_download, repository, "none.bin", cache_dir=tmp_path
    )
    answer = await http.get(f"/{repository}/resolve/main/none.bin", headers=seller.headers)
    assert answer.status_code == 404
    assert answer.headers["x-repo-commit"] == version.digest[:40]
    assert await asyncio.to_thread(api_of(market, seller).file_exists, repository, "none.bin") is False


@pytest.mark.parametrize(
    "path",
    [
        "../{other}/README.md",
        "%2e%2e/{other}/README.md",
        "..%2f{other}%2fREADME.md",
        "x/../README.md",
        "./README.md",
        "/README.md",
        "%2fetc%2fpasswd",
        "README.md%00",
        "readme.md",
        "hidden.bin",
        "",
    ],
)
async def test_only_the_files_of_the_version_are_served(market: Market, seller: Any, buyer: Any, path: str):
    version, other = await market.train(seller), await market.train(buyer)
    await market.services.get(ObjectStorage).put(f"{version.object_prefix}/hidden.bin", b"not of the version")
    target = f"/hub/{seller.slug}/support-tone/resolve/main/{path.format(other=other.digest)}"

    assert await status_of(market, seller, target) == 404
    # The same request for a listed file is answered, so the paths above are refused for what they are.
    assert await status_of(market, seller, f"/hub/{seller.slug}/support-tone/resolve/main/README.md") == 200


async def status_of(market: Market, tenant: Any, target: str) -> int:
    """Through a bare socket: HTTP clients tidy paths up before they send them."""
    port = int(market.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = (
        f"GET {target} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {tenant.api_key}\r\nConnection: close\r\n\r\n"
    )
    writer.write(request.encode())
    status_line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return int(status_line.split()[1])


async def test_head_and_ranges(market: Market, http: httpx.AsyncClient, seller: Any):
    version = await market.train(seller)
    whole, size = FILES[WEIGHTS], len(FILES[WEIGHTS])
    etag = f'"{hashlib.sha256(whole).hexdigest()}"'
    path = f"/{seller.slug}/support-tone/resolve/main/{WEIGHTS}"

    async def get(**headers: str) -> httpx.Response:
        return await http.get(
            path, headers=seller.headers | {name.replace("_", "-"): headers[name] for name in headers}
        )

    head = await http.head(path, headers=seller.headers)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))
    full = await get()
    assert (full.status_code, full.content) == (200, whole)
    for answer in (head, full):
        assert answer.headers["etag"] == etag
        assert answer.headers["x-repo-commit"] == version.digest[:40]
        assert answer.headers["accept-ranges"] == "bytes"
    for asked, start, end in (("0-0", 0, 1), ("100-", 100, size), ("-7", size - 7, size), ("5-999999", 5, size)):
        part = await get(range=f"bytes={asked}")
        assert (part.status_code, part.content) == (206, whole[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["content-length"] == str(end - start)
    beyond = await get(range=f"bytes={size}-")
    assert (beyond.status_code, beyond.headers["content-range"], beyond.content) == (416, f"bytes */{size}", b"")
    for ignored in ("bytes=5-2", "bytes=0-1,3-4", "lines=0-1", "bytes=-", "bytes=a-b"):
        assert (await get(range=ignored)).status_code == 200
    assert (await get(range="bytes=1-2", if_range=etag)).status_code == 206
    assert (await get(range="bytes=1-2", if_range='"another"')).status_code == 200


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=-20", 10, (0, 10)),
        ("bytes=9-9", 10, (9, 10)),
        ("bytes= 1 - 2", 10, (1, 3)),
    ],
)
def test_range_is_parsed(header: str | None, size: int, expected: tuple[int, int] | None):
    assert parse_range(header, size) == expected


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_range_outside_the_file_is_unsatisfiable(header: str, size: int):
    with pytest.raises(UnsatisfiableRange):
        parse_range(header, size)


async def test_interrupted_download_is_resumed_where_it_broke_off(
    market: Market, seller: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = await market.train(seller)
    whole, storage, asked = FILES[WEIGHTS], market.services.get(ObjectStorage), []
    stream = storage.stream

    async def break_off_once(path: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        asked.append((path, start, end))
        if len(asked) == 1:
            yield whole[:4_000]
            raise ConnectionError("the storage went away")
        async for chunk in stream(path, start, end):
            yield chunk

    monkeypatch.setattr(storage, "stream", break_off_once)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1_000)

    path = await asyncio.to_thread(
        api_of(market, seller).hf_hub_download, f"{seller.slug}/support-tone", WEIGHTS, cache_dir=tmp_path
    )

    assert contents(Path(path).parent) == {WEIGHTS: whole}
    stored = f"{version.object_prefix}/{WEIGHTS}"
    assert asked == [(stored, 0, len(whole)), (stored, 4_000, len(whole))]


async def test_empty_and_missing_objects(market: Market, http: httpx.AsyncClient, seller: Any):
    version = await market.train(seller, files={"README.md": b"", WEIGHTS: b"weights"})
    folder = f"/{seller.slug}/support-tone/resolve/main"
    empty = await http.get(f"{folder}/README.md", headers=seller.headers)
    assert (empty.status_code, empty.content) == (200, b"")

    await market.services.get(ObjectStorage).delete(f"{version.object_prefix}/{WEIGHTS}")
    missing = await http.get(f"{folder}/{WEIGHTS}", headers=seller.headers)
    assert missing.status_code == 500
    assert version.object_prefix not in missing.text


LOAD_WITH_PEFT = """
import json, sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model = PeftModel.from_pretrained(base, sys.argv[2])
weights = [weight for name, weight in model.named_parameters() if "lora_B" in name]
print(json.dumps([len(weights), float(weights[0].sum())]))
"""


@pytest.mark.skipif(find_spec("peft") is None, reason="the training stack is not installed")
async def test_peft_loads_a_bought_adapter_by_its_name(market: Market, seller: Any, buyer: Any, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save

    layer = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"
    weights = {layer.format(index, "A"): np.zeros((4, 256), np.float32) for index in range(4)}
    weights |= {layer.format(index, "B"): np.full((256, 4), 0.5, np.float32) for index in range(4)}
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    files = {WEIGHTS: save(weights), "adapter_config.json": json.dumps(config).encode()}
    listing = await market.publish(seller, await market.train(seller, files=files))
    await market.buy(buyer, listing)
    base = str(BUNDLED_FOLDER / "tiny")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_ENDPOINT": f"{market.url}/hub", "HF_TOKEN": buyer.api_key, "HF_HOME": str(tmp_path)}

    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        LOAD_WITH_PEFT,
        base,
        f"{seller.slug}/{listing.name}",
        env=environment | {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1"},
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()

    assert process.returncode == 0, errors.decode()
    assert json.loads(output) == [4, 0.5 * 256 * 4]
