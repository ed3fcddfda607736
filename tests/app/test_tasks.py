import asyncio

from tests.serving.loopback import eventually
from tunery.app import tasks
from tunery.core.errors import Unavailable
from tunery.core.services import Services


async def test_a_sweep_that_fails_is_tried_again_and_ends_no_other(monkeypatch):
    calls = {"breaks": 0, "waits": 0, "works": 0}

    async def breaks(_services: Services) -> None:
        calls["breaks"] += 1
        raise ZeroDivisionError

    async def waits(_services: Services) -> None:
        calls["waits"] += 1
        raise Unavailable("not now")

    async def works(_services: Services) -> None:
        calls["works"] += 1

    monkeypatch.setattr(tasks, "SWEEPS", (breaks, waits, works))
    monkeypatch.setattr(tasks, "SWEEP_SECONDS", 0.001)
    sweeping = asyncio.create_task(tasks.sweep_forever(Services()))
    await eventually(lambda: min(calls.values()) > 3)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
