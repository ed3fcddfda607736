"""`tunery keys`, on an installation whose root key changes."""

import base64
import stat
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.app.stand_ins import NO_SANDBOX, STAND_INS
from tunery.app.compose import compose
from tunery.app.embedded.data_folder import DataFolder
from tunery.app.embedded.errors import CannotStart, DataFolderError
from tunery.app.instance import find_instance
from tunery.app.keys import KeysStatus, examine_keys, run_keys_status, run_rotate_root
from tunery.app.settings import Settings
from tunery.app.up import Up
from tunery.core.database import Database
from tunery.core.events import Events
from tunery.core.services import Services
from tunery.tenants.sign_up import sign_up as sign_up_verb
from tunery.vault.keyring import Keyring, generate_data_key
from tunery.vault.root_keys import LocalRootKey
from tunery.vault.rotation import reseal_under_newest_root, rotate_tenant_key

NOTHING = Settings(_env_file=None)


def advice(status: KeysStatus) -> list[tuple[str, bool]]:
    return [(key.advice.split(":")[0], key.may_be_removed) for key in status.root_keys]


@pytest.fixture(autouse=True)
async def every_row_names_its_root_key(services: Services):
    """Whatever other tests of this process left."""
    await reseal_under_newest_root(services)


async def store(services: Services, tenant_id, key: bytes):
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        return (await services.get(Keyring).store_data_key(uow, key, purpose="test")).id


async def opened(services: Services, tenant_id, identifier) -> bytes:
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        return await services.get(Keyring).open_data_key(uow, identifier)


async def test_a_root_key_may_be_removed_when_nothing_is_under_it(
    services: Services, settings: Settings, sign_up, tmp_path: Path
):
    [old] = settings.load_root_keys().local
    both = settings.model_copy(
        update={
            "root_key": SecretStr(f"{base64.b64encode(b'n' * 32).decode()},{settings.root_key.get_secret_value()}"),
            "installation_secret": settings.root_key,
        }
    )
    new = LocalRootKey(b"n" * 32)
    await sign_up()
    status = await examine_keys(settings, tmp_path)
    assert advice(status) == [("the newest", False)]
    assert status.root_keys[0].tenant_keys > 0
    assert status.root_keys[0].signing_keys == 1

    status = await examine_keys(both, tmp_path)
    assert advice(status) == [("the newest", False), ("still needed", False)]
    assert [key.root_key for key in status.root_keys] == [new.id, old.id]
    async with compose(both) as rotated:
        try:
            await reseal_under_newest_root(rotated)
            assert advice(await examine_keys(both, tmp_path))[1] == ("may be removed from the settings", True)
            status = await examine_keys(settings, tmp_path)
            assert advice(status) == [("the newest", False), ("not among the settings", False)]
            assert status.root_keys[1].root_key == new.id
        finally:
            back = settings.model_copy(
                update={
                    "root_key": SecretStr(
                        f"{settings.root_key.get_secret_value()},{base64.b64encode(b'n' * 32).decode()}"
                    ),
                    "installation_secret": settings.root_key,
                }
            )
            async with compose(back) as restored:
                await reseal_under_newest_root(restored)


async def test_the_one_that_stands_in_for_the_installation_s_secret_may_not_be_removed(
    services: Services, settings: Settings, tmp_path: Path, owner
):
    """The last one that is no KMS key: the database roles' passwords follow from it."""
    arn = "arn:aws:kms:eu-central-1:123456789012:key/1d44a105-bbd6-4ba4-9586-2757e5efa781"
    [old] = settings.load_root_keys().local
    moved = {"root_key": SecretStr(f"aws-kms:{arn},{settings.root_key.get_secret_value()}")}
    await owner.execute("UPDATE tenant_keys SET root_key = $1 WHERE destroyed_at IS NULL", f"aws-kms:{arn}")
    await owner.execute("UPDATE signing_keys SET root_key = $1", f"aws-kms:{arn}")
    try:
        status = await examine_keys(settings.model_copy(update=moved), tmp_path)
        assert advice(status)[1] == ("make it TUNERY_INSTALLATION_SECRET, then it may be removed", False)
        moved["installation_secret"] = settings.root_key
        status = await examine_keys(settings.model_copy(update=moved), tmp_path)
        assert advice(status)[1] == ("may be removed from the settings", True)
    finally:
        await owner.execute("UPDATE tenant_keys SET root_key = $1 WHERE destroyed_at IS NULL", old.id)
        await owner.execute("UPDATE signing_keys SET root_key = $1", old.id)


