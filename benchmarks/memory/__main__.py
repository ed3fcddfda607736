"""Searching one tenant's memories among many tenants': ours, beside a shared HNSW index under row-level security and
beside Qdrant's local mode.

How to read the table. The same vectors belong to 10, 200 or 2,000 tenants. The largest of them ask, in turns, inside
their own clusters and inside other tenants'. recall@10 is against exact search in single precision over the tenant's
rows; `rows` is the least that came back of the ten that were asked for; p50 and p99 are milliseconds. `tunery` ranks by
meaning and age and fuses, `tunery, with words` also by five words; both read the tenant's store first. `tunery, alone`
is the same code on a database that holds the largest tenant only, and `tunery` is held against it in a run of the two.
The shared table has an index on the tenant, too: the planner is free to take it. Qdrant, in a process of its own, is
asked a few times only; its time is its own.

Whether a neighbour can be felt: one of 200 tenants puts ten vectors each into clusters of others and into places where
nobody has anything, and asks there, in turns. `told apart` is the probability that the former takes longer (AUC): 0.5
is a guess.

FAST=1 takes few rows and keeps no results, LARGE=1 a million.
"""

import asyncio
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncpg
import numpy as np

from benchmarks.measure import report
from benchmarks.memory.contenders import LIMIT, Answer, Contender, SharedIndex, Tunery, known_rows, qdrant
from benchmarks.memory.installation import (
    ASSIGNMENTS,
    Installation,
    add_rows,
    assign_shared,
    load_ours,
    load_shared,
)
from benchmarks.memory.recall import sealing, whole_recalls
from benchmarks.memory.vectors import Corpus
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.memory.shelves import ShelfRows, move_large_tenants

LARGE, FAST = "LARGE" in os.environ, "FAST" in os.environ
ROWS = 1_000_000 if LARGE else 40_000 if FAST else 200_000
QUERIES, FELT = (5, 60) if FAST else (30, 400)
ASKING = 4
"""Tenants, the largest ones."""
WARM_UP = 3
QDRANT_QUERIES = 2
PLACES = 20
"""Where a neighbour is felt for, of either kind."""
FEELING = 200
"""With so many tenants."""
SEED = 20_261
RECALL, SLOWER, TOLD_APART = 0.99, 1.3, (0.45, 0.55)
"""The goals: at least, at most, between."""

began_at = time.monotonic()


def say(what: str) -> None:
    print(f"{time.monotonic() - began_at:6.0f} s  {what}", flush=True)


