"""Searching a tenant's memories by meaning, by words and by age: three rankings, fused."""

from typing import Any

from sqlalchemy import Row

from tunery.core.database import UnitOfWork
from tunery.core.errors import Unavailable
from tunery.memory.fusion import Ranked, fuse
from tunery.memory.models import MemoryStore
from tunery.memory.search_statement import SearchQuery, Statement, goes_by_index, statement_for

__all__ = ["SearchQuery", "search"]

CANDIDATES = 50
"""How many rows each leg ranks; for longer answers twice, four times as many, and so on."""
_ATTEMPTS = 5


async def search(uow: UnitOfWork, store: MemoryStore, query: SearchQuery, limit: int) -> list[Ranked]:
    """The best `limit` memories of those that the filters leave: always so many when there are so many.

    Raises:
        InvalidInput: the embedding is not as long as the store's others.
    """
    rows = CANDIDATES
    while rows < 4 * limit:
        rows *= 2
    for _ in range(_ATTEMPTS):
        found = await _run(uow, statement_for(store, query, rows, now=uow.now()))
        if _may_be_short(store, query, found, rows):
            found = await _run(uow, statement_for(store, query, rows, now=uow.now(), exact=True))
        # As the statement itself saw it: since the store was read, rows may have begun to move to another shelf.
        if (found.shelf, found.moving) == (store.shelf, store.moving):
            legs = {"vector": found.vector, "terms": found.terms, "recency": found.recency}
            return fuse({leg: ranking for leg, ranking in legs.items() if ranking}, limit)
        await uow.session.refresh(store)
    raise Unavailable("the memories are being moved: try again in a moment")


def _may_be_short(store: MemoryStore, query: SearchQuery, found: Row[Any], rows: int) -> bool:
    """Whether the filters left HNSW with less than there is: it gives up after so many rows."""
    if query.embedding is None or not goes_by_index(store, query):
        return False
    return len(found.vector) < min(rows, len(found.recency))


async def _run(uow: UnitOfWork, statement: Statement) -> Row[Any]:
    return (await uow.session.execute(statement.clause, statement.parameters)).one()
