"""New keys in the place of old ones, under traffic: what the old ones sealed is sealed anew in the background.

Progress is the rows: whatever is interrupted goes on where it was when it is started again, and any number of processes
may do it side by side. A reader sees a data key and the tenant key it is wrapped to in one statement, hence always a
pair that opens.
"""

import asyncio
from typing import Final
from uuid import UUID

from sqlalchemy import exists, func, select, update

from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import Unavailable
from tunery.core.logs import get_logger
from tunery.core.outbox import enqueue
from tunery.core.services import Services
from tunery.vault.keyring import (
    VERSIONS,
    KeyDestroyed,
    Keyring,
    WrappedKey,
    signing_key_context,
    tenant_key_context,
    wrapped_keys,
)
from tunery.vault.models import DataKey, SigningKey, TenantKey
from tunery.vault.sealing import UnsealingFailed

REWRAP: Final = "vault.rewrap"
BATCH: Final = 100
PATIENCE: Final = 100
PAUSE_SECONDS: Final = 0.1

log = get_logger(__name__)


async def rotate_tenant_key(uow: UnitOfWork, keyring: Keyring, suite: str | None = None) -> TenantKey:
    """Make the tenant's next key version, of the same suite unless another is given; its data keys follow in the
    background, then older versions are retired.

    Raises as `Keyring.create_tenant_key`.
    """
    if suite is None:
        await uow.lock(VERSIONS)  # before the key's row, as all who take both do
        suite = (await keyring.lock_newest_tenant_key(uow)).suite
    tenant_key = await keyring.create_tenant_key(uow, suite)
    enqueue(uow, REWRAP, tenant_id=str(uow.tenant_id))
    return tenant_key


async def rewrap_data_keys(services: Services, tenant_id: UUID) -> None:
    """Wrap every living data key of the tenant to its newest version, then retire the older ones. Safe to run twice.

    A data key that does not open stays where it is, and so does its version: raises UnsealingFailed when all others
    are done. Raises Unavailable while others hold what is left.
    """
    database, keyring = services.get(Database), services.get(Keyring)
    refused: set[UUID] = set()
    for _ in range(PATIENCE):
        try:
            while await _rewrap_batch(database, keyring, tenant_id, refused):
                pass
        except KeyDestroyed:
            return
        left = await _retire_older_versions(database, tenant_id, len(refused) + 1)
        if not left:
            return
        if left <= refused:
            raise UnsealingFailed(f"{len(left)} data keys of the tenant do not open: they stay under an older version")
        await asyncio.sleep(PAUSE_SECONDS)
    raise Unavailable("some of the tenant's data keys are in use: they are wrapped anew later")


async def reseal_under_newest_root(services: Services) -> int:
    """Seal tenants' and the installation's private keys anew that an older root key sealed; how many were.

    Only what a root key of this process sealed: others are beyond it, and `tunery keys status` tells of them. Those
    that do not open are passed over. Raises Unavailable while a root key can't be used.
    """
    database, keyring = services.get(Database), services.get(Keyring)
    if not keyring.root_keys.older_ids:
        return 0
    count = await _reseal_signing_keys(database, keyring)
    older = select(TenantKey.id, TenantKey.tenant_id).where(
        TenantKey.destroyed_at.is_(None), TenantKey.root_key.in_(keyring.root_keys.older_ids)
    )
    last = UUID(int=0)
    while True:
        async with database.dispatch() as uow:
            next_ones = older.where(TenantKey.id > last).order_by(TenantKey.id).limit(BATCH)
            batch = (await uow.session.execute(next_ones)).all()
        if not batch:
            return count
        for identifier, tenant_id in batch:
            count += await _reseal_tenant_key(database, keyring, tenant_id, identifier)
        last = batch[-1].id


