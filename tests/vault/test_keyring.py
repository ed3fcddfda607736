import pytest
from sqlalchemy import update

from tunery.core.database import Database
from tunery.core.errors import NotFound
from tunery.core.services import Services
from tunery.vault.keyring import Keyring, generate_data_key
from tunery.vault.models import DataKey
from tunery.vault.sealing import UnsealingFailed


async def test_a_data_key_opens_for_its_tenant_until_it_is_destroyed(services: Services, sign_up):
    tenant, stranger = await sign_up(), await sign_up()
    database, keyring, key = services.get(Database), services.get(Keyring), generate_data_key()
    async with database.unit_of_work(tenant.tenant_id) as uow:
        identifier = (await keyring.store_data_key(uow, key, purpose="test")).id
    async with database.unit_of_work(tenant.tenant_id) as uow:
        assert await keyring.open_data_key(uow, identifier) == key
    async with database.unit_of_work(stranger.tenant_id) as uow:
        with pytest.raises(NotFound):
            await keyring.open_data_key(uow, identifier)
        await keyring.destroy_data_key(uow, identifier)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        assert await keyring.open_data_key(uow, identifier) == key
        await keyring.destroy_data_key(uow, identifier)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        with pytest.raises(NotFound):
            await keyring.open_data_key(uow, identifier)


async def test_a_wrapped_key_does_not_open_for_another_purpose_or_root_key(services: Services, sign_up, postgres):
    tenant = await sign_up()
    database, keyring = services.get(Database), services.get(Keyring)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        row = await keyring.store_data_key(uow, generate_data_key(), purpose="data set 1")
        with pytest.raises(UnsealingFailed):
            await Keyring(bytes(32)).open_data_key(uow, row.id)
        row.purpose = "data set 2"
        with uow.session.no_autoflush, pytest.raises(UnsealingFailed):
            await keyring.open_data_key(uow, row.id)
        uow.session.expunge(row)


async def test_the_application_cannot_change_a_stored_key(services: Services, sign_up):
    tenant = await sign_up()
    with pytest.raises(Exception, match="permission denied"):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await uow.session.execute(update(DataKey).values(purpose="mine"))
