"""PostgreSQL as it ships, with the rows of all contenders: ours, ours alone, and the table that most would make."""

import base64
import secrets
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

import asyncpg
import numpy as np
from numpy.typing import NDArray

from benchmarks.memory.vectors import DIMENSIONS, Corpus, Matrix
from tunery.app.database_urls import role_url
from tunery.app.embedded.postgres import start_postgres
from tunery.app.migrate import migrate
from tunery.app.settings import Settings
from tunery.core.clock import SystemClock
from tunery.core.database import APPLICATION_ROLE, CURRENT_TENANT, DISPATCHER_ROLE, Database

MODEL = "all-MiniLM-L6-v2"
ASSIGNMENTS = (10, 200, 2000)
"""How many tenants the rows are divided among."""
TERMS = 8
"""Words of a memory, of so many that there are."""
VOCABULARY = 5000
COLUMNS = (
    "shelf", "memory_id", "embedding_model", "subject_id", "agent", "kind", "dimensions", "embedding", "terms",
    "narrow", "valid_from", "created_at", "tenant_id",
)  # fmt: skip
_COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_COPY_END = struct.pack(">h", -1)
_BATCH = 2000


def tenant_id(tenants: int, tenant: int) -> UUID:
    return UUID(int=(tenants << 64) + tenant + 1)


def row_of(memory_id: UUID) -> int:
    """Which row of the corpus it is."""
    return memory_id.int & 0xFFFFFFFF


class Installation:
    """One PostgreSQL server with two of our databases: one with all tenants, one that holds a single tenant."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.postgres = start_postgres(folder / "postgres")
        stack.callback(self.postgres.stop)
        self.postgres.create_database("alone")
        root_key = base64.b64encode(secrets.token_bytes(32)).decode()
        urls = {"everybody": self.postgres.url, "alone": self.postgres.database_url("alone")}
        self.settings = {
            name: Settings(_env_file=None, database_url=url, root_key=root_key) for name, url in urls.items()
        }
        for settings in self.settings.values():
            migrate(settings)

    def database(self, name: str) -> Database:
        settings = self.settings[name]
        roles = (role_url(settings, APPLICATION_ROLE), role_url(settings, DISPATCHER_ROLE))
        return Database(*roles, SystemClock(), pool_size=2, statement_seconds=600)

    async def owner(self, name: str) -> asyncpg.Connection:
        return await asyncpg.connect(self.settings[name].database_url)


async def load_ours(
    owner: asyncpg.Connection, corpus: Corpus, tenants: int, rows: NDArray[np.int64] | None = None
) -> None:
    """The index's rows, and nothing else in it."""
    await owner.execute("TRUNCATE memory_index, memory_terms, memory_stores")
    rows = np.arange(len(corpus.vectors)) if rows is None else rows
    await owner.copy_to_table(
        "memory_index", source=_copied(_index_rows(corpus, tenants, rows)), columns=COLUMNS, format="binary"
    )
    owners = [tenant_id(tenants, int(tenant)) for tenant in np.unique(corpus.owners(tenants)[rows])]
    await owner.executemany(
        f"INSERT INTO memory_stores (tenant_id, embedding_model, dimensions) VALUES ($1, '{MODEL}', {DIMENSIONS})",  # noqa: S608
        [(owner_id,) for owner_id in owners],
    )
    await owner.execute("VACUUM ANALYZE memory_shelves.shelf_0")
    await owner.execute("ANALYZE memory_index")
    await owner.execute("VACUUM ANALYZE memory_stores")


async def load_shared(owner: asyncpg.Connection, corpus: Corpus) -> None:
    """What is made without much thought: row-level security, an index on the tenant, one HNSW index for all."""
    tenants = ", ".join(f"tenant_of_{count} uuid" for count in ASSIGNMENTS)
    await owner.execute(f"CREATE TABLE shared (id integer, {tenants}, embedding halfvec({DIMENSIONS}))")
    columns = ("id", *(f"tenant_of_{count}" for count in ASSIGNMENTS), "embedding")
    await owner.copy_to_table("shared", source=_copied(_shared_rows(corpus)), columns=columns, format="binary")
    for count in ASSIGNMENTS:
        await owner.execute(f"CREATE INDEX ON shared (tenant_of_{count})")
    await owner.execute("SET maintenance_work_mem = '1GB'")
    await owner.execute("CREATE INDEX ON shared USING hnsw (embedding halfvec_cosine_ops)")
    await owner.execute("ALTER TABLE shared ENABLE ROW LEVEL SECURITY")
    await owner.execute("ALTER TABLE shared FORCE ROW LEVEL SECURITY")
    await owner.execute(f"GRANT SELECT ON shared TO {APPLICATION_ROLE}")
    await owner.execute("VACUUM ANALYZE shared")