async def _rewrap_batch(database: Database, keyring: Keyring, tenant_id: UUID, refused: set[UUID]) -> int:
    """How many data keys were wrapped anew or refused, in one transaction; 0: none is left, or others hold the rest."""
    async with database.unit_of_work(tenant_id) as uow:
        newest = await keyring.lock_newest_tenant_key(uow)
        older = (
            wrapped_keys()
            .where(DataKey.destroyed_at.is_(None), DataKey.tenant_key_id != newest.id, DataKey.id.not_in(refused))
            .limit(BATCH)
            .with_for_update(of=DataKey, skip_locked=True)
        )
        rows = [WrappedKey(*row) for row in await uow.session.execute(older)]
        rewrapped = []
        for row in rows:
            try:
                key = await keyring.open_wrapped(tenant_id, row)
            except UnsealingFailed:
                refused.add(row.id)
                continue
            wrapped = newest.wrap(tenant_id, row.id, row.purpose, key)
            rewrapped.append({"id": row.id, "tenant_key_id": newest.id, "suite": newest.suite, "wrapped_key": wrapped})
        if rewrapped:
            await uow.session.execute(update(DataKey), rewrapped)
        return len(rows)


async def _retire_older_versions(database: Database, tenant_id: UUID, most: int) -> set[UUID]:
    """Retire the versions that no living data key is wrapped to; some of the keys that keep others from it."""
    async with database.unit_of_work(tenant_id) as uow:
        newest = select(func.max(TenantKey.version)).where(TenantKey.destroyed_at.is_(None)).scalar_subquery()
        older = select(TenantKey.id).where(TenantKey.destroyed_at.is_(None), TenantKey.version < newest)
        # Who wraps to a version holds its row meanwhile: under this lock, what was wrapped to it has been committed.
        held = (await uow.session.scalars(older.order_by(TenantKey.version).with_for_update())).all()
        wrapped = exists().where(DataKey.tenant_key_id == TenantKey.id, DataKey.destroyed_at.is_(None))
        retired = await uow.session.scalars(
            update(TenantKey)
            .where(TenantKey.id.in_(held), ~wrapped)
            .values(retired_at=uow.now(), destroyed_at=uow.now(), sealed_private_key=None)
            .returning(TenantKey.version)
        )
        for version in retired:
            log.info("tenant key retired", tenant_id=str(tenant_id), version=version)
        left = select(DataKey.id).where(DataKey.tenant_key_id.in_(held), DataKey.destroyed_at.is_(None))
        return set(await uow.session.scalars(left.limit(most)))


async def _reseal_tenant_key(database: Database, keyring: Keyring, tenant_id: UUID, identifier: UUID) -> int:
    async with database.unit_of_work(tenant_id) as uow:
        row = await uow.session.get_one(TenantKey, identifier)
    if row.sealed_private_key is None:
        return 0
    try:
        private = await keyring.unseal_tenant_key(tenant_id, row.version, row.root_key, row.sealed_private_key)
    except UnsealingFailed:
        return 0
    root_key, sealed = await keyring.root_keys.seal(tenant_key_context(tenant_id, row.version), private)
    async with database.unit_of_work(tenant_id) as uow:
        # Not over what became of the row meanwhile: another worker's sealing, or its destruction.
        same = update(TenantKey).where(
            TenantKey.id == identifier, TenantKey.sealed_private_key == row.sealed_private_key
        )
        resealed = same.values(root_key=root_key, sealed_private_key=sealed).returning(TenantKey.id)
        return len((await uow.session.scalars(resealed)).all())


async def _reseal_signing_keys(database: Database, keyring: Keyring) -> int:
    async with database.dispatch() as uow:
        older = select(SigningKey).where(SigningKey.root_key.in_(keyring.root_keys.older_ids))
        rows = (await uow.session.scalars(older)).all()
    count = 0
    for row in rows:
        try:
            private = await keyring.unseal_signing_key(row)
        except UnsealingFailed:
            continue
        root_key, sealed = await keyring.root_keys.seal(signing_key_context(row.public_key), private)
        async with database.dispatch() as uow:
            same = update(SigningKey).where(
                SigningKey.id == row.id, SigningKey.sealed_private_key == row.sealed_private_key
            )
            resealed = same.values(root_key=root_key, sealed_private_key=sealed).returning(SigningKey.id)
            count += len((await uow.session.scalars(resealed)).all())
    return count
