"""Who is asked. Each answers a query with the rows that it found, and says how many seconds it took."""

import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
from sqlalchemy import text

from benchmarks.memory.installation import ASSIGNMENTS, MODEL, row_of, tenant_id, term_hashes
from benchmarks.memory.vectors import Corpus, Matrix
from tunery.core.database import Database
from tunery.memory.search import CANDIDATES, search
from tunery.memory.search_statement import SearchQuery, statement_for
from tunery.memory.stores import open_store

LIMIT = 10
QDRANT = Path(".venv/qdrant/bin/python")


class Answer:
    """What came back: rows of the corpus, the nearest first, how many there were, and how long it took."""

    def __init__(self, rows: Sequence[int], count: int, seconds: float) -> None:
        self.rows, self.count, self.seconds = list(rows), count, seconds


class Contender(Protocol):
    name: str

    async def ask(self, tenants: int, tenant: int, query: Matrix) -> Answer: ...


class Tunery:
    """Our search, whole: reading the store, ranking, fusing; in a transaction of the application's role."""

    def __init__(self, name: str, database: Database, *, terms: bool = False) -> None:
        self.name = name
        self._database = database
        self._terms = terms
        self._asked = 0

    async def ask(self, tenants: int, tenant: int, query: Matrix) -> Answer:
        self._asked += 1
        asked = SearchQuery(
            embedding=query.tolist(),
            embedding_model=MODEL,
            terms=[term - 1 for term in term_hashes(self._asked, 5)] if self._terms else [],
            subject_id=None,
            agent=None,
            kinds=(),
            as_of=datetime.now(UTC),
        )
        async with self._database.unit_of_work(tenant_id(tenants, tenant)) as uow:
            began = time.perf_counter()
            store = await open_store(uow)
            found = await search(uow, store, asked, LIMIT)
            seconds = time.perf_counter() - began
            # The nearest alone, to be held against the truth: the answer's order also goes by age and words.
            statement = statement_for(store, asked, CANDIDATES, now=uow.now())
            ranked = (await uow.session.execute(statement.clause, statement.parameters)).one()
        return Answer([row_of(memory_id) for memory_id in ranked.vector[:LIMIT]], len(found), seconds)


class SharedIndex:
    """One table, row-level security, one HNSW index over everybody's vectors."""

    def __init__(self, name: str, database: Database, iterative_scan: str = "off") -> None:
        self.name = name
        self._database = database
        self._iterative_scan = iterative_scan

    async def ask(self, tenants: int, tenant: int, query: Matrix) -> Answer:
        vector = "[" + ",".join(f"{number:.6g}" for number in query) + "]"
        statement = text(f"SELECT id FROM shared ORDER BY embedding <=> CAST(:query AS halfvec) LIMIT {LIMIT}")  # noqa: S608
        async with self._database.unit_of_work(tenant_id(tenants, tenant)) as uow:
            await uow.set_local("hnsw.iterative_scan", self._iterative_scan)
            began = time.perf_counter()
            rows = (await uow.session.scalars(statement, {"query": vector})).all()
            seconds = time.perf_counter() - began
        return Answer(rows, len(rows), seconds)


class Qdrant:
    name = "Qdrant, local mode"

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    async def ask(self, tenants: int, tenant: int, query: Matrix) -> Answer:
        asked = {"key": f"tenant_of_{tenants}", "tenant": tenant, "vector": query.tolist(), "limit": LIMIT}
        answer = await asyncio.to_thread(self._ask, asked)
        return Answer(answer["found"], len(answer["found"]), answer["seconds"])

    def _ask(self, asked: dict[str, object]) -> dict[str, object]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())


@asynccontextmanager
async def qdrant(corpus: Corpus) -> AsyncIterator[Qdrant | None]:
    """None where it is not installed."""
    if not QDRANT.exists():  # noqa: ASYNC240
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "vectors.npy"), corpus.vectors)
        for tenants in ASSIGNMENTS:
            np.save(Path(folder, f"tenant_of_{tenants}.npy"), corpus.owners(tenants))
        process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own file
            [QDRANT, Path(__file__).with_name("qdrant_local.py"), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            loaded = json.loads(await asyncio.to_thread(process.stdout.readline))
            assert loaded["rows"] == len(corpus.vectors)
            yield Qdrant(process)
        finally:
            process.terminate()
            process.wait()


def known_rows(answer: Answer, truth: set[int]) -> float:
    """Of the nearest, how many it found."""
    return len(truth & set(answer.rows)) / len(truth)
