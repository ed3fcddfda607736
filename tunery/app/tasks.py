"""What workers run: the rooms' tasks by name, and the sweepers."""

import asyncio

from tunery.billing import tasks as billing
from tunery.core.database import is_unavailable
from tunery.core.logs import get_logger
from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.marketplace import tasks as marketplace
from tunery.serving.sweep import release_expired_reservations
from tunery.training import tasks as training

SWEEP_SECONDS = 30

WORKER_TASKS: dict[str, Task] = {**billing.TASKS, **training.TASKS, **marketplace.TASKS}

log = get_logger(__name__)


async def sweep_forever(services: Services) -> None:
    """Mend what a process that died left behind, every half minute, until cancelled."""
    while True:
        try:
            await release_expired_reservations(services)
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("sweeper waits for the database", error=str(error))
        await asyncio.sleep(SWEEP_SECONDS)
