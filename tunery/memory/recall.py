"""Recalling: what is nearest in meaning, shares words, or is newest, of what holds and is not expired."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import select

from tunery.core.clock import Clock
from tunery.core.database import Database, UnitOfWork
from tunery.core.errors import InvalidInput, NotFound, Unavailable
from tunery.core.logs import get_logger
from tunery.core.services import Services
from tunery.core.slugs import check_slug
from tunery.memory.embedding import Embedders, embed_what_goes
from tunery.memory.fusion import Ranked
from tunery.memory.models import Memory, MemoryStore
from tunery.memory.new_memory import check_kinds, check_memory_text, check_time
from tunery.memory.opened import OpenedMemory, open_memories, open_memory
from tunery.memory.sealed_search import search_sealed, turn_to_search
from tunery.memory.sealed_store import keeps_sealed
from tunery.memory.search import SearchQuery, search
from tunery.memory.stores import open_store
from tunery.memory.subjects import OpenedSubject, find_subject, open_subjects
from tunery.memory.terms import TERMS_PURPOSE, hash_terms, terms_of
from tunery.vault.keyring import Keyring

DEFAULT_K: Final = 10
MOST_K: Final = 100
ASK_SECONDS: Final = 4.0
"""For a model to embed the query: somebody waits, and words and age need no model."""
VECTOR, TERMS, RECENCY = "vector", "terms", "recency"

log = get_logger(__name__)


@dataclass(frozen=True)
class Recalled:
    """A memory in an answer: how it scored, and its place in each leg that found it."""

    memory: OpenedMemory
    score: float
    legs: dict[str, int]


@dataclass(frozen=True)
class Recall:
    """An answer, the best first. `legs` are those that ran: without a model to ask, `vector` is missing."""

    memories: list[Recalled]
    legs: tuple[str, ...]


@dataclass(frozen=True)
class _Question:
    text: str
    subject: str | None
    agent: str | None
    kinds: tuple[str, ...]
    k: int
    as_of: datetime


async def recall(
    services: Services,
    tenant_id: UUID,
    query: str,
    *,
    subject: str | None,
    agent: str | None = None,
    kinds: Sequence[str] = (),
    k: int = DEFAULT_K,
    as_of: datetime | None = None,
) -> Recall:
    """The k memories that answer a query best, of those valid at `as_of` (now): always k when there are k.

    Without a subject all of the tenant's are searched; a sealed store takes one.

    Raises InvalidInput, NotFound for an unknown subject, Unavailable when many sealed searches wait, UnsealingFailed
    that names the memory: an answer is whole or there is none.
    """
    if not 1 <= k <= MOST_K:
        raise InvalidInput(f"k is 1 to {MOST_K}, not {k:,}", field="k")
    question = _Question(
        text=check_memory_text(query, field="query", noun="a query"),
        subject=subject,
        agent=None if agent is None else check_slug(agent, field="agent"),
        kinds=check_kinds(kinds),
        k=k,
        as_of=services.get(Clock).now() if as_of is None else check_time(as_of, field="asOf"),
    )
    database, keyring = services.get(Database), services.get(Keyring)
    async with database.unit_of_work(tenant_id) as uow:
        store = await open_store(uow)
        subject_id = None if subject is None else (await find_subject(uow, keyring, subject)).id
        if not keeps_sealed(store):  # it may have to be made, which within a snapshot two can't do at once
            await keyring.purpose_key(uow, TERMS_PURPOSE)
    vectors = await _embed(services.get(Embedders), store, question.text)
    # What is found is read: a memory that is forgotten in between doesn't leave the answer one short.
    turn = turn_to_search(tenant_id) if keeps_sealed(store) else contextlib.nullcontext()
    async with turn, database.unit_of_work(tenant_id, snapshot=True) as uow:
        return await _answer(uow, keyring, question, subject_id, vectors)


async def _answer(
    uow: UnitOfWork,
    keyring: Keyring,
    question: _Question,
    subject_id: UUID | None,
    vectors: dict[str, list[float]],
) -> Recall:
    store = await open_store(uow)
    subject = None
    if question.subject is not None and subject_id is not None:
        subject = (await open_subjects(uow, keyring, [subject_id])).get(subject_id)
        if subject is None:  # erased
            raise NotFound("subject", question.subject, field="subject")
    words = terms_of(question.text)
    if keeps_sealed(store):
        if subject is None:
            raise InvalidInput("the search of this organisation is sealed: name the subject", field="subject")
        found = await search_sealed(
            uow,
            store,
            subject,
            vectors=vectors,
            words=words,
            agent=question.agent,
            kinds=question.kinds,
            as_of=question.as_of,
            limit=question.k,
        )
        has_vector = bool(vectors)
    else:
        vector = vectors.get(store.embedding_model or "")
        key = (await keyring.purpose_key(uow, TERMS_PURPOSE)).key if words else b""
        asked = SearchQuery(
            embedding=vector,
            embedding_model=store.embedding_model if vector else None,
            terms=hash_terms(key, words),
            subject_id=None if subject is None else subject.id,
            agent=question.agent,
            kinds=question.kinds,
            as_of=question.as_of,
        )
        found = await search(uow, store, asked, question.k)
        has_vector = vector is not None
    ran = [leg for leg, did in ((VECTOR, has_vector), (TERMS, bool(words)), (RECENCY, True)) if did]
    return Recall(await _open(uow, keyring, subject, found), tuple(ran))


async def _open(
    uow: UnitOfWork, keyring: Keyring, subject: OpenedSubject | None, found: Sequence[Ranked]
) -> list[Recalled]:
    rows = await uow.session.scalars(select(Memory).where(Memory.id.in_([ranked.memory_id for ranked in found])))
    if subject is None:
        memories = await open_memories(uow, keyring, rows)
    else:
        memories = [open_memory(subject, row) for row in rows]
    opened = {memory.id: memory for memory in memories}
    return [
        Recalled(opened[ranked.memory_id], ranked.score, ranked.legs) for ranked in found if ranked.memory_id in opened
    ]


async def _embed(embedders: Embedders, store: MemoryStore, text: str) -> dict[str, list[float]]:
    """The query's vector by each model that the store has vectors of, as far as they can be asked."""
    if store.embedding_model is None:
        return {}
    models = {store.embedding_model}
    if keeps_sealed(store):  # on its way to another model, each memory has one or the other
        models.add(embedders.current.model)
    vectors = {}
    for model in sorted(models):
        embedder = embedders.find(model)
        if embedder is None:
            log.warning("recall without vectors: nobody embeds with the store's model any more", model=model)
            continue
        try:
            async with asyncio.timeout(ASK_SECONDS):
                [vector] = await embed_what_goes(embedder, [text])
        except (Unavailable, TimeoutError) as error:
            log.warning("recall without vectors", model=model, error=str(error) or "it takes too long")
            continue
        if vector is not None:
            vectors[model] = vector
    return vectors
