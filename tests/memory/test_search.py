"""Search finds a tenant's own rows, all that match and the nearest first, and takes no longer for its neighbours."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from operator import mul
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text

from tests.conftest import SignedUpTenant
from tests.memory.indexed import BEGINNING, DIMENSIONS, MODEL, IndexedTenant, Points, shelf_of_rows
from tunery.core.database import Database
from tunery.core.errors import InvalidInput
from tunery.core.services import Services
from tunery.memory import search as search_module
from tunery.memory import search_statement, shelves
from tunery.memory.fusion import fuse
from tunery.memory.index import clear_index, remove_from_index, remove_subject_from_index, revise_in_index
from tunery.memory.search import search
from tunery.memory.search_statement import MOST_TERMS
from tunery.memory.shelves import prepare_embedding_model
from tunery.memory.stores import lock_store, open_store

RARE = UUID(int=7)


@pytest.fixture(params=["shared", "own"])
def settle(request: pytest.FixtureRequest, services: Services) -> Callable[[IndexedTenant], Any]:
    """Leaves the tenant's rows on the shared shelf, or moves them to one of its own."""

    async def move(tenant: IndexedTenant) -> None:
        if request.param == "own":
            await move_to_own_shelf(services, tenant)

    return move


async def move_to_own_shelf(services: Services, tenant: IndexedTenant) -> None:
    await shelves._begin(services.get(Database), tenant.tenant_id)
    while await shelves._move_batch(services.get(Database), tenant.tenant_id):
        pass
    store = await tenant.store()
    assert (store.shelf > 0, store.moving) == (True, False)


async def test_the_nearest_are_found_as_if_all_had_been_compared(indexed, settle):
    tenant, points = await indexed(), Points(1)
    centres = points.anywhere(12)
    for centre in centres[:10]:
        await tenant.add(points.around(centre, 40))
    await settle(tenant)
    # Also far from all that the tenant has: there an index over vectors is at its worst.
    for asked in [*points.around(centres[0], 5), *points.around(centres[11], 5), *points.anywhere(5)]:
        assert tenant.similarities(asked, await tenant.nearest(asked)) == tenant.best_similarities(asked)


async def test_rows_of_others_are_never_found(indexed, settle):
    tenant, neighbour = await indexed(), await indexed()
    points = Points(2)
    [here, there] = points.anywhere(2)
    mine = await tenant.add(points.around(here, 60), terms=[1])
    theirs = await neighbour.add(points.around(there, 60), terms=[2], subject_id=RARE)
    await settle(tenant)
    for asked in (here, there, None):
        assert {ranked.memory_id for ranked in await tenant.find(asked, 60, terms=[1, 2])} == set(mine)
    assert await tenant.find(there, subject_id=RARE) == []
    assert {ranked.memory_id for ranked in await neighbour.find(here, 60)} == set(theirs)


FILTERS: dict[str, dict[str, Any]] = {
    "none": {},
    "a person": {"subject_id": RARE},
    "an agent": {"agent": "rare"},
    "a kind": {"kinds": ("episode",)},
    "some kinds": {"kinds": ("episode", "instruction")},
    "all of them": {"subject_id": RARE, "agent": "rare", "kinds": ("episode",)},
}


@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS)
async def test_there_are_always_as_many_as_asked_for(indexed, settle, filters):
    tenant, points = await indexed(), Points(3)
    [dense, far] = points.anywhere(2)
    await tenant.add(points.around(dense, 1500, spread=0.05))
    matching = await tenant.add(
        points.around(far, 30), subject_id=RARE, agent="rare", kind="episode", valid_from=BEGINNING
    )
    await settle(tenant)
    for asked in (dense, far):
        for limit in (1, 10, 30):
            found = [ranked.memory_id for ranked in await tenant.find(asked, limit, **filters)]
            assert len(found) == len(set(found)) == limit
            if filters:
                assert set(found) <= set(matching)
                nearest = await tenant.nearest(asked, 10, **filters)
                assert tenant.similarities(asked, nearest) == tenant.best_similarities(asked, 10, matching)