class Figures:
    """What was measured of one contender, with so many tenants, at one place."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.recalls: list[float] = []
        self.fewest = LIMIT

    def add(self, answer: Answer, truth: set[int]) -> None:
        self.seconds.append(answer.seconds)
        self.recalls.append(known_rows(answer, truth))
        self.fewest = min(self.fewest, answer.count)

    def row(self, tenants: int, contender: str, place: str) -> dict[str, Any]:
        return {
            "tenants": tenants,
            "contender": contender,
            "asked": place,
            "recall@10": round(float(np.mean(self.recalls)), 4),
            "rows": self.fewest,
            "p50 ms": 1000 * median(self.seconds),
            "p99 ms": 1000 * _percentile(self.seconds, 99),
            "told apart": None,
        }


Measured = dict[tuple[int, str, str], Figures]


def main() -> None:
    corpus = Corpus.make(ROWS, SEED)
    say(f"{ROWS:,} vectors of {corpus.vectors.shape[1]} dimensions in {len(corpus.centres):,} clusters")
    with tempfile.TemporaryDirectory(prefix="tunery-bench-") as folder, ExitStack() as stack:
        asyncio.run(measure(Installation(Path(folder), stack), corpus))


async def measure(installation: Installation, corpus: Corpus) -> None:
    everybody, alone = installation.database("everybody"), installation.database("alone")
    try:
        await measure_all(installation, corpus, everybody, alone)
    finally:
        await everybody.close()
        await alone.close()


async def measure_all(installation: Installation, corpus: Corpus, everybody: Database, alone: Database) -> None:
    owner, owner_alone = await installation.owner("everybody"), await installation.owner("alone")
    await load_shared(owner, corpus)
    say("the shared table and its HNSW index are made")
    ours, by_itself = Tunery("tunery", everybody), Tunery("tunery, alone", alone)
    shared = [
        SharedIndex("shared HNSW", everybody),
        SharedIndex("shared HNSW, iterative relaxed", everybody, "relaxed_order"),
        SharedIndex("shared HNSW, iterative strict", everybody, "strict_order"),
    ]
    measured: Measured = defaultdict(Figures)
    felt: dict[str, float] = {}
    slower: dict[int, float] = {}
    async with qdrant(corpus) as local:
        if local is None:
            say("Qdrant is left out: it is not installed in .venv/qdrant")
        else:
            say("Qdrant has its copy")
        for tenants in sorted(ASSIGNMENTS, reverse=True):  # at last the large ones, one of which moves
            [largest] = corpus.largest(tenants, 1)
            await load_ours(owner, corpus, tenants)
            await load_ours(owner_alone, corpus, tenants, corpus.rows_of(tenants, largest))
            await assign_shared(owner, tenants)
            say(f"rows of {tenants:,} tenants are loaded")
            with_words = Tunery("tunery, with words", everybody, terms=True)
            await ask_all(corpus, tenants, [ours, with_words, *shared], measured)
            say("all were asked")
            slower[tenants] = await compare_with_alone(corpus, tenants, ours, by_itself, measured)
            if local is not None:
                await ask_qdrant(corpus, tenants, local, measured)
                say("Qdrant was asked")
            if tenants == FEELING:
                felt = await feel(owner, corpus, [ours, shared[0], shared[2]])
                say("neighbours were felt for")
    moves = await move_largest(corpus, everybody)
    shelf = await owner.fetchval("SELECT max(shelf) FROM memory_stores")
    await owner.execute(f"VACUUM ANALYZE memory_shelves.shelf_{shelf}")  # autovacuum would within the minute
    say("the largest tenant has a shelf of its own")
    own_shelf = [Tunery("tunery, own shelf", everybody), Tunery("tunery, own shelf, with words", everybody, terms=True)]
    await ask_all(corpus, min(ASSIGNMENTS), own_shelf, measured, asking=1)
    say("and was asked there")
    await load_ours(owner, corpus, max(ASSIGNMENTS), np.arange(0))
    recalls = await whole_recalls(installation.settings["everybody"], everybody, corpus.vectors, 100 if FAST else 300)
    await owner.close()
    await owner_alone.close()
    order = {name: place for place, name in enumerate(dict.fromkeys(contender for _, contender, _ in measured))}
    shown = sorted(measured, key=lambda key: (key[0], order[key[1]], key[2] != "own"))
    rows = [measured[key].row(*key) for key in shown]
    for row in rows:
        if row["tenants"] == FEELING and row["asked"] == "foreign":
            row["told apart"] = felt.get(row["contender"])
    rows += [cost_row(what, median(seconds), _percentile(seconds, 99)) for what, seconds in recalls.items()]
    rows += [cost_row(what, seconds) for what, seconds in {**sealing(200 if FAST else 2000), **moves}.items()]
    report("memory", rows, goals_of(rows, max(slower.values())), keep=not FAST)


async def ask_all(
    corpus: Corpus, tenants: int, contenders: Sequence[Contender], measured: Measured, asking: int = ASKING
) -> None:
    """Each query to all contenders, one after another, the first one another each time."""
    for tenant in corpus.largest(tenants, asking):
        rows = corpus.rows_of(tenants, tenant)
        for place, queries in corpus.queries(tenants, tenant, WARM_UP + QUERIES, SEED).items():
            for number, query in enumerate(queries):
                truth = corpus.nearest(rows, query, LIMIT)
                turn = number % len(contenders)
                for contender in [*contenders[turn:], *contenders[:turn]]:
                    answer = await contender.ask(tenants, tenant, query)
                    if number >= WARM_UP:
                        measured[tenants, contender.name, place].add(answer, truth)


async def compare_with_alone(
    corpus: Corpus, tenants: int, among_others: Contender, alone: Contender, measured: Measured
) -> float:
    """How much longer a search takes the largest tenant than it takes where there is no other: the medians' ratio."""
    [tenant] = corpus.largest(tenants, 1)
    rows = corpus.rows_of(tenants, tenant)
    seconds: dict[str, list[float]] = defaultdict(list)
    for place, queries in corpus.queries(tenants, tenant, WARM_UP + 2 * QUERIES, SEED + 1).items():
        for number, query in enumerate(queries):
            truth = corpus.nearest(rows, query, LIMIT)
            for contender in (among_others, alone) if number % 2 else (alone, among_others):
                answer = await contender.ask(tenants, tenant, query)
                if number >= WARM_UP:
                    seconds[contender.name].append(answer.seconds)
                    if contender is alone:
                        measured[tenants, contender.name, place].add(answer, truth)
    return median(seconds[among_others.name]) / median(seconds[alone.name])


