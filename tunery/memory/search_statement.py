"""The one statement that a search is.

On the shared shelf, and of one person on any shelf, all that the filters leave is looked at, exactly: by one scan of
the tenant's rows, which lie side by side in a b-tree. What other tenants have is neither read nor passed by. A tenant
with a shelf of its own is searched as a whole by that shelf's HNSW index and by `memory_terms`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from pgvector import SparseVector
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC
from sqlalchemy import ARRAY, Integer, Text, TextClause, bindparam, text

from tunery.memory.index import (
    NO_MODEL,
    SHARED_SHELF,
    check_dimensions,
    check_embedding_model,
    shelves_of,
    term_numbers,
    unit_length,
)
from tunery.memory.models import TERM_NUMBERS, MemoryStore

MOST_TERMS: Final = 24
"""Of a query. Which of them a memory has is one sum of powers of two, and single precision holds 24 of those."""
LISTED: Final = 1000
"""How many of the memories that have a term are looked at on a shelf of one's own: the newest."""
EF_SEARCH: Final = 1000
"""How many candidates HNSW keeps: the most that pgvector takes (decision 15)."""
_TERMS_AT_ONCE: Final = (4, 8, 16, MOST_TERMS)
"""For so many terms there is a statement of its own: PostgreSQL keeps the plans of few."""
_TYPES: Final = {
    "embedding": HALFVEC(),
    "terms": SPARSEVEC(TERM_NUMBERS),
    "numbers": ARRAY(Integer),
    "models": ARRAY(Text),
    "kinds": ARRAY(Text),
}


@dataclass(frozen=True)
class SearchQuery:
    """What is asked. `terms` are keyed hashes; no kinds are all kinds."""

    embedding: Sequence[float] | None
    embedding_model: str | None
    terms: Sequence[int]
    subject_id: UUID | None
    agent: str | None
    kinds: tuple[str, ...]
    as_of: datetime


@dataclass(frozen=True)
class Statement:
    """Its one row ranks the tenant's rows by each leg (`vector`, `terms`, `recency`), and says whether more of them may
    have a word than were looked at (`cut`).
    """

    clause: TextClause
    parameters: dict[str, Any]


def goes_by_index(store: MemoryStore, query: SearchQuery) -> bool:
    """Whether there is an index over embeddings to go by, and more rows than one person's to find."""
    return store.shelf != SHARED_SHELF and not store.moving and query.subject_id is None


def statement_for(
    store: MemoryStore, query: SearchQuery, rows: int, *, now: datetime, exact: bool = False
) -> Statement:
    """Ranks `rows` by each leg; `exact`: by looking at all. Raises InvalidInput as `search` does."""
    parameters: dict[str, Any] = {"now": now, "as_of": query.as_of}
    parts = _Parts(
        rows=int(rows),
        shelves=", ".join(str(int(shelf)) for shelf in shelves_of(store)),
        embedding=_ask_embedding(store, query, parameters),
        terms=_ask_terms(query, parameters),
        conditions=_conditions(store, query, parameters),
    )
    sql = parts.by_index() if goes_by_index(store, query) and not exact else parts.by_scan()
    clause, names = _clause(sql)
    return Statement(clause, {name: value for name, value in parameters.items() if name in names})


@lru_cache(maxsize=256)
def _clause(sql: str) -> tuple[TextClause, frozenset[str]]:
    """With the names of its parameters. Made once: to look for them in the text takes a while."""
    clause = text(sql)
    names = frozenset(clause.compile().params)
    return clause.bindparams(*(bindparam(name, type_=kind) for name, kind in _TYPES.items() if name in names)), names


def _ask_embedding(store: MemoryStore, query: SearchQuery, parameters: dict[str, Any]) -> tuple[str, int] | None:
    if query.embedding is None:
        return None
    model = query.embedding_model or NO_MODEL
    check_embedding_model(model)
    check_dimensions(store, model, len(query.embedding))
    parameters["embedding"] = unit_length(query.embedding)
    return model, len(query.embedding)


