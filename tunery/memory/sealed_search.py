"""Search where neither embeddings nor words stand in the clear: all of a subject's memories are opened here, ranked by
the same three legs as in the index, and fused in the same way.
"""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain, zip_longest
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

import numpy as np

from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput, Unavailable
from tunery.memory.contents import open_content
from tunery.memory.fusion import Ranked, fuse
from tunery.memory.models import MemoryStore
from tunery.memory.sealed_store import Kept, Vector, load_living, vector_of
from tunery.memory.subjects import OpenedSubject
from tunery.memory.terms import terms_of

OPENED_AT_ONCE: Final = 2_000
"""However many there are, so many are in memory at a time."""
SECONDS: Final = 10.0
"""For one search: in it some hundred thousand memories are opened."""
SEARCHES_AT_ONCE: Final = 2
"""In this process: each keeps a thread and a connection busy, which others need, too."""
WAIT_SECONDS: Final = 5.0
"""For a turn."""

_turns = asyncio.Semaphore(SEARCHES_AT_ONCE)
_turns_of: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()
"""One for each tenant: nobody takes all the turns."""


@asynccontextmanager
async def turn_to_search(tenant_id: UUID) -> AsyncIterator[None]:
    """For `search_sealed`; to be waited for before a connection is taken. Raises Unavailable."""
    own = _turns_of.setdefault(tenant_id, asyncio.Lock())
    async with AsyncExitStack() as turns:
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turns.enter_async_context(own)
                await turns.enter_async_context(_turns)
        except TimeoutError as error:
            raise Unavailable("many sealed memories are being searched: try again in a moment") from error
        yield


async def search_sealed(
    uow: UnitOfWork,
    store: MemoryStore,
    subject: OpenedSubject,
    *,
    vectors: Mapping[str, Sequence[float]],
    words: Sequence[str],
    agent: str | None,
    kinds: Collection[str],
    as_of: datetime,
    limit: int,
) -> list[Ranked]:
    """The best `limit` of the subject's memories. `vectors` are the query's, by model.

    Raises UnsealingFailed that names the memory, and InvalidInput when there are too many to open them in time.
    """
    sought = {model: np.asarray(vector, dtype=np.float32) for model, vector in vectors.items()}
    search, page = _Search(subject, sought, frozenset(words), time.monotonic() + SECONDS), None
    while page is None or len(page) == OPENED_AT_ONCE:
        page = await load_living(
            uow,
            store,
            subject_id=subject.id,
            agent=agent,
            kinds=kinds,
            as_of=as_of,
            before=page[-1] if page else None,
            limit=OPENED_AT_ONCE,
            contents=bool(words),
        )
        # Opening and stemming thousands of texts takes a while; others are served meanwhile.
        await asyncio.to_thread(search.add, page)
    return search.best(limit)


@dataclass(frozen=True)
class _Search:
    """What is kept of the memories that were opened: how near they are to the query."""

    subject: OpenedSubject
    vectors: Mapping[str, Vector]
    words: frozenset[str]
    deadline: float
    """On `time.monotonic`."""
    _newest: list[UUID] = field(default_factory=list)
    _cosines: dict[str, list[tuple[float, UUID]]] = field(default_factory=lambda: defaultdict(list))
    _shared: list[tuple[UUID, frozenset[str]]] = field(default_factory=list)
    """Words of the query that a memory has."""

    def add(self, page: Iterable[Kept]) -> None:
        for kept in page:
            if time.monotonic() > self.deadline:
                raise InvalidInput(
                    f"a sealed search opens all memories that it looks at, and of these only {len(self._newest):,} in"
                    f" {SECONDS:g} seconds: narrow it by agent or kinds",
                    field="subject",
                )
            self._newest.append(kept.id)
            for model, sought in self.vectors.items():
                vector = vector_of(self.subject, kept, model)
                if vector is not None and len(vector) == len(sought):
                    self._cosines[model].append((float(vector @ sought), kept.id))
            if self.words:
                text = open_content(self.subject, kept.id, kept.sealed_content or b"").text
                if found := self.words.intersection(terms_of(text)):
                    self._shared.append((kept.id, found))

    def best(self, limit: int) -> list[Ranked]:
        longest = max(4 * limit, 50)
        by_model = [_best_first(self._cosines[model])[:longest] for model in self.vectors]
        legs = {
            # Cosines of two models don't compare; their places do.
            "vector": [found for found in chain.from_iterable(zip_longest(*by_model)) if found is not None],
            "terms": _best_first(self._by_words()),
            "recency": self._newest,
        }
        return fuse({leg: ranking[:longest] for leg, ranking in legs.items()}, limit)

    def _by_words(self) -> list[tuple[float, UUID]]:
        """Rarer words count for more."""
        frequency = Counter(chain.from_iterable(found for _, found in self._shared))
        weights = {word: math.log(1 + len(self._newest) / count) for word, count in frequency.items()}
        return [(sum(weights[word] for word in found), memory_id) for memory_id, found in self._shared]


def _best_first(scored: Iterable[tuple[float, UUID]]) -> list[UUID]:
    return [memory_id for _, memory_id in sorted(scored, key=lambda found: -found[0])]
