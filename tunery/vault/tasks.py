"""Tasks of the vault. Each is safe to run twice."""

from uuid import UUID

from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.vault import rotation


async def rewrap(services: Services, tenant_id: str) -> None:
    await rotation.rewrap_data_keys(services, UUID(tenant_id))


TASKS: dict[str, Task] = {rotation.REWRAP: rewrap}
