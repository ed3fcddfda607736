"""What workers run: the rooms' tasks by name, and the sweepers."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from tunery.billing import tasks as billing
from tunery.core.database import is_unavailable
from tunery.core.errors import Unavailable
from tunery.core.logs import get_logger
from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.marketplace import tasks as marketplace
from tunery.memory import tasks as memory
from tunery.serving.sweep import release_expired_reservations
from tunery.tenants import tasks as tenants
from tunery.training import tasks as training
from tunery.vault import tasks as vault
from tunery.vault.rotation import reseal_under_newest_root

SWEEP_SECONDS = 30

WORKER_TASKS: dict[str, Task] = {
    **vault.TASKS,
    **tenants.TASKS,
    **billing.TASKS,
    **training.TASKS,
    **marketplace.TASKS,
    **memory.TASKS,
}

Sweep = Callable[[Services], Coroutine[Any, Any, Any]]
SWEEPS: tuple[Sweep, ...] = (release_expired_reservations, reseal_under_newest_root, *memory.SWEEPS)
"""Each at its own pace: a long one keeps no other from its work, nor does one that fails."""

log = get_logger(__name__)


async def sweep_forever(services: Services) -> None:
    """Mend what a process that died left behind, and go on with what takes long, every half minute, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for sweep in SWEEPS:
            group.create_task(_repeat(sweep, services))


async def _repeat(sweep: Sweep, services: Services) -> None:
    while True:
        try:
            await sweep(services)
        except Exception as error:
            if is_unavailable(error) or isinstance(error, Unavailable):
                log.warning("sweeper waits", sweep=sweep.__name__, error=str(error))
            else:
                log.exception("sweep failed", sweep=sweep.__name__)
        await asyncio.sleep(SWEEP_SECONDS)
