"""`tunery erasures`: the certificates of those who can't ask for them any more."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conftest import Api, SignedUpTenant
from tunery.app.embedded.data_folder import DataFolder
from tunery.app.embedded.errors import CannotStart
from tunery.app.erasures import run_erasures
from tunery.app.settings import Settings
from tunery.app.verify import CertificateRefused, TrustedKeys, verify_certificates
from tunery.core import ids
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.vault.erasures import certify_erasure
from tunery.vault.keyring import Keyring


async def erase(services: Services, api: Api, tenant: SignedUpTenant) -> bytes:
    """A person, then the organisation itself, its API keys included. The public key that both were signed with."""
    keyring = services.get(Keyring)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        person = await keyring.purpose_key(uow, "subject 1")
        destroyed = [await keyring.destroy_data_key(uow, person.id)]
        await certify_erasure(
            uow, keyring, scope="subject", subject="sub_1", requested_by="test", destroyed=destroyed, deleted={}
        )
        public_key = (await keyring.signer(uow)).public_key
    payload = await api.mutate("eraseTenant", "erasure { number }", tenant, confirm=tenant.slug)
    assert payload == {"erasure": {"number": 2}, "userErrors": []}
    return public_key


async def test_the_certificates_of_an_erased_organisation_verify(
    services: Services, settings: Settings, sign_up, api: Api, tmp_path: Path
) -> None:
    tenant, neighbour = await sign_up(), await sign_up()
    keys = TrustedKeys([await erase(services, api, tenant)])
    await erase(services, api, neighbour)
    name = ids.encode("tenant", tenant.tenant_id)
    lines = await asyncio.to_thread(run_erasures, settings, tmp_path, name)
    file = tmp_path / "erasures.ndjson"
    file.write_text("".join(f"{line}\n" for line in lines))
    found = [one.certificate for one in verify_certificates(file, keys)]
    assert [(one.number, one.scope, one.tenant) for one in found] == [(1, "subject", name), (2, "tenant", name)]
    file.write_text(f"{lines[1]}\n{lines[0]}\n")
    with pytest.raises(CertificateRefused):
        verify_certificates(file, keys)


async def test_who_was_never_erased_has_no_certificates(settings: Settings, sign_up, tmp_path: Path) -> None:
    tenant = await sign_up()
    for tenant_id in (tenant.tenant_id, uuid4()):
        with pytest.raises(CannotStart, match=r"nothing was erased for org_.*, or there is no such organisation here"):
            await asyncio.to_thread(run_erasures, settings, tmp_path, ids.encode("tenant", tenant_id))


@pytest.mark.parametrize("kind", [None, "erasure"])
def test_what_is_no_organisation_s_id_is_told(settings: Settings, tmp_path: Path, kind: str | None) -> None:
    given = "shop" if kind is None else ids.encode(kind, uuid4())
    with pytest.raises(CannotStart, match=f"'{given}' is no organisation's id"):
        run_erasures(settings, tmp_path, given)


def test_without_a_database_it_says_what_to_set(tmp_path: Path) -> None:
    name = ids.encode("tenant", uuid4())
    with pytest.raises(CannotStart, match="no database: set TUNERY_DATABASE_URL"):
        run_erasures(Settings(_env_file=None), tmp_path, name)


def test_a_running_instance_whose_settings_are_wrong_here_is_told(tmp_path: Path) -> None:
    """It may be of another release. Secrets among its settings are not repeated."""
    with DataFolder(tmp_path / "data") as folder:
        wrong = {"port": "eighty", "embeddings": '[{"model": "m", "url": "nowhere", "api_key": "topsecret"}]'}
        folder.write_runtime({"pid": 1, "base_url": "", "embedded": [], "settings": wrong})
        with pytest.raises(CannotStart, match="runs with settings that are wrong here") as refused:
            run_erasures(Settings(_env_file=None), folder.path, ids.encode("tenant", uuid4()))
    assert "\n  TUNERY_PORT: Input should be a valid integer" in str(refused.value)
    assert "\n  TUNERY_EMBEDDINGS: Value error, the embeddings are a JSON list" in str(refused.value)
    assert "topsecret" not in str(refused.value)
