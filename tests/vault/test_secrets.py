import asyncpg
import pytest

from tests.conftest import SignedUpTenant
from tunery.core.database import Database
from tunery.core.errors import NotFound
from tunery.core.services import Services
from tunery.vault.keyring import KeyDestroyed, Keyring
from tunery.vault.models import Secret
from tunery.vault.sealing import UnsealingFailed
from tunery.vault.secrets import discard_secret, keep_secret, reveal_secret

VALUE = b"whsec_canary-8d1f"


async def keep(services: Services, tenant: SignedUpTenant, purpose: str, value: bytes = VALUE):
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await keep_secret(uow, services.get(Keyring), purpose, value)


async def reveal(services: Services, tenant: SignedUpTenant, identifier) -> bytes:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await reveal_secret(uow, services.get(Keyring), identifier)


async def test_a_secret_is_sealed_and_its_tenant_s_alone(services: Services, sign_up, owner: asyncpg.Connection):
    tenant, stranger = await sign_up(), await sign_up()
    kept = {purpose: await keep(services, tenant, purpose) for purpose in ("webhook", "sso", "totp")}
    for identifier in kept.values():
        assert await reveal(services, tenant, identifier) == VALUE
        with pytest.raises(NotFound):
            await reveal(services, stranger, identifier)
        row = await owner.fetchrow("SELECT * FROM secrets WHERE id = $1", identifier)
        assert VALUE not in row["sealed_value"]
        assert identifier.version == 7
    purposes = await owner.fetch("SELECT purpose FROM data_keys WHERE tenant_id = $1 ORDER BY 1", tenant.tenant_id)
    assert [row["purpose"] for row in purposes] == ["sso", "totp", "webhook"]
    await keep(services, tenant, "webhook", b"another")
    assert await owner.fetchval("SELECT count(*) FROM data_keys WHERE tenant_id = $1", tenant.tenant_id) == 3


async def test_a_secret_opens_in_its_own_row_alone(services: Services, sign_up, owner: asyncpg.Connection, refusals):
    tenant, stranger = await sign_up(), await sign_up()
    one, two = await keep(services, tenant, "webhook"), await keep(services, tenant, "webhook", b"two")
    seed, foreign = await keep(services, tenant, "totp"), await keep(services, stranger, "webhook")
    before = refusals().get("value", 0)
    good = await owner.fetchval("SELECT sealed_value FROM secrets WHERE id = $1", one)
    others = [
        await owner.fetchval("SELECT sealed_value FROM secrets WHERE id = $1", row) for row in (two, seed, foreign)
    ]
    for wrong in (*others, good[:-1], good + b"x", b""):
        await owner.execute("UPDATE secrets SET sealed_value = $2 WHERE id = $1", one, wrong)
        with pytest.raises(UnsealingFailed):
            await reveal(services, tenant, one)
        assert await owner.fetchval("SELECT sealed_value FROM secrets WHERE id = $1", one) == wrong
    assert refusals()["value"] == before + 6
    await owner.execute("UPDATE secrets SET sealed_value = $2 WHERE id = $1", one, good)
    assert await reveal(services, tenant, one) == VALUE


async def test_a_discarded_secret_is_gone(services: Services, sign_up, owner: asyncpg.Connection):
    tenant, stranger = await sign_up(), await sign_up()
    kept, other = await keep(services, tenant, "webhook"), await keep(services, tenant, "webhook", b"other")
    async with services.get(Database).unit_of_work(stranger.tenant_id) as uow:
        await discard_secret(uow, kept)
    assert await reveal(services, tenant, kept) == VALUE
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await discard_secret(uow, kept)
        await discard_secret(uow, kept)
    with pytest.raises(NotFound):
        await reveal(services, tenant, kept)
    assert await reveal(services, tenant, other) == b"other"


async def test_destroying_a_purpose_s_key_erases_its_secrets(services: Services, sign_up):
    tenant = await sign_up()
    webhook, seed = await keep(services, tenant, "webhook"), await keep(services, tenant, "totp")
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await services.get(Keyring).destroy_data_key(uow, (await uow.session.get_one(Secret, webhook)).data_key_id)
    with pytest.raises(KeyDestroyed):
        await reveal(services, tenant, webhook)
    assert await reveal(services, tenant, seed) == VALUE
