"""Searching a tenant's memories by meaning, by words and by age: three rankings, fused."""

from typing import Any

from sqlalchemy import Row

from tunery.core.database import UnitOfWork
from tunery.memory.fusion import Ranked, fuse
from tunery.memory.models import MemoryStore
from tunery.memory.search_statement import SearchQuery, Statement, goes_by_index, statement_for

__all__ = ["SearchQuery", "search"]

CANDIDATES = 50
"""How many rows each leg ranks; for longer answers twice, four times as many, and so on."""


async def search(uow: UnitOfWork, store: MemoryStore, query: SearchQuery, limit: int) -> list[Ranked]:
    """The best `limit` memories of those that the filters leave: always so many when there are so many. In the snapshot
    in which the store was read: rows may be on their way to another shelf.

    Raises:
        InvalidInput: the embedding is not as long as the store's others.
    """
    rows = CANDIDATES
    while rows < 4 * limit:
        rows *= 2
    found = await _run(uow, statement_for(store, query, rows, now=uow.now()))
    if goes_by_index(store, query) and _may_be_short(query, found, rows):
        found = await _run(uow, statement_for(store, query, rows, now=uow.now(), exact=True))
    # While a store moves to another embedding model, a memory may have a row without a vector and one with it.
    legs = {
        "vector": found.vector,
        "terms": list(dict.fromkeys(found.terms)),
        "recency": list(dict.fromkeys(found.recency)),
    }
    return fuse({leg: ranking for leg, ranking in legs.items() if ranking}, limit)


def _may_be_short(query: SearchQuery, found: Row[Any], rows: int) -> bool:
    """Whether the filters may have left less than there is: of the rows that HNSW went through before it gave up, or of
    the newest that have a word.
    """
    return found.cut or (query.embedding is not None and len(found.vector) < min(rows, len(found.recency)))


async def _run(uow: UnitOfWork, statement: Statement) -> Row[Any]:
    return (await uow.session.execute(statement.clause, statement.parameters)).one()
