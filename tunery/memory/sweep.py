"""What time and restored backups leave to be deleted. Scheduled by the worker; safe to run at any time, twice."""

from collections import defaultdict
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import UUID

from sqlalchemy import select, update

from tunery.core.database import Database
from tunery.core.logs import get_logger
from tunery.core.services import Services
from tunery.memory.erase import finish_erasure
from tunery.memory.forget import delete_memories
from tunery.memory.models import Memory, Subject
from tunery.memory.stores import lock_store, sum_of_tenants
from tunery.memory.subjects import lock_subjects
from tunery.vault.keyring import Keyring
from tunery.vault.models import DataKey

BATCH: Final = 500
NAMES_STAY: Final = timedelta(hours=1)
"""Longer than whatever was on its way when somebody was erased."""

log = get_logger(__name__)


async def delete_expired(services: Services) -> int:
    """Delete memories whose time is over; how many. Recall has not shown them since."""
    async with services.get(Database).dispatch() as uow:
        expired = select(Memory.tenant_id).where(Memory.expires_at <= uow.now()).distinct().limit(BATCH)
        tenants = (await uow.session.scalars(expired)).all()
    return await sum_of_tenants(tenants, partial(_delete_all, services))


async def _delete_all(services: Services, tenant_id: UUID) -> int:
    deleted = 0
    while count := await _delete_batch(services, tenant_id):
        deleted += count
    return deleted


async def _delete_batch(services: Services, tenant_id: UUID) -> int:
    async with services.get(Database).unit_of_work(tenant_id) as uow:
        store = await lock_store(uow)
        expired = select(Memory.id, Memory.subject_id).where(Memory.expires_at <= uow.now()).limit(BATCH)
        found = (await uow.session.execute(expired)).all()
        await lock_subjects(uow, {row.subject_id for row in found})
        # Somebody may have said one of them again meanwhile: then it lives on.
        still = select(Memory.id).where(Memory.id.in_([row.id for row in found]), Memory.expires_at <= uow.now())
        return len(await delete_memories(uow, store, (await uow.session.scalars(still)).all()))


async def forget_erased_names(services: Services) -> int:
    """Of who was erased a while ago, not even the name's keyed digest stays; of how many it was there."""
    async with services.get(Database).dispatch() as uow:
        late = Subject.erased_digest.is_not(None), Subject.erased_at <= uow.now() - NAMES_STAY
        gone = update(Subject).where(*late).values(erased_digest=None).returning(Subject.id)
        return len((await uow.session.execute(gone.execution_options(synchronize_session=False))).all())


async def finish_erasures(services: Services) -> int:
    """Delete what a restored backup brought back of subjects whose key is destroyed; how many subjects."""
    async with services.get(Database).dispatch() as uow:
        rows = await uow.session.execute(
            select(Subject.tenant_id, Subject.id)
            .join(DataKey, DataKey.id == Subject.data_key_id)
            .where(Subject.erased_at.is_(None), DataKey.destroyed_at.is_not(None))
            .limit(BATCH)
        )
        found = defaultdict(list)
        for tenant_id, subject_id in rows:
            found[tenant_id].append(subject_id)

    async def finish(tenant_id: UUID) -> int:
        finished = 0
        for subject_id in found[tenant_id]:
            async with services.get(Database).unit_of_work(tenant_id) as uow:
                finished += await finish_erasure(uow, services.get(Keyring), subject_id)
        return finished

    finished = await sum_of_tenants(list(found), finish)
    if finished:
        log.info("removed what was left of erased subjects", subjects=finished)
    return finished