async def test_where_the_index_gives_up_everything_is_looked_at(indexed, services, monkeypatch):
    tenant, points = await indexed(), Points(13)
    [dense, far] = points.anywhere(2)
    await tenant.add(points.around(dense, 500, spread=0.05))
    matching = await tenant.add(points.around(far, 60), agent="rare")
    await move_to_own_shelf(services, tenant)
    # As among millions: the rows that the filter leaves are far beyond those that it is worth going through.
    hasty = search_statement._SETTINGS.replace("'1000'", "'10'").replace(
        "SELECT set_config", "SELECT set_config('hnsw.max_scan_tuples', '50', true), set_config", 1
    )
    monkeypatch.setattr(search_statement, "_SETTINGS", hasty)
    runs = []
    sound = search_module._run
    monkeypatch.setattr(search_module, "_run", lambda *given: runs.append(given) or sound(*given))
    nearest = await tenant.nearest(dense, 10, agent="rare")
    assert tenant.similarities(dense, nearest) == tenant.best_similarities(dense, 10, matching)
    assert len(runs) == 2


async def test_only_what_holds_at_that_time_and_is_not_expired_is_found(indexed, settle, services):
    tenant = await indexed()
    [point] = Points(4).anywhere(1)
    now, day = datetime.now(UTC), timedelta(days=1)
    [always] = await tenant.add([point])
    [ended] = await tenant.add([point], valid_to=now - day)
    [begins] = await tenant.add([point], valid_from=now + day)
    [ends] = await tenant.add([point], valid_to=now + day)
    await tenant.add([point], expires_at=BEGINNING + day)
    [expires] = await tenant.add([point], expires_at=BEGINNING + 36_500 * day)
    await settle(tenant)

    async def found(as_of: datetime) -> set[UUID]:
        by_vector = {ranked.memory_id for ranked in await tenant.find(point, as_of=as_of)}
        assert {ranked.memory_id for ranked in await tenant.find(None, as_of=as_of)} == by_vector
        return by_vector

    assert await found(now) == {always, ends, expires}
    assert await found(now - 2 * day) == {always, ended, ends, expires}
    assert await found(now + 2 * day) == {always, begins, expires}
    assert await found(BEGINNING - day) == set()
    # What is expired is to be forgotten: not even who asks for an earlier time gets it.
    assert await found(BEGINNING + day / 2) == {always, ended, ends, expires}

    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert await revise_in_index(uow, await lock_store(uow), [ends], valid_to=now - day, expires_at=None) == 1
    assert await found(now) == {always, expires}


async def test_rare_words_count_more_than_common_ones(indexed, settle):
    tenant = await indexed()
    common, rare, absent = 11, -(2**62), 33
    commons = [memory_id for _ in range(10) for memory_id in await tenant.add([None], terms=[common])]
    [both] = await tenant.add([None], terms=[common, rare, rare])
    [only_rare] = await tenant.add([None], terms=[rare, 5])
    commons += [memory_id for _ in range(10) for memory_id in await tenant.add([None], terms=[common])]
    await tenant.add([None] * 5, terms=[5])
    await settle(tenant)
    found = [
        ranked for ranked in await tenant.find(None, 30, terms=[common, rare, absent, common]) if "terms" in ranked.legs
    ]
    found.sort(key=lambda ranked: ranked.legs["terms"])
    # Of equal ones, the newest first.
    assert [ranked.memory_id for ranked in found] == [both, only_rare, *reversed(commons)]
    assert [ranked.legs["terms"] for ranked in found] == list(range(1, 23))
    assert all("vector" not in ranked.legs for ranked in found)