async def assign_shared(owner: asyncpg.Connection, tenants: int) -> None:
    """From now on its rows belong to so many tenants."""
    await owner.execute("DROP POLICY IF EXISTS own_rows ON shared")
    own = f"tenant_of_{tenants} = (SELECT {CURRENT_TENANT})"
    await owner.execute(f"CREATE POLICY own_rows ON shared TO {APPLICATION_ROLE} USING ({own})")


async def add_rows(owner: asyncpg.Connection, tenants: int, tenant: int, vectors: Matrix) -> None:
    """More rows of one tenant, to our table and to the shared one."""
    [(last,)] = await owner.fetch("SELECT max(id) FROM shared")
    others = [f"tenant_of_{count}" for count in ASSIGNMENTS if count != tenants]
    owner_id = tenant_id(tenants, tenant)
    more = [(last + number, owner_id, str(vector.tolist())) for number, vector in enumerate(vectors, 1)]
    await owner.executemany(
        f"INSERT INTO shared (id, tenant_of_{tenants}, embedding, {', '.join(others)})"  # noqa: S608
        f" VALUES ($1, $2, $3::text::halfvec, {', '.join(['uuidv7()'] * len(others))})",
        more,
    )
    await owner.executemany(
        "INSERT INTO memory_index (shelf, memory_id, embedding_model, subject_id, agent, kind, dimensions, embedding,"
        " terms, narrow, valid_from, created_at, tenant_id) VALUES (0, $1, $4, $1, 'helper', 'fact', $5,"
        " $2::text::halfvec, '{}/1000000000', true, '2026-01-01', now(), $3)",
        [(_memory_id(row), vector, owner_id, MODEL, DIMENSIONS) for row, owner_id, vector in more],
    )
    await owner.execute("VACUUM ANALYZE memory_shelves.shelf_0")
    await owner.execute("VACUUM ANALYZE shared")


def _memory_id(row: int) -> UUID:
    return UUID(int=((0x0198 << 112) | (0x7 << 76) | (0x2 << 62)) + row)


def term_hashes(row: int, count: int = TERMS) -> list[int]:
    """Words of a memory, the common ones more often."""
    random = np.random.default_rng(row)
    return [int(number) for number in 1 + (VOCABULARY * random.random(count) ** 3).astype(int)]


def _index_rows(corpus: Corpus, tenants: int, rows: NDArray[np.int64]) -> Iterator[bytes]:
    owners, embeddings = corpus.owners(tenants), corpus.half.astype(">f2")
    fixed = {
        "shelf": struct.pack(">i", 0),
        "embedding_model": MODEL.encode(),
        "agent": b"helper",
        "kind": b"fact",
        "dimensions": struct.pack(">h", DIMENSIONS),
        "narrow": b"\x01",
        "valid_from": struct.pack(">q", 0),
    }
    for row in rows:
        terms = sorted(set(term_hashes(int(row))))
        values = fixed | {
            "memory_id": _memory_id(int(row)).bytes,
            "subject_id": (1 + int(row) % 50).to_bytes(16, "big"),
            "embedding": struct.pack(">hh", DIMENSIONS, 0) + embeddings[row].tobytes(),
            "terms": struct.pack(f">iii{len(terms)}i", 1_000_000_000, len(terms), 0, *terms)
            + struct.pack(f">{len(terms)}f", *(1.0 for _ in terms)),
            "created_at": struct.pack(">q", int(row) * 1_000_000),
            "tenant_id": tenant_id(tenants, int(owners[row])).bytes,
        }
        yield _tuple([values[column] for column in COLUMNS])


def _shared_rows(corpus: Corpus) -> Iterator[bytes]:
    embeddings = corpus.half.astype(">f2")
    owners = [(count, corpus.owners(count)) for count in ASSIGNMENTS]
    for row in range(len(corpus.vectors)):
        tenants = [tenant_id(count, int(of_row[row])).bytes for count, of_row in owners]
        embedding = struct.pack(">hh", DIMENSIONS, 0) + embeddings[row].tobytes()
        yield _tuple([struct.pack(">i", row), *tenants, embedding])


def _tuple(values: list[bytes]) -> bytes:
    return struct.pack(">h", len(values)) + b"".join(struct.pack(">i", len(value)) + value for value in values)


async def _copied(rows: Iterator[bytes]) -> AsyncIterator[bytes]:
    """As PostgreSQL's binary COPY has it."""
    yield _COPY_HEADER
    batch: list[bytes] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield b"".join(batch)
            batch = []
    yield b"".join(batch) + _COPY_END
