"""Tasks of the tenants room. Each is safe to run twice."""

from uuid import UUID

from tunery.core.database import Database
from tunery.core.events import Events
from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.tenants.erase import FINISH_ERASURE, finish_erasure
from tunery.vault.keyring import Keyring


async def finish(services: Services, tenant_id: str) -> None:
    async with services.get(Database).unit_of_work(UUID(tenant_id)) as uow:
        await finish_erasure(uow, services.get(Events), services.get(Keyring))


TASKS: dict[str, Task] = {FINISH_ERASURE: finish}