async def test_long_questions_are_searched_by_their_first_and_last_words(indexed, settle):
    tenant = await indexed()
    asked = list(range(1000, 1000 + 3 * MOST_TERMS))
    [first] = await tenant.add([None], terms=asked[: MOST_TERMS // 2])
    [last] = await tenant.add([None], terms=asked[-MOST_TERMS // 2 :])
    await tenant.add([None], terms=[asked[len(asked) // 2]])
    await settle(tenant)
    found = [ranked.memory_id for ranked in await tenant.find(None, terms=asked) if "terms" in ranked.legs]
    assert set(found) == {first, last}


async def test_what_has_no_embedding_yet_is_found_by_words_and_age(indexed, settle):
    tenant, points = await indexed(), Points(5)
    await tenant.add(points.anywhere(20))
    [waiting] = await tenant.add([None], terms=[42])
    [point] = points.anywhere(1)
    await settle(tenant)
    [first, *others] = await tenant.find(point, 21, terms=[42])
    assert (first.memory_id, first.legs) == (waiting, {"terms": 1, "recency": 1})
    assert len(others) == 20
    assert all("vector" in ranked.legs for ranked in others)


async def test_an_embedding_of_another_length_is_refused(indexed, owner: asyncpg.Connection):
    tenant, points = await indexed(), Points(6)
    await tenant.add(points.anywhere(3))
    longer = Points(6, DIMENSIONS + 1).anywhere(1)
    for refused in (tenant.add(longer), tenant.find(longer[0])):
        with pytest.raises(
            InvalidInput, match=rf"wrong dimension: .* {DIMENSIONS} numbers here, this one has {DIMENSIONS + 1}"
        ):
            await refused
    with pytest.raises(InvalidInput, match=r"wrong dimension: .* 32 numbers here, this one has 31"):
        await tenant.add([points.anywhere(1)[0], points.anywhere(1)[0][1:]])
    assert await shelf_of_rows(owner, tenant.tenant_id) == {0: 3}


@pytest.mark.parametrize(
    "embedding", [[0.0] * DIMENSIONS, [math.nan] * DIMENSIONS, [math.inf] * DIMENSIONS, [], [1.0] * 4001]
)
async def test_an_embedding_without_a_direction_is_refused(indexed, owner, embedding):
    tenant = await indexed(dimensions=None)
    for refused in (tenant.add([embedding]), tenant.find(embedding)):
        with pytest.raises(InvalidInput) as error:
            await refused
        assert error.value.field == "embedding"
    assert await shelf_of_rows(owner, tenant.tenant_id) == {}


@pytest.mark.parametrize("model", ["", "it's", "a b", "a\\", "x" * 101, 'a"b', "a\nb", "a\x00", "%s", "ä"])
async def test_the_name_of_a_model_is_no_way_into_the_statement(indexed, services, owner, model):
    tenant = await indexed(model=model)
    [point] = Points(7).anywhere(1)
    with pytest.raises(InvalidInput):
        await tenant.find(point)
    with pytest.raises(Exception, match=r"embedding model|ck_memory_stores|invalid byte|without the name"):
        await tenant.add([point])
    with pytest.raises(InvalidInput):
        await prepare_embedding_model(services, tenant.tenant_id, model, DIMENSIONS)
    assert await shelf_of_rows(owner, tenant.tenant_id) == {}


async def test_rows_of_another_model_are_left_out(indexed, settle, services):
    """While memories are embedded anew, both models' rows lie side by side."""
    tenant, points = await indexed(), Points(8)
    [memory] = await tenant.add(points.anywhere(1), terms=[9])
    await settle(tenant)
    await prepare_embedding_model(services, tenant.tenant_id, "newer", 2 * DIMENSIONS)
    newer = IndexedTenant(services, SignedUpTenant(tenant.tenant_id, "", "", None), "newer", 2 * DIMENSIONS)
    longer = Points(8, 2 * DIMENSIONS)
    await newer.add(longer.anywhere(1), memory_id=memory, terms=[9])
    [point], [long_point] = points.anywhere(1), longer.anywhere(1)
    for found in (
        await tenant.find(point, terms=[9]),
        await newer.find(long_point, terms=[9]),
        await tenant.find(None),
    ):
        assert [ranked.memory_id for ranked in found] == [memory]
    assert (await tenant.find(point, terms=[9]))[0].legs == {"vector": 1, "terms": 1, "recency": 1}
    async with tenant.database.unit_of_work(tenant.tenant_id) as uow:
        assert await remove_from_index(uow, await lock_store(uow), [memory], embedding_model=tenant.model) == 1
    assert await tenant.find(point, terms=[9]) == []
    assert (await newer.find(long_point, terms=[9]))[0].legs == {"vector": 1, "terms": 1, "recency": 1}


@pytest.mark.parametrize("dimensions", [8, 384, 1024, 1150, 1536, 4000])
async def test_rows_too_long_for_an_index_s_entry_are_found_as_well(indexed, settle, owner, dimensions):
    """Around the length at which they no longer fit, too; written again, they stand there once."""
    tenant, points = await indexed(dimensions=dimensions), Points(9, dimensions)
    vectors = points.anywhere(6)
    fits = max(0, (2704 - 256 - len(MODEL) - len("helperfact") - 2 * dimensions) // 8)
    added = []
    for vector, terms in zip(vectors, (0, 1, fits, fits + 1, 300, 5000), strict=True):
        added += await tenant.add([vector], terms=range(1, terms + 1))
    await tenant.add([vectors[-1]], memory_id=added[-1], terms=[1])
    await settle(tenant)
    kept = await owner.fetch("SELECT narrow FROM memory_index WHERE tenant_id = $1", tenant.tenant_id)
    assert len(kept) == 6
    assert {row["narrow"] for row in kept} == ({True, False} if dimensions < 1200 else {False})
    for vector, memory_id in zip(vectors, added, strict=True):
        found = await tenant.find(vector, 6, terms=[1])
        assert found[0].legs["vector"] == 1 if found[0].memory_id == memory_id else True
        assert (await tenant.nearest(vector, 1)) == [memory_id]
        assert len(found) == 6
    with_terms = [ranked for ranked in await tenant.find(vectors[0], 6, terms=[1]) if "terms" in ranked.legs]
    assert {ranked.memory_id for ranked in with_terms} == set(added[1:]) - ({added[2]} if not fits else set())


async def test_what_is_removed_is_found_no_more(indexed, settle, services, owner):
    tenant, points = await indexed(), Points(10)
    [first, second] = await tenant.add(points.anywhere(2), terms=[1])
    of_person = await tenant.add(points.anywhere(3), terms=[1], subject_id=RARE)
    await settle(tenant)
    [point] = points.anywhere(1)

    async def found() -> set[UUID]:
        return {ranked.memory_id for ranked in await tenant.find(point, terms=[1])}

    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert await remove_from_index(uow, await lock_store(uow), [first]) == 1
    assert await found() == {second, *of_person}
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert await remove_subject_from_index(uow, await lock_store(uow), RARE) == 3
    assert await found() == {second}
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert await clear_index(uow, await lock_store(uow)) == 1
    assert await found() == set()
    assert await owner.fetchval("SELECT count(*) FROM memory_terms WHERE tenant_id = $1", tenant.tenant_id) == 0


async def test_a_search_that_is_overtaken_by_a_move_finds_what_was_there(indexed, services):
    tenant, points = await indexed(), Points(11)
    added = await tenant.add(points.anywhere(30))
    [point] = points.anywhere(1)
    async with services.get(Database).unit_of_work(tenant.tenant_id, snapshot=True) as uow:
        store = await open_store(uow)
        await move_to_own_shelf(services, tenant)
        assert store.shelf == 0
        found = await search(uow, store, tenant.query(point), 30)
    assert {ranked.memory_id for ranked in found} == set(added)


async def test_a_memory_with_rows_of_two_models_counts_once(indexed, services, settle):
    """As while a store moves: what came without an embedding has one of the new model, and none of the old one."""
    tenant = await indexed()
    [rare] = await tenant.add([None], terms=[1, 2])
    [other] = await tenant.add([None], terms=[1])
    store = SignedUpTenant(tenant.tenant_id, "", "", None)
    await IndexedTenant(services, store, model=None).add([None], memory_id=rare, terms=[1, 2])
    await settle(tenant)
    found = await tenant.find(None, 10, terms=[1, 2])
    assert [(ranked.memory_id, ranked.legs) for ranked in found] == [
        (rare, {"terms": 1, "recency": 2}),
        (other, {"terms": 2, "recency": 1}),
    ]


@pytest.mark.parametrize(
    "filters", [{"agent": "rare"}, {"kinds": ("episode",)}, {"as_of": BEGINNING + timedelta(days=1)}]
)
async def test_words_of_what_a_filter_leaves_are_found_behind_many_newer_memories(
    indexed, services, monkeypatch, filters
):
    monkeypatch.setattr(search_statement, "LISTED", 20)
    tenant = await indexed()
    ids = iter(UUID(int=number) for number in range(1, 1_000))  # as UUIDv7 has it, later ones are larger
    old = [
        await tenant.add([None], memory_id=next(ids), terms=terms, agent="rare", kind="episode")
        for terms in ([1, 2], [1], [3])
    ]
    for _ in range(120):
        await tenant.add([None], memory_id=next(ids), terms=[1], valid_from=BEGINNING + timedelta(days=2))
    await move_to_own_shelf(services, tenant)
    found = {ranked.memory_id: ranked.legs.get("terms") for ranked in await tenant.find(None, terms=[1, 2], **filters)}
    assert found == {old[0][0]: 1, old[1][0]: 2, old[2][0]: None}


async def test_long_lists_of_words_are_not_left_for_a_scan_without_need(indexed, services, monkeypatch):
    monkeypatch.setattr(search_statement, "LISTED", 60)
    tenant = await indexed()
    await tenant.add([None] * 150, terms=[1])
    await tenant.add([None] * 5, terms=[2], agent="rare")
    await move_to_own_shelf(services, tenant)
    runs = []
    sound = search_module._run
    monkeypatch.setattr(search_module, "_run", lambda *given: runs.append(given) or sound(*given))
    await tenant.find(None, terms=[1, 2, 3])
    await tenant.find(None, terms=[2], agent="rare")
    assert len(runs) == 2


async def test_the_best_in_two_legs_comes_first_and_new_ones_fill_up():
    one, two, three, new = (uuid4() for _ in range(4))
    ranked = fuse({"vector": [one, two, three], "terms": [two], "recency": [new, three]}, 10)
    assert [one.memory_id for one in ranked] == [two, three, one, new]
    assert ranked[0].legs == {"vector": 2, "terms": 1}
    assert ranked[0].score == pytest.approx(1 / 62 + 1 / 61)
    assert [len(fuse({"vector": [one, two], "recency": [new]}, limit)) for limit in (1, 2, 5)] == [1, 2, 3]
    assert fuse({}, 10) == []


# What a search may tell of others by the time it takes: nothing. Counted rather than timed, so that it is exact.

DENSE = 1500


def work_of(plan: dict[str, Any]) -> tuple[float, int]:
    """How many rows came out of all tables that were read, and how many pages were touched."""
    rows = sum(
        node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
        for node in nodes_of(plan)
        if "Relation Name" in node
    )
    return rows, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes_of(child)


async def vacuum(owner: asyncpg.Connection, table: str) -> None:
    """Until indexes alone tell what is visible. Whoever still looks at the past, autovacuum for one, is waited for."""
    async with asyncio.timeout(60):
        while True:
            await owner.execute(f"VACUUM (ANALYZE, INDEX_CLEANUP ON) {table}")
            query = "SELECT relallvisible = relpages FROM pg_class WHERE oid = $1::regclass"
            if await owner.fetchval(query, table):
                return
            await asyncio.sleep(0.2)


@pytest.fixture
async def shared(owner: asyncpg.Connection) -> AsyncIterator[str]:
    """What most do: one table with row-level security, one index over all tenants' vectors."""
    await owner.execute(
        f"""
        CREATE TABLE shared (tenant_id uuid, embedding halfvec({DIMENSIONS}));
        ALTER TABLE shared ENABLE ROW LEVEL SECURITY;
        ALTER TABLE shared FORCE ROW LEVEL SECURITY;
        CREATE POLICY own_rows ON shared TO tunery_app
            USING (tenant_id = (SELECT nullif(current_setting('tunery.tenant_id', true), '')::uuid));
        GRANT SELECT ON shared TO tunery_app;
        """
    )
    yield "shared"
    await owner.execute("DROP TABLE shared")


async def test_a_search_does_the_same_work_whatever_its_neighbours_have_there(
    indexed, services, owner: asyncpg.Connection, shared: str
):
    tenant, neighbour = await indexed(), await indexed()
    points = Points(12)
    [theirs] = points.anywhere(1)
    elsewhere = [one for one in points.anywhere(3 * DENSE) if sum(map(mul, one, theirs)) < 0][:DENSE]
    own = points.anywhere(300)
    await tenant.add(own, terms=[1])

    async def keep_shared(tenant_id: UUID, vectors: list[Any]) -> None:
        await owner.execute("DELETE FROM shared WHERE tenant_id = $1", tenant_id)
        rows = [(tenant_id, str(list(vector))) for vector in vectors]
        await owner.executemany("INSERT INTO shared VALUES ($1, $2::text::halfvec)", rows)

    async def explain_shared() -> dict[str, Any]:
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await uow.set_local("enable_seqscan", "off")
            query = f"SELECT tenant_id FROM shared ORDER BY {distance} LIMIT 10"
            explained = text(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {query}".replace(":", r"\:"))
            for _ in range(2):
                [plan] = await uow.session.scalar(explained)
        return plan["Plan"]

    # The rows in the order of their distance, as an index over vectors gives them: but exactly. HNSW makes its graph by
    # chance, and now and then doesn't come upon the nearest.
    distance = f"(embedding <#> '{list(theirs)}'::halfvec)"
    await owner.execute(f"CREATE INDEX ON {shared} ({distance})")
    await keep_shared(tenant.tenant_id, own)
    for _ in range(5):  # of a table that is all one tenant's, PostgreSQL would read the whole
        await (await indexed()).add(points.anywhere(400))
    work = {}
    for name, vectors in {"empty": elsewhere, "dense": points.around(theirs, DENSE, spread=0.1)}.items():
        async with services.get(Database).unit_of_work(neighbour.tenant_id) as uow:
            await clear_index(uow, await lock_store(uow))
        await neighbour.add(vectors, terms=[1])
        await keep_shared(neighbour.tenant_id, vectors)
        await owner.execute(f"REINDEX TABLE {shared}")
        for table in ("memory_shelves.shelf_0", shared):
            await vacuum(owner, table)
        plan = await tenant.explain(theirs, terms=[1])
        assert "Index Only Scan" in {node["Node Type"] for node in nodes_of(plan)}
        work[name] = work_of(plan), work_of(await explain_shared())

    (rows_when_empty, pages_when_empty), shared_when_empty = work["empty"]
    (rows_when_dense, pages_when_dense), shared_when_dense = work["dense"]
    assert rows_when_dense == rows_when_empty == pytest.approx(300, abs=2)
    assert abs(pages_when_dense - pages_when_empty) <= 2
    assert pages_when_dense < 100
    # And the shared index does tell: this test can fail.
    assert (shared_when_empty[0], shared_when_dense[0]) == (10, DENSE + 10)
    assert shared_when_dense[1] > 3 * shared_when_empty[1]