async def test_versions_are_counted_over_all_tenants(services: Services, settings: Settings, sign_up, tmp_path: Path):
    before = {use.version: use for use in (await examine_keys(settings, tmp_path)).versions}
    tenant = await sign_up()
    await store(services, tenant.tenant_id, generate_data_key())
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await rotate_tenant_key(uow, services.get(Keyring))
    after = {use.version: use for use in (await examine_keys(settings, tmp_path)).versions}
    counts = [(after[version].tenants - (before[version].tenants if version in before else 0)) for version in (1, 2)]
    assert counts == [1, 1]
    assert after[1].data_keys == (before[1].data_keys if 1 in before else 0) + 1


async def test_rows_that_name_no_root_key_keep_local_ones(
    services: Services, settings: Settings, sign_up, tmp_path, owner
):
    tenant = await sign_up()
    named = await owner.fetchval("SELECT root_key FROM tenant_keys WHERE tenant_id = $1", tenant.tenant_id)
    await owner.execute("UPDATE tenant_keys SET root_key = '' WHERE tenant_id = $1", tenant.tenant_id)
    text = f"{settings.root_key.get_secret_value()},{base64.b64encode(b'o' * 32).decode()}"
    status = await examine_keys(settings.model_copy(
        update={"root_key": SecretStr(text), "installation_secret": settings.root_key}
    ), tmp_path)  # fmt: skip
    await owner.execute("UPDATE tenant_keys SET root_key = $2 WHERE tenant_id = $1", tenant.tenant_id, named)
    assert advice(status) == [
        ("the newest", False), ("perhaps needed", False), ("from before rows named their root key", False)
    ]  # fmt: skip
    assert status.root_keys[2].tenant_keys == 1


def test_status_is_printed(settings: Settings, tmp_path: Path, capsys):
    run_keys_status(settings, tmp_path)
    shown = capsys.readouterr().out
    assert settings.load_root_keys().newest.id in shown
    assert "tenants that have it" in shown
    with pytest.raises(CannotStart, match="no root key: set TUNERY_ROOT_KEY"):
        run_keys_status(NOTHING, tmp_path)
    nowhere = settings.model_copy(update={"database_url": "postgresql://x@127.0.0.1:9/x"})
    with pytest.raises(CannotStart, match="Connect call failed"):
        run_keys_status(nowhere, tmp_path)


def test_a_data_folder_gets_a_new_root_key_before_its_others(tmp_path: Path, capsys):
    data = tmp_path / "data"
    with DataFolder(data) as folder:
        first = folder.root_key_file.read_text()
        secret = folder.installation_secret
        run_rotate_root(NOTHING, data)  # also while it is in use
        file = folder.root_key_file
        assert folder.installation_secret == secret
    lines = file.read_text().splitlines()
    assert lines[1:] == [first.strip()]
    assert len(base64.b64decode(lines[0])) == 32
    assert lines[0] not in capsys.readouterr().out
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Settings(_env_file=None, root_key_file=file).load_root_keys().ids[1:] == [
        LocalRootKey(base64.b64decode(first)).id
    ]
    with pytest.raises(DataFolderError, match=r"is .*/other the data folder"):
        run_rotate_root(NOTHING, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    for given in ({"root_key": first}, {"root_key_file": file}):
        with pytest.raises(CannotStart, match="TUNERY_ROOT_KEY"):
            run_rotate_root(Settings(_env_file=None, **given), data)
    assert file.read_text().splitlines() == lines


async def test_tunery_up_moves_to_a_new_root_key(tmp_path: Path):
    data, key = tmp_path / "data", generate_data_key()

    def start() -> Up:
        return Up(Settings(_env_file=None, port=0, **NO_SANDBOX), data_dir=data, durable=False, programs=STAND_INS)

    with start() as up:
        async with compose(up.settings) as services, services.get(Database).unit_of_work() as uow:
            made = await sign_up_verb(
                uow,
                services.get(Events),
                services.get(Keyring),
                organisation="Shop",
                email="a@shop.example",
                slug=None,
            )
            tenant_id = made.tenant.id
            identifier = (await services.get(Keyring).store_data_key(uow, key, purpose="test")).id
        password = up.settings.database_app_url.rpartition("@")[0].rpartition(":")[2]
    # As a folder from before it had an installation's secret: the next start gives it one.
    (data / "secrets" / "installation-secret").unlink()
    run_rotate_root(NOTHING, data)
    with start() as up:
        assert up.settings.database_app_url.rpartition("@")[0].rpartition(":")[2] != password
        shown = find_instance(NOTHING, data).settings
        assert advice(await examine_keys(shown, data)) == [("the newest", False), ("still needed", False)]
        async with compose(up.settings) as services:
            assert await opened(services, tenant_id, identifier) == key
            await reseal_under_newest_root(services)
        assert advice(await examine_keys(shown, data))[1] == ("may be removed from the settings", True)
    file = data / "secrets" / "root-key"
    file.write_text(file.read_text().splitlines()[0])
    with start() as up:
        async with compose(up.settings) as services:
            assert await opened(services, tenant_id, identifier) == key
