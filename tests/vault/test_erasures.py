"""Certificates: what they say, that they are a chain, and that whoever changes it is found out."""

import asyncio
import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from tunery.app.verify import HOLDS, REFUSED, run_verify
from tunery.core import ids
from tunery.core.canonical import canonical_json
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.vault.erasures import certify_erasure
from tunery.vault.keyring import DestroyedKey, Keyring, generate_data_key

ERASURES = "{ erasures(first: 100) { totalCount nodes { id number certificate signature createdAt } } }"


async def certify(services: Services, tenant, number: int = 0) -> None:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        destroyed = DestroyedKey("data key", f"subject {number}", "0" * 32, uow.now(), uow.now())
        await certify_erasure(
            uow,
            services.get(Keyring),
            scope="subject",
            subject=f"sub_{number}",
            requested_by="key_1",
            destroyed=[destroyed],
            deleted={"memories": number},
        )


async def public_key(services: Services, tenant) -> str:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        signer = await services.get(Keyring).signer(uow)
    return base64.b64encode(signer.public_key).decode()


async def lines_of(api, tenant) -> list[str]:
    """As a tenant keeps them: the answer of the API, oldest first."""
    answer = await api.graphql(ERASURES, tenant)
    return [
        json.dumps({"certificate": node["certificate"], "signature": node["signature"]})
        for node in reversed(answer["data"]["erasures"]["nodes"])
    ]


async def test_a_certificate_says_what_was_destroyed(services: Services, sign_up, api, owner: asyncpg.Connection):
    tenant = await sign_up()
    keyring = services.get(Keyring)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        key = await keyring.store_data_key(uow, generate_data_key(), purpose="subject 1")
        destroyed = await keyring.destroy_data_key(uow, key.id)
        made = await certify_erasure(
            uow,
            keyring,
            scope="subject",
            subject="sub_ä",
            requested_by="key_1",
            destroyed=[destroyed],
            deleted={"memories": 3, "conversations": 0},
        )
    answer = await api.graphql(ERASURES, tenant)
    [shown] = answer["data"]["erasures"]["nodes"]
    assert shown["id"] == ids.encode("erasure", made.id)
    assert shown["number"] == 1
    moment = made.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    said = json.loads(shown["certificate"])
    assert said == {
        "format": "tunery-erasure/1",
        "tenant": ids.encode("tenant", tenant.tenant_id),
        "number": 1,
        "previous": None,
        "scope": "subject",
        "subject": "sub_ä",
        "requested_by": "key_1",
        "destroyed_at": moment,
        "destroyed": [
            {
                "kind": "data key",
                "purpose": "subject 1",
                "fingerprint": destroyed.fingerprint,
                "created_at": moment,
                "destroyed_at": moment,
            }
        ],
        "deleted": {"memories": 3, "conversations": 0},
        "ended": {},
    }
    assert datetime.fromisoformat(said["destroyed_at"]) == destroyed.destroyed_at
    # What is signed is the text's own bytes.
    stored = await owner.fetchval("SELECT certificate FROM erasures WHERE id = $1", made.id)
    assert shown["certificate"].encode() == stored == canonical_json(said)


async def test_a_chain_verifies_offline_and_a_tampered_one_does_not(
    services: Services, sign_up, api, tmp_path: Path, capsys
):
    tenant, stranger = await sign_up(), await sign_up()
    for number in range(5):
        await certify(services, tenant, number)
    await certify(services, stranger)
    chain, key, file = await lines_of(api, tenant), await public_key(services, tenant), tmp_path / "erasures"
    foreign = await lines_of(api, stranger)

    def verify(lines: list[str], digest: str | None = None) -> int:
        file.write_text("\n".join(lines) + "\n")
        return run_verify(file, [key], digest)

    assert verify(chain) == HOLDS
    shown = capsys.readouterr().out
    assert "number 1 to 5" in shown
    last = next(line.split()[1] for line in shown.splitlines() if line.startswith("digest"))
    assert verify(chain, last) == HOLDS
    changed = json.loads(chain[2])
    changed["certificate"] = changed["certificate"].replace('"memories":2', '"memories":9')
    for wrong in (
        [*chain[:2], json.dumps(changed), *chain[3:]],
        [*chain[:2], *chain[3:]],
        [chain[1], chain[0], *chain[2:]],
        [*chain, chain[4]],
        [chain[0], *foreign, *chain[2:]],
    ):
        assert verify(wrong) == REFUSED
    # Of the last ones nobody can tell by the rest that they are missing: the digest that was kept does.
    assert verify(chain[:4]) == HOLDS
    assert verify(chain[:4], last) == REFUSED


async def test_a_chain_that_was_written_at_once_is_one_chain(services: Services, sign_up, api, tmp_path: Path):
    tenant = await sign_up()
    await asyncio.gather(*(certify(services, tenant, number) for number in range(12)))
    file = tmp_path / "erasures"
    file.write_text("\n".join(await lines_of(api, tenant)))
    assert run_verify(file, [await public_key(services, tenant)], None) == HOLDS
    assert (await api.graphql(ERASURES, tenant))["data"]["erasures"]["totalCount"] == 12


async def test_a_rolled_back_erasure_leaves_no_certificate(services: Services, sign_up, api):
    tenant = await sign_up()
    with pytest.raises(RuntimeError):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await certify_erasure(
                uow, services.get(Keyring), scope="tenant", subject=None, requested_by="", destroyed=[], deleted={}
            )
            raise RuntimeError
    assert (await api.graphql(ERASURES, tenant))["data"]["erasures"]["totalCount"] == 0
    await certify(services, tenant)
    assert len(await lines_of(api, tenant)) == 1


async def test_certificates_are_the_tenant_s_own(services: Services, sign_up, api):
    tenant, stranger = await sign_up(), await sign_up()
    await certify(services, tenant)
    [node] = (await api.graphql(ERASURES, tenant))["data"]["erasures"]["nodes"]
    assert (await api.graphql(ERASURES, stranger))["data"]["erasures"] == {"totalCount": 0, "nodes": []}
    document = "query ($id: ID!) { node(id: $id) { id ... on Erasure { number } } }"
    assert (await api.graphql(document, tenant, id=node["id"]))["data"]["node"]["number"] == 1
    assert (await api.graphql(document, stranger, id=node["id"]))["data"]["node"] is None
