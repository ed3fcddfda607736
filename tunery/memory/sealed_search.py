"""Search where neither embeddings nor words stand in the clear: a subject's memories are opened here, ranked by the
same three legs as in the index, and fused in the same way.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from itertools import chain, zip_longest
from uuid import UUID

import numpy as np

from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput
from tunery.memory.contents import open_content
from tunery.memory.fusion import Ranked, fuse
from tunery.memory.models import MemoryStore
from tunery.memory.sealed_store import MOST_OPENED, Kept, load_living, vector_of
from tunery.memory.subjects import OpenedSubject
from tunery.memory.terms import terms_of


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

    Raises InvalidInput where there are more than one search opens, and UnsealingFailed that names the memory.
    """
    known = await load_living(
        uow,
        store,
        subject_id=subject.id,
        agent=agent,
        kinds=kinds,
        as_of=as_of,
        limit=MOST_OPENED + 1,
        contents=bool(words),
    )
    if len(known) > MOST_OPENED:
        raise InvalidInput(
            f"a sealed search opens up to {MOST_OPENED:,} memories, and this subject has more: narrow it by agent or"
            " kinds",
            field="subject",
        )
    # Opening and stemming thousands of texts takes a while; others are served meanwhile.
    return await asyncio.to_thread(_rank, subject, known, vectors, words, store.language, limit)


def _rank(
    subject: OpenedSubject,
    known: Sequence[Kept],
    vectors: Mapping[str, Sequence[float]],
    words: Sequence[str],
    language: str,
    limit: int,
) -> list[Ranked]:
    longest = max(4 * limit, 50)
    by_model = [_by_vector(subject, known, model, vector) for model, vector in vectors.items()]
    legs = {
        # Cosines of two models don't compare; their places do.
        "vector": [found for found in chain.from_iterable(zip_longest(*by_model)) if found is not None],
        "terms": _by_words(subject, known, words, language) if words else [],
        "recency": [kept.id for kept in known],
    }
    return fuse({leg: ranking[:longest] for leg, ranking in legs.items()}, limit)


def _by_vector(subject: OpenedSubject, known: Sequence[Kept], model: str, sought: Sequence[float]) -> list[UUID]:
    vectors = ((kept.id, vector_of(subject, kept, model)) for kept in known)
    found = [(memory_id, vector) for memory_id, vector in vectors if vector is not None and len(vector) == len(sought)]
    if not found:
        return []
    cosines = np.stack([vector for _, vector in found]) @ np.asarray(sought, dtype=np.float32)
    return [found[place][0] for place in np.argsort(-cosines, kind="stable")]


def _by_words(subject: OpenedSubject, known: Sequence[Kept], words: Sequence[str], language: str) -> list[UUID]:
    """Rarer words count for more."""
    wanted = set(words)
    shared = {
        kept.id: wanted.intersection(
            terms_of(open_content(subject, kept.id, kept.sealed_content or b"").text, language)
        )
        for kept in known
    }
    frequency = Counter(chain.from_iterable(shared.values()))
    weights = {word: math.log(1 + len(known) / count) for word, count in frequency.items()}
    scores = {memory_id: sum(weights[word] for word in found) for memory_id, found in shared.items() if found}
    return sorted(scores, key=lambda memory_id: -scores[memory_id])
