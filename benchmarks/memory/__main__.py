"""Searching one tenant's memories among many tenants': ours, beside a shared HNSW index under row-level security and
beside Qdrant's local mode.

How to read the table. The same vectors belong to 10, 200 or 2,000 tenants. The largest of them ask, in turns, inside
their own clusters and inside other tenants'. recall@10 is against exact search in single precision over the tenant's
rows; `rows` is the least that came back of the ten that were asked for; p50 and p99 are milliseconds. `tunery` ranks by
meaning and age and fuses, `tunery, with words` also by five words; both read the tenant's store first. `tunery, alone`
is the same code on a database that holds the largest tenant only. The shared table has an index on the tenant, too: the
planner is free to take it. Qdrant, in a process of its own, is asked less often; its time is its own.

Whether a neighbour can be felt: the largest of 200 tenants asks where others have clusters and where nobody has
anything, in turns. `told apart` is the probability that the former takes longer (AUC): 0.5 is a guess.

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

import numpy as np

from benchmarks.measure import report
from benchmarks.memory.contenders import LIMIT, Answer, Contender, SharedIndex, Tunery, known_rows, qdrant
from benchmarks.memory.installation import (
    ASSIGNMENTS,
    Installation,
    assign_shared,
    load_ours,
    load_shared,
)
from benchmarks.memory.recall import sealing, whole_recall
from benchmarks.memory.vectors import Corpus
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.memory.shelves import ShelfRows, move_large_tenants

LARGE, FAST = "LARGE" in os.environ, "FAST" in os.environ
ROWS = 1_000_000 if LARGE else 40_000 if FAST else 200_000
QUERIES, ROUNDS, FELT = (5, 2, 40) if FAST else (15, 3, 300)
ASKING = 4
"""Tenants, the largest ones."""
QDRANT_QUERIES = 2
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
    ours = [
        Tunery("tunery", everybody),
        Tunery("tunery, with words", everybody, terms=True),
        Tunery("tunery, alone", alone),
    ]
    shared = [
        SharedIndex("shared HNSW", everybody),
        SharedIndex("shared HNSW, iterative relaxed", everybody, "relaxed_order"),
        SharedIndex("shared HNSW, iterative strict", everybody, "strict_order"),
    ]
    measured: Measured = defaultdict(Figures)
    felt: dict[str, float] = {}
    moves: dict[str, float] = {}
    async with qdrant(corpus) as local:
        if local is None:
            say("Qdrant is left out: it is not installed in .venv/qdrant")
        else:
            say("Qdrant has its copy")
        for tenants in sorted(ASSIGNMENTS, reverse=True):  # at last the large ones, one of which moves
            [largest] = corpus.largest(tenants, 1)
            await load_ours(owner, corpus, tenants)
            await load_ours(owner_alone, corpus, tenants, np.flatnonzero(corpus.owners(tenants) == largest))
            await assign_shared(owner, tenants)
            say(f"rows of {tenants:,} tenants are loaded")
            await ask_all(corpus, tenants, [*ours, *shared], measured)
            if local is not None:
                await ask_qdrant(corpus, tenants, local, measured)
            say(f"{tenants:,} tenants: asked")
            if tenants == sorted(ASSIGNMENTS)[1]:
                felt = await feel(corpus, tenants, [ours[0], *shared])
                say("neighbours were felt for")
    moves = await move_largest(corpus, everybody)
    say("the largest tenant has a shelf of its own")
    own_shelf = [Tunery("tunery, own shelf", everybody), Tunery("tunery, own shelf, with words", everybody, terms=True)]
    await ask_all(corpus, min(ASSIGNMENTS), own_shelf, measured, asking=1)
    await load_ours(owner, corpus, max(ASSIGNMENTS), np.arange(0))
    recalls = await whole_recall(installation.settings["everybody"], everybody, corpus.vectors, 100 if FAST else 300)
    await owner.close()
    await owner_alone.close()
    order = {name: place for place, name in enumerate(dict.fromkeys(contender for _, contender, _ in measured))}
    shown = sorted(measured, key=lambda key: (key[0], order[key[1]], key[2] != "own"))
    rows = [measured[key].row(*key) for key in shown]
    for row in rows:
        if row["tenants"] == sorted(ASSIGNMENTS)[1] and row["asked"] == "foreign":
            row["told apart"] = felt.get(row["contender"])
    rows += [cost_row("a whole recall, 10 opened", median(recalls), _percentile(recalls, 99))]
    rows += [cost_row(what, seconds) for what, seconds in {**sealing(200 if FAST else 2000), **moves}.items()]
    report("memory", rows, goals_of(rows), keep=not FAST)


async def ask_all(
    corpus: Corpus, tenants: int, contenders: Sequence[Contender], measured: Measured, asking: int = ASKING
) -> None:
    """Each query to all contenders, one after another, the first one another each time."""
    random = np.random.default_rng(SEED + tenants)
    owners = corpus.owners(tenants)
    largest = corpus.largest(tenants, asking)
    for tenant in largest:
        rows = np.flatnonzero(owners == tenant)
        queries = corpus.queries(tenants, tenant, QUERIES, random)
        for round_number in range(ROUNDS + 1):  # the first one warms up
            for place in ("own", "foreign"):
                for number, query in enumerate(queries[place]):
                    truth = corpus.nearest(rows, query, LIMIT)
                    turn = (number + round_number) % len(contenders)
                    for contender in [*contenders[turn:], *contenders[:turn]]:
                        if contender.name == "tunery, alone" and tenant != largest[0]:
                            continue
                        answer = await contender.ask(tenants, tenant, query)
                        if round_number:
                            measured[tenants, contender.name, place].add(answer, truth)
                            if tenant == largest[0]:
                                measured[tenants, contender.name, "by the largest"].add(answer, truth)


async def ask_qdrant(corpus: Corpus, tenants: int, local: Contender, measured: Measured) -> None:
    random = np.random.default_rng(SEED + tenants)
    [tenant] = corpus.largest(tenants, 1)
    rows = np.flatnonzero(corpus.owners(tenants) == tenant)
    for place, queries in corpus.queries(tenants, tenant, QDRANT_QUERIES + 1, random).items():
        if place == "empty":
            continue
        for number, query in enumerate(queries):
            answer = await local.ask(tenants, tenant, query)
            if number:
                measured[tenants, local.name, place].add(answer, corpus.nearest(rows, query, LIMIT))


async def feel(corpus: Corpus, tenants: int, contenders: Sequence[Contender]) -> dict[str, float]:
    """By contender, how well the time that it takes tells where others have something."""
    random = np.random.default_rng(SEED)
    [tenant] = corpus.largest(tenants, 1)
    queries = corpus.queries(tenants, tenant, FELT, random)
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(FELT):
        for contender in contenders:
            for place in ("foreign", "empty") if number % 2 else ("empty", "foreign"):
                answer = await contender.ask(tenants, tenant, queries[place][number])
                seconds[contender.name, place].append(answer.seconds)
    return {
        contender.name: _probability_longer(seconds[contender.name, "foreign"], seconds[contender.name, "empty"])
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


def goals_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ours = [row for row in rows if row["contender"].startswith("tunery")]
    by_largest = {(row["tenants"], row["contender"]): row["p50 ms"] for row in ours if row["asked"] == "by the largest"}
    least = min(row["recall@10"] for row in ours)
    fewest = min(row["rows"] for row in ours)
    slower = max(by_largest[count, "tunery"] / by_largest[count, "tunery, alone"] for count in ASSIGNMENTS)
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