def _ask_terms(query: SearchQuery, parameters: dict[str, Any]) -> int:
    numbers = term_numbers(query.terms)
    if len(numbers) > MOST_TERMS:  # a long message says at its beginning what it is about, or asks at its end
        numbers = [*numbers[: MOST_TERMS // 2], *numbers[-MOST_TERMS // 2 :]]
    if not numbers:
        return 0
    parameters["numbers"] = numbers
    parameters["terms"] = SparseVector({number: float(1 << bit) for bit, number in enumerate(numbers)}, TERM_NUMBERS)
    return next(most for most in _TERMS_AT_ONCE if len(numbers) <= most)


def _conditions(store: MemoryStore, query: SearchQuery, parameters: dict[str, Any]) -> str:
    # What came while no model could be asked has no embedding, and stands under no model's name.
    parameters["models"] = sorted({NO_MODEL, query.embedding_model or store.embedding_model or NO_MODEL})
    conditions = [
        "embedding_model = ANY (:models)",
        "valid_from <= :as_of",
        "(valid_to IS NULL OR valid_to > :as_of)",
        "(expires_at IS NULL OR expires_at > :now)",
    ]
    for name, value, condition in (
        ("subject_id", query.subject_id, "subject_id = :subject_id"),
        ("agent", query.agent, "agent = :agent"),
        ("kinds", list(query.kinds) or None, "kind = ANY (:kinds)"),
    ):
        if value is not None:
            conditions.append(condition)
            parameters[name] = value
    return " AND ".join(conditions)


_MASK: Final = "(-(terms <#> :terms))::integer AS mask"
"""pgvector's `<#>` is the inner product's negative. A memory has a 1 at each of its terms, the query a power of two."""
_NOTHING: Final = "SELECT NULL::uuid WHERE false"
_SETTINGS: Final = (
    f"settings AS MATERIALIZED (SELECT set_config('hnsw.ef_search', '{EF_SEARCH}', true),"
    " set_config('hnsw.iterative_scan', 'strict_order', true))"
)


@dataclass(frozen=True)
class _Parts:
    """What the statement is put together from. Shelves, model, dimensions and the number of rows stand in it as
    literals: by them the planner finds the partition, the indexes for that model alone, and a plan that it can keep.
    """

    rows: int
    shelves: str
    embedding: tuple[str, int] | None
    """Model and dimensions."""
    terms: int
    conditions: str

    def by_scan(self) -> str:
        columns = "memory_id, created_at"
        if self.embedding is not None:
            columns += f", CASE WHEN dimensions = {self.embedding[1]} THEN embedding <#> :embedding END AS distance"
        if self.terms:
            columns += f", {_MASK}"
        rows = f"SELECT {columns} FROM memory_index WHERE shelf IN ({self.shelves}) AND {self.conditions}"
        # Materialised: each row is looked at once for all legs, and no plan looks at more than those.
        tables = [f"own AS MATERIALIZED ({rows} AND narrow UNION ALL {rows} AND NOT narrow)"]
        vector = f"SELECT memory_id FROM own WHERE distance IS NOT NULL ORDER BY distance, memory_id LIMIT {self.rows}"
        recency = f"SELECT memory_id FROM own ORDER BY created_at DESC, memory_id DESC LIMIT {self.rows}"
        return self._ranking(tables, vector if self.embedding else _NOTHING, recency)

    def by_index(self) -> str:
        rows = f"FROM memory_index WHERE shelf = {self.shelves} AND {self.conditions}"
        tables, vector = [], _NOTHING
        if self.embedding is not None:
            model, dimensions = self.embedding
            tables.append(_SETTINGS)
            model = model.replace(":", r"\:")  # as `text` wants it
            vector = (
                f"SELECT memory_id {rows} AND embedding_model = '{model}'"
                f" AND dimensions = {dimensions} ORDER BY embedding::halfvec({dimensions}) <#> :embedding"
                f" LIMIT {self.rows}"
            )
        if self.terms:
            tables.append(
                "listed AS MATERIALIZED (SELECT asked.number, newest.memory_id"
                " FROM unnest(:numbers) WITH ORDINALITY AS asked(term, number),"
                " LATERAL (SELECT memory_id FROM memory_terms WHERE term = asked.term"
                f" ORDER BY memory_id DESC LIMIT {LISTED}) AS newest)"
            )
            # One look-up for each: left to choose, the planner reads the whole shelf for fear of long lists.
            tables.append(
                "own AS MATERIALIZED (SELECT looked_up.* FROM (SELECT DISTINCT memory_id FROM listed) AS listed,"
                f" LATERAL (SELECT memory_id, created_at, {_MASK} {rows} AND memory_id = listed.memory_id LIMIT 1)"
                " AS looked_up)"
            )
        recency = f"SELECT memory_id {rows} ORDER BY created_at DESC LIMIT {self.rows}"
        return self._ranking(tables, vector, recency, is_listed=True)

    def _ranking(self, tables: list[str], vector: str, recency: str, *, is_listed: bool = False) -> str:
        terms, cut = _NOTHING, "false"
        if self.terms:
            # A term weighs the more the fewer have it, of those that the filters leave.
            counts = ", ".join(
                f"nullif(count(*) FILTER (WHERE mask & {1 << bit} <> 0), 0) AS n{bit}" for bit in range(self.terms)
            )
            weights = ", ".join(f"coalesce(ln(1 + n::float / n{bit}), 0) AS w{bit}" for bit in range(self.terms))
            tables = [
                *tables,
                f"counts AS (SELECT count(*) AS n, {counts} FROM own)",
                f"weights AS MATERIALIZED (SELECT {weights} FROM counts)",
            ]
            score = " + ".join(f"(mask >> {bit} & 1) * w{bit}" for bit in range(self.terms))
            terms = (
                "SELECT memory_id FROM own, weights WHERE mask <> 0"
                f" ORDER BY {score} DESC, created_at DESC, memory_id DESC LIMIT {self.rows}"
            )
            if is_listed:
                # Of a word that more may have than are listed: whether the filters left enough of those.
                left = ", ".join(f"n{bit}" for bit in range(self.terms))
                full = f"SELECT number FROM listed GROUP BY number HAVING count(*) = {LISTED}"
                enough = f"coalesce((ARRAY[{left}])[number], 0) >= {self.rows}"
                cut = f"EXISTS (SELECT FROM counts, ({full}) AS whole_lists WHERE NOT {enough})"
        before = f"WITH {', '.join(tables)} " if tables else ""
        settings = " FROM settings" if _SETTINGS in tables else ""
        return (
            f"{before}SELECT ARRAY({vector}) AS vector, ARRAY({terms}) AS terms, ARRAY({recency}) AS recency,"
            f" {cut} AS cut{settings}"
        )