async def ask_qdrant(corpus: Corpus, tenants: int, local: Contender, measured: Measured) -> None:
    [tenant] = corpus.largest(tenants, 1)
    rows = corpus.rows_of(tenants, tenant)
    for place, queries in corpus.queries(tenants, tenant, QDRANT_QUERIES, SEED).items():
        for query in queries:
            answer = await local.ask(tenants, tenant, query)
            measured[tenants, local.name, place].add(answer, corpus.nearest(rows, query, LIMIT))


async def feel(owner: asyncpg.Connection, corpus: Corpus, contenders: Sequence[Contender]) -> dict[str, float]:
    """By contender, how well the time that it takes tells where others have something."""
    [tenant] = corpus.largest(FEELING, 1)
    places = corpus.places(FEELING, tenant, PLACES, SEED)
    await add_rows(owner, FEELING, tenant, np.concatenate([corpus.around(at, LIMIT, SEED) for at in places.values()]))
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(FELT):
        for contender in contenders:
            for place in ("dense", "empty") if number % 2 else ("empty", "dense"):
                answer = await contender.ask(FEELING, tenant, places[place][number // 2 % PLACES])
                seconds[contender.name, place].append(answer.seconds)
    return {
        contender.name: _probability_longer(seconds[contender.name, "dense"], seconds[contender.name, "empty"])
        for contender in contenders
    }


async def move_largest(corpus: Corpus, database: Database) -> dict[str, float]:
    """To a shelf of its own; seconds per row."""
    tenants = min(ASSIGNMENTS)
    [largest, next_one] = corpus.largest(tenants, 2)
    counts = np.bincount(corpus.owners(tenants))
    services = Services()
    services.add(Database, database)
    services.add(ShelfRows, ShelfRows(int(counts[next_one])))
    began = time.perf_counter()
    moved = await move_large_tenants(services)
    assert moved == counts[largest]
    return {"move a row to its tenant's own shelf": (time.perf_counter() - began) / moved}


def goals_of(rows: list[dict[str, Any]], slower: float) -> list[dict[str, Any]]:
    ours = [row for row in rows if row["contender"].startswith("tunery")]
    least = min(row["recall@10"] for row in ours)
    fewest = min(row["rows"] for row in ours)
    [told_apart] = [row["told apart"] for row in ours if row["told apart"] is not None]
    return [
        {"what": "recall@10 of tunery, the least", "goal": RECALL, "value": least, "holds": least >= RECALL},
        {"what": "rows that tunery gives when asked for 10", "goal": LIMIT, "value": fewest, "holds": fewest >= LIMIT},
        {"what": "p50, tunery : tunery alone, the most", "goal": SLOWER, "value": slower, "holds": slower <= SLOWER},
        {
            "what": "told apart: dense from empty, tunery",
            "goal": "0.45 to 0.55",
            "value": told_apart,
            "holds": TOLD_APART[0] <= told_apart <= TOLD_APART[1],
        },
    ]


def cost_row(what: str, p50: float, p99: float | None = None) -> dict[str, Any]:
    """Of what has nothing to do with how many tenants there are."""
    return {
        "tenants": None,
        "contender": what,
        "asked": None,
        "recall@10": None,
        "rows": None,
        "p50 ms": 1000 * p50,
        "p99 ms": None if p99 is None else 1000 * p99,
        "told apart": None,
    }


def _probability_longer(ones: Sequence[float], others: Sequence[float]) -> float:
    """That one of the former is more than one of the latter (AUC)."""
    both = np.array(ones)[:, None], np.array(others)[None, :]
    return float(np.mean(both[0] > both[1]) + 0.5 * np.mean(both[0] == both[1]))


def _percentile(values: Sequence[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


if __name__ == "__main__":
    main()
