"""Storing data sets: validated and sealed in one pass over the stream, kept whole or not at all."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import exists, select

from tunery.core import ids
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import Conflict, InvalidInput, NotFound
from tunery.core.outbox import enqueue
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.training.models import DataSet, Quote, TrainingJob
from tunery.training.validation import DataSetValidator, read_conversations
from tunery.vault.keyring import KeyDestroyed, Keyring, generate_data_key
from tunery.vault.sealing import Sealer, unseal_stream

LONGEST_NAME = 255
DELETE_OBJECT = "training.delete_object"
DELETE_ATTEMPTS = "training.delete_attempts"
DATA_SETS = "data-sets/"
"""What the paths of data sets, which are what their keys are for, begin with."""


class DataSetTooLarge(InvalidInput):
    code = "DATA_SET_TOO_LARGE"


@dataclass(frozen=True)
class DataSetLimits:
    """Largest data set and longest line, in bytes."""

    max_bytes: int
    max_line_bytes: int


async def store_data_set(services: Services, tenant_id: UUID, name: str, chunks: AsyncIterator[bytes]) -> DataSet:
    """Validate, seal and store a stream. Raises InvalidDataSet or DataSetTooLarge; then nothing was kept."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInput(f"a file's name has 1 to {LONGEST_NAME} characters", field="file")
    limits, storage = services.get(DataSetLimits), services.get(ObjectStorage)
    path = f"{DATA_SETS}{tenant_id}/{uuid4()}"
    key = generate_data_key()
    sealer, digest, size = Sealer(key, path.encode()), hashlib.sha256(), 0
    validator = DataSetValidator(limits.max_line_bytes)
    # What the writer got appears under its name when it is closed, not before; a refused file is never closed.
    writer = storage.writer(path)
    async for chunk in chunks:
        size += len(chunk)
        if size > limits.max_bytes:
            raise DataSetTooLarge(f"the file is larger than the limit of {limits.max_bytes:,} bytes", field="file")
        validator.update(chunk)
        digest.update(chunk)
        if not validator.error_count:
            await writer.write(sealer.update(chunk))
    validator.finish()
    await writer.write(sealer.finalize())
    await writer.close()
    try:
        async with services.get(Database).unit_of_work(tenant_id) as uow:
            data_key = await services.get(Keyring).store_data_key(uow, key, purpose=path)
            data_set = DataSet(
                name=name,
                rows=validator.rows,
                size=size,
                sha256=digest.hexdigest(),
                data_key_id=data_key.id,
                object_path=path,
                created_at=uow.now(),
            )
            uow.session.add(data_set)
    except BaseException:
        await storage.delete(path)
        raise
    return data_set


async def find_data_set(uow: UnitOfWork, identifier: UUID, *, field: str | None = None) -> DataSet:
    """Raises NotFound, also for a deleted one."""
    data_set = await uow.session.get(DataSet, identifier)
    if data_set is None or data_set.deleted_at is not None:
        raise NotFound("data set", ids.encode("data set", identifier), field=field)
    return data_set


async def open_data_set(
    services: Services, tenant_id: UUID, data_set: DataSet, key: bytes | None = None
) -> AsyncIterator[bytes]:
    """The plaintext, in chunks. Raises UnsealingFailed when the stored bytes were changed.

    A node has no keyring: it gives the `key` that it was granted.
    """
    if key is None:
        key = await _open_key(services, tenant_id, data_set)
    sealed = services.get(ObjectStorage).stream(data_set.object_path)
    async for chunk in unseal_stream(key, data_set.object_path.encode(), sealed):
        yield chunk


async def load_conversations(
    services: Services, tenant_id: UUID, data_set: DataSet, key: bytes | None = None
) -> list[list[dict[str, Any]]]:
    """Every conversation's messages, in order. The whole set in memory: at most `data_set_max_bytes`."""
    content = b"".join([chunk async for chunk in open_data_set(services, tenant_id, data_set, key)])
    return list(read_conversations(iter(content.split(b"\n"))))


async def _open_key(services: Services, tenant_id: UUID, data_set: DataSet) -> bytes:
    if data_set.data_key_id is None:
        raise NotFound("data set", ids.encode("data set", data_set.id))
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        return await services.get(Keyring).open_data_key(uow, data_set.data_key_id)


async def delete_data_set(uow: UnitOfWork, keyring: Keyring, identifier: UUID) -> None:
    """Destroy the key now and the object right after the commit. Raises Conflict while a job needs it."""
    data_set = await find_data_set(uow, identifier)
    unfinished = exists().where(
        Quote.data_set_id == identifier,
        TrainingJob.quote_id == Quote.id,
        TrainingJob.status.in_(("queued", "running")),
    )
    if await uow.session.scalar(select(unfinished)):
        raise Conflict("a training job still needs this data set: cancel it or wait for its end", field="id")
    data_key_id, data_set.data_key_id = data_set.data_key_id, None
    data_set.deleted_at = uow.now()
    await uow.session.flush()
    if data_key_id is not None:
        with suppress(KeyDestroyed):  # a restored backup brought back the row, not the key
            await keyring.destroy_data_key(uow, data_key_id)
    enqueue(uow, DELETE_OBJECT, path=data_set.object_path)
