"""What sealing costs: of one row, and of a whole recall with everything opened that it answers."""

import time
from collections.abc import Callable, Sequence
from statistics import median
from uuid import UUID, uuid4

from benchmarks.memory.vectors import DIMENSIONS, Matrix
from tunery.app.settings import Settings
from tunery.core.clock import Clock, SystemClock
from tunery.core.database import Database
from tunery.core.events import Events
from tunery.core.services import Services
from tunery.memory.embedding import Embedders
from tunery.memory.new_memory import NewMemory
from tunery.memory.recall import recall
from tunery.memory.remember import remember
from tunery.memory.switch import move_memories, set_search
from tunery.tenants.sign_up import sign_up
from tunery.vault.envelopes import X_WING, generate_key_pair, unwrap, wrap
from tunery.vault.keyring import Keyring
from tunery.vault.sealing import place, seal_value, unseal_value

MEMORIES, AT_ONCE, OPENED = 1000, 100, 10
TEXT = "Prefers a window seat on flights of more than three hours, and an aisle seat on shorter ones ({number})."


class Known:
    """Gives the vectors in turns: asking a model is not what is measured here."""

    model = "all-MiniLM-L6-v2"

    def __init__(self, vectors: Matrix) -> None:
        assert vectors.shape[1] == DIMENSIONS
        self._vectors = vectors
        self._given = 0

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        first, self._given = self._given, self._given + len(texts)
        return [self._vectors[number % len(self._vectors)].tolist() for number in range(first, self._given)]


def sealing(repeat: int) -> dict[str, float]:
    """Seconds of one row's sealing and opening, and of unwrapping its subject's key."""
    key, at = bytes(32), place("memories", "sealed_content", uuid4())
    content = TEXT.encode() * 3
    sealed = seal_value(key, at, content)
    private, public = generate_key_pair(X_WING)
    wrapped = wrap(X_WING, key, public, b"info")
    return {
        "seal a memory": _median(lambda: seal_value(key, at, content), repeat),
        "open a memory": _median(lambda: unseal_value(key, at, sealed), repeat),
        "unwrap a subject's key": _median(lambda: unwrap(X_WING, wrapped, private, b"info"), repeat),
    }


async def whole_recalls(settings: Settings, database: Database, vectors: Matrix, count: int) -> dict[str, list[float]]:
    """Seconds of recalls: of one person who has a thousand memories, ten that are opened, the embedding model left out;
    the same where the search is sealed.
    """
    services = Services()
    services.add(Clock, SystemClock())
    services.add(Database, database)
    services.add(Keyring, Keyring(settings.load_root_keys()))
    services.add(Embedders, Embedders([Known(vectors)]))
    async with database.unit_of_work() as uow:
        signed_up = await sign_up(
            uow, Events(), services.get(Keyring), organisation="Shop", email="owner@shop.example", slug="shop"
        )
    tenant_id = signed_up.tenant.id
    texts = [TEXT.format(number=number) for number in range(MEMORIES)]
    for first in range(0, MEMORIES, AT_ONCE):
        items = [NewMemory(subject="anna", text=text) for text in texts[first : first + AT_ONCE]]
        await remember(services, tenant_id, items)
    whole = {f"a whole recall, {OPENED} opened": await _recalls(services, tenant_id, count)}
    async with database.unit_of_work(tenant_id) as uow:
        await set_search(uow, "sealed")
    await move_memories(services, tenant_id)
    whole[f"the same, sealed search of {MEMORIES:,}"] = await _recalls(services, tenant_id, count // 5)
    return whole


async def _recalls(services: Services, tenant_id: UUID, count: int) -> list[float]:
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        found = await recall(services, tenant_id, f"Which seat on flight {number}?", subject="anna", k=OPENED)
        seconds.append(time.perf_counter() - began)
        assert len(found.memories) == OPENED
    return seconds[count // 10 :]


def _median(run: Callable[[], object], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return median(seconds)
