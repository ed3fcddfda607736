import hashlib
from pathlib import Path

import pytest
from sqlalchemy import func, select

from tests.training.shop import ROWS, chunks, jsonl
from tunery.app.settings import Settings
from tunery.core.database import Database
from tunery.core.errors import NotFound
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training.data_sets import (
    DataSetLimits,
    DataSetTooLarge,
    delete_data_set,
    find_data_set,
    load_conversations,
    open_data_set,
    store_data_set,
)
from tunery.training.models import DataSet
from tunery.training.validation import InvalidDataSet
from tunery.vault.keyring import Keyring
from tunery.vault.models import DataKey
from tunery.vault.sealing import UnsealingFailed


def stored_files(settings: Settings, tenant) -> list[Path]:
    folder = Path(settings.storage_url.removeprefix("file://")) / "data-sets" / str(tenant.tenant_id)
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


async def counts(services: Services, tenant) -> tuple[int, int]:
    """Data sets, and keys that are not destroyed."""
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        counted = (func.count(DataSet.id), func.count(DataKey.wrapped_key))
        return tuple([await uow.session.scalar(select(column)) for column in counted])


async def test_a_data_set_is_stored_sealed_and_opens_again(services: Services, settings: Settings, sign_up):
    tenant, data = await sign_up(), jsonl()
    stored = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(data))
    assert (stored.rows, stored.size, stored.sha256) == (ROWS, len(data), hashlib.sha256(data).hexdigest())
    [file] = stored_files(settings, tenant)
    assert b"guaranteed" not in file.read_bytes()
    content = b"".join([chunk async for chunk in open_data_set(services, tenant.tenant_id, stored)])
    assert content == data
    conversations = await load_conversations(services, tenant.tenant_id, stored)
    assert len(conversations) == ROWS
    assert conversations[3][0] == {"role": "user", "content": "How long is lamp 3 guaranteed?"}


async def test_a_refused_data_set_leaves_nothing(services: Services, settings: Settings, sign_up):
    tenant = await sign_up()
    with pytest.raises(InvalidDataSet):
        await store_data_set(services, tenant.tenant_id, "bad.jsonl", chunks(jsonl() + b"\noops"))
    with pytest.raises(InvalidDataSet):
        await store_data_set(services, tenant.tenant_id, "empty.jsonl", chunks(b""))
    with pytest.raises(DataSetTooLarge, match="limit"):
        limit = services.get(DataSetLimits).max_bytes
        line = jsonl(1) + b"\n"
        block = line * (4 * 1024 * 1024 // len(line))

        async def endless():
            for _ in range(limit // len(block) + 2):
                yield block

        await store_data_set(services, tenant.tenant_id, "large.jsonl", endless())
    assert stored_files(settings, tenant) == []
    assert await counts(services, tenant) == (0, 0)


async def test_changed_or_foreign_bytes_do_not_open(services: Services, settings: Settings, sign_up):
    tenant = await sign_up()
    stored = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(jsonl()))
    [file] = stored_files(settings, tenant)
    sealed = bytearray(file.read_bytes())
    sealed[-1] ^= 1
    file.write_bytes(sealed)
    with pytest.raises(UnsealingFailed):
        await load_conversations(services, tenant.tenant_id, stored)


async def test_a_foreign_data_set_does_not_exist(services: Services, sign_up):
    tenant, stranger = await sign_up(), await sign_up()
    stored = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(jsonl()))
    async with services.get(Database).unit_of_work(stranger.tenant_id) as uow:
        with pytest.raises(NotFound):
            await find_data_set(uow, stored.id)
        with pytest.raises(NotFound):
            await delete_data_set(uow, services.get(Keyring), stored.id)
    with pytest.raises(NotFound):
        await load_conversations(services, stranger.tenant_id, stored)
    assert await load_conversations(services, tenant.tenant_id, stored)


async def test_deleting_destroys_the_key(services: Services, sign_up):
    tenant = await sign_up()
    stored = await store_data_set(services, tenant.tenant_id, "shop.jsonl", chunks(jsonl()))
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await delete_data_set(uow, services.get(Keyring), stored.id)
    assert await counts(services, tenant) == (1, 0)
    with pytest.raises(NotFound):
        await load_conversations(services, tenant.tenant_id, stored)
    assert await services.get(ObjectStorage).get(stored.object_path)  # until the worker has removed it
