"""`/v1/files` as the OpenAI client speaks it."""

import pytest

from tests.training.shop import ROWS, jsonl
from tunery.core import ids
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training.models import DataSet
from tunery.vault.sealing import CHUNK


async def upload(api, tenant, content: bytes, name: str = "shop.jsonl", **fields: str):
    return await api.client.post(
        "/v1/files", files={"file": (name, content)}, data={"purpose": "fine-tune", **fields}, headers=tenant.headers
    )


async def test_files_are_uploaded_listed_read_and_deleted(api, sign_up):
    tenant = await sign_up()
    made = (await upload(api, tenant, jsonl())).json()
    assert (made["object"], made["bytes"], made["purpose"]) == ("file", len(jsonl()), "fine-tune")
    second = (await upload(api, tenant, jsonl(12), name="größe.jsonl")).json()
    assert second["filename"] == "größe.jsonl"

    listed = (await api.client.get("/v1/files?limit=1", headers=tenant.headers)).json()
    assert [file["id"] for file in listed["data"]] == [second["id"]]
    assert listed["has_more"]
    rest = (await api.client.get(f"/v1/files?after={second['id']}", headers=tenant.headers)).json()
    assert [file["id"] for file in rest["data"]] == [made["id"]]
    assert not rest["has_more"]

    path = f"/v1/files/{made['id']}"
    assert (await api.client.get(path, headers=tenant.headers)).json() == made
    assert (await api.client.get(f"{path}/content", headers=tenant.headers)).content == jsonl()
    data_set = await api.graphql("query($id: ID!) { dataSet(id: $id) { rows size } }", tenant, id=made["id"])
    assert data_set["data"]["dataSet"] == {"rows": ROWS, "size": len(jsonl())}

    assert (await api.client.delete(path, headers=tenant.headers)).json()["deleted"]
    for request in (api.client.get(path, headers=tenant.headers), api.client.delete(path, headers=tenant.headers)):
        assert (await request).status_code == 404


@pytest.mark.parametrize("damage", ["truncated", "changed at the end", "extended", "of another"])
async def test_of_a_damaged_data_set_nothing_is_delivered(api, services: Services, sign_up, damage: str):
    """Not even its beginning, which is whole: it has several chunks."""
    tenant = await sign_up()
    content = jsonl(2000)
    made, other = [(await upload(api, tenant, content)).json()["id"] for _ in range(2)]
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        path, path_of_other = [
            (await uow.session.get_one(DataSet, ids.decode("data set", identifier))).object_path
            for identifier in (made, other)
        ]
    storage = services.get(ObjectStorage)
    sealed = await storage.get(path)
    assert len(sealed) > 3 * CHUNK
    damaged = {
        "truncated": sealed[: 2 * CHUNK + 100],
        "changed at the end": sealed[:-1] + bytes([sealed[-1] ^ 1]),
        "extended": sealed + b"x",
        "of another": await storage.get(path_of_other),
    }
    await storage.put(path, damaged[damage])
    refused = await api.client.get(f"/v1/files/{made}/content", headers=tenant.headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (500, "unsealing_failed")
    assert "lamp" not in refused.text.lower()
    await storage.put(path, sealed)
    assert (await api.client.get(f"/v1/files/{made}/content", headers=tenant.headers)).content == content


async def test_bad_lines_are_all_told_and_nothing_is_kept(api, sign_up):
    tenant = await sign_up()
    response = await upload(api, tenant, jsonl(3) + b'\n{"messages": 1}\noops\n')
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"], error["error_count"]) == ("invalid_data_set", "file", 2)
    assert [(line["line"], line["code"]) for line in error["errors"]] == [(4, "wrong_format"), (5, "malformed_json")]
    assert (await api.client.get("/v1/files", headers=tenant.headers)).json()["data"] == []


@pytest.mark.parametrize(
    ("content", "headers", "says"),
    [
        (b"hello", {"content-type": "text/plain"}, "multipart/form-data"),
        (b"hello", {"content-type": "multipart/form-data; boundary=x"}, "no valid multipart"),
        (b"--x\r\n", {"content-type": "multipart/form-data; boundary=x"}, "broke off"),
        (b"--x--\r\n", {"content-type": "multipart/form-data; boundary=x"}, "no file"),
    ],
)
async def test_what_is_no_upload_is_refused(api, sign_up, content: bytes, headers: dict[str, str], says: str):
    tenant = await sign_up()
    response = await api.client.post("/v1/files", content=content, headers={**tenant.headers, **headers})
    assert response.status_code == 400
    assert says in response.json()["error"]["message"]


async def test_an_upload_that_breaks_off_in_the_file_keeps_nothing(api, sign_up):
    tenant = await sign_up()
    head = b'--x\r\ncontent-disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + jsonl()
    headers = {**tenant.headers, "content-type": "multipart/form-data; boundary=x"}
    response = await api.client.post("/v1/files", content=head, headers=headers)
    assert (response.status_code, "broke off" in response.text) == (400, True)
    assert (await api.client.get("/v1/files", headers=tenant.headers)).json()["data"] == []


async def test_another_purpose_is_refused(api, sign_up):
    response = await upload(api, await sign_up(), jsonl(), purpose="batch")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "purpose")


async def test_foreign_files_do_not_exist(api, sign_up, services: Services):
    tenant, stranger = await sign_up(), await sign_up()
    made = (await upload(api, tenant, jsonl())).json()
    unknown = "file_" + "0" * 32
    for method, suffix in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        foreign = await api.client.request(method, f"/v1/files/{made['id']}{suffix}", headers=stranger.headers)
        absent = await api.client.request(method, f"/v1/files/{unknown}{suffix}", headers=stranger.headers)
        assert foreign.status_code == absent.status_code == 404
        assert foreign.text.replace(made["id"], unknown) == absent.text
    assert (await api.client.get(f"/v1/files/{made['id']}", headers=tenant.headers)).status_code == 200
