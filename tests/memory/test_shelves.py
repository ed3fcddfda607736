"""Large tenants get a shelf of their own while they are read and written, whatever dies meanwhile."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.memory.indexed import DIMENSIONS, MODEL, Points, shelf_of_rows
from tests.memory.memories import all_said
from tests.memory.test_sealed import store_of
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.memory import shelves
from tunery.memory.index import clear_index, remove_from_index
from tunery.memory.reembed import mend_store
from tunery.memory.shelves import ShelfRows, move_large_tenants, prepare_embedding_model
from tunery.memory.stores import lock_store

MOST = 100


@pytest.fixture
async def crowded(services: Services) -> Services:
    """As `services`, where tenants are large from MOST rows on; those of other tests have been moved."""
    crowded = Services()
    crowded.add(Database, services.get(Database))
    crowded.add(ShelfRows, ShelfRows(MOST))
    await move_large_tenants(crowded)
    return crowded


async def test_large_tenants_are_moved_and_small_ones_are_not(crowded, indexed, owner):
    large, small, points = await indexed(), await indexed(), Points(1)
    added = await large.add(points.anywhere(MOST + 1), terms=[1, 2])
    await small.add(points.anywhere(MOST))
    assert await move_large_tenants(crowded) == MOST + 1
    store = await large.store()
    assert store.shelf > 0
    assert not store.moving
    assert await shelf_of_rows(owner, large.tenant_id) == {store.shelf: MOST + 1}
    assert await shelf_of_rows(owner, small.tenant_id) == {0: MOST}
    assert await owner.fetchval("SELECT count(*) FROM memory_terms WHERE tenant_id = $1", large.tenant_id) == 2 * len(
        added
    )
    assert await owner.fetchval("SELECT count(*) FROM memory_terms WHERE tenant_id = $1", small.tenant_id) == 0
    # New rows go there at once; becoming small again, it stays.
    added += await large.add(points.anywhere(5))
    assert await move_large_tenants(crowded) == 0
    assert await shelf_of_rows(owner, large.tenant_id) == {store.shelf: MOST + 6}
    async with large.database.unit_of_work(large.tenant_id) as uow:
        await remove_from_index(uow, await lock_store(uow), added[:100])
    assert await move_large_tenants(crowded) == 0
    assert await shelf_of_rows(owner, large.tenant_id) == {store.shelf: 6}


async def test_a_shelf_of_one_s_own_is_searched_by_its_index(crowded, indexed, owner):
    tenant, points = await indexed(), Points(2)
    await tenant.add(points.anywhere(600), terms=[1])
    await move_large_tenants(crowded)
    shelf = (await tenant.store()).shelf
    await owner.execute(f"ANALYZE memory_shelves.shelf_{shelf}")
    [point] = points.anywhere(1)
    used = index_names(await tenant.explain(point, terms=[1]))
    assert {name for name in used if name.startswith(f"shelf_{shelf}_{DIMENSIONS}_")}, used
    assert "pk_memory_terms" in used
    # One person's rows are looked at, all of them.
    used = index_names(await tenant.explain(point, subject_id=UUID(int=9)))
    assert not {name for name in used if name.startswith(f"shelf_{shelf}_{DIMENSIONS}_")}, used
    # Of all shelves, only this one is looked at.
    assert not {name for name in used if name.startswith("shelf_0")}


def index_names(plan: dict[str, Any]) -> set[str]:
    below = [index_names(child) for child in plan.get("Plans", [])]
    return {plan["Index Name"]} if "Index Name" in plan else set().union(*below)


async def test_nothing_is_missed_or_seen_twice_while_rows_move(crowded, indexed, owner, monkeypatch):
    """Reads and writes go on meanwhile: more rows, fewer, the same again, and all of them always found."""
    monkeypatch.setattr(shelves, "BATCH", 7)
    tenant, points = await indexed(), Points(3)
    first, second = [await tenant.add(points.anywhere(100), terms=[1]) for _ in range(2)]
    present, gone = {*first, *second}, set[UUID]()
    [point] = points.anywhere(1)
    is_done = asyncio.Event()
    seen_moving = []

    async def read() -> None:
        while not is_done.is_set():
            before, gone_before = set(present), set(gone)
            found = [ranked.memory_id for ranked in await tenant.find(point, 1000, terms=[1])]
            assert len(found) == len(set(found))
            # What was being written or removed in this moment may be there or not.
            assert before & present <= set(found)
            assert not gone_before & set(found)
            seen_moving.append((await tenant.store()).moving)

    async def write(own: list[UUID]) -> None:
        while not is_done.is_set():
            new, oldest, again = uuid4(), own.pop(0), own.pop(0)
            await tenant.add(points.anywhere(1), terms=[1], memory_id=new)
            present.add(new)
            present.discard(oldest)
            async with tenant.database.unit_of_work(tenant.tenant_id) as uow:
                assert await remove_from_index(uow, await lock_store(uow), [oldest]) == 1
            gone.add(oldest)
            await tenant.add(points.anywhere(1), terms=[1], memory_id=again)
            own += [again, new]

    async def move() -> None:
        await asyncio.sleep(0.05)
        await move_large_tenants(crowded)
        await asyncio.sleep(0.05)
        is_done.set()

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for task in (read(), read(), write(first), write(second), move()):
            group.create_task(task)
    assert {True, False} <= set(seen_moving)
    shelf = (await tenant.store()).shelf
    assert await shelf_of_rows(owner, tenant.tenant_id) == {shelf: len(present)}
    assert {ranked.memory_id for ranked in await tenant.find(point, 1000)} == present
    listed = await owner.fetch("SELECT memory_id FROM memory_terms WHERE tenant_id = $1", tenant.tenant_id)
    assert sorted(row["memory_id"] for row in listed) == sorted(present)


async def test_a_move_that_was_killed_goes_on_where_it_ended(crowded, indexed, owner, monkeypatch):
    monkeypatch.setattr(shelves, "BATCH", 10)
    tenant, points = await indexed(), Points(4)
    added = set(await tenant.add(points.anywhere(150), terms=[1]))
    [point] = points.anywhere(1)
    sound, batches = shelves.list_terms, 0

    async def die_in_the_fourth(uow, numbers) -> None:
        nonlocal batches
        await sound(uow, numbers)
        batches += 1
        if batches == 4:
            pid = await uow.session.scalar(text("SELECT pg_backend_pid()"))
            await owner.execute("SELECT pg_terminate_backend($1)", pid)
            await uow.session.execute(text("SELECT 1"))

    monkeypatch.setattr(shelves, "list_terms", die_in_the_fourth)
    with pytest.raises((DBAPIError, asyncpg.PostgresError, ConnectionError)):
        await move_large_tenants(crowded)
    store = await tenant.store()
    assert store.moving
    assert await shelf_of_rows(owner, tenant.tenant_id) == {0: 120, store.shelf: 30}
    assert {ranked.memory_id for ranked in await tenant.find(point, 150, terms=[1])} == added
    added |= set(await tenant.add(points.anywhere(3)))
    assert {ranked.memory_id for ranked in await tenant.find(point, 200)} == added

    assert await move_large_tenants(crowded) == 120
    assert await shelf_of_rows(owner, tenant.tenant_id) == {store.shelf: 153}
    assert not (await tenant.store()).moving
    assert {ranked.memory_id for ranked in await tenant.find(point, 200)} == added


async def test_two_workers_move_the_same_tenant_once(crowded, indexed, owner, monkeypatch):
    monkeypatch.setattr(shelves, "BATCH", 10)
    tenant = await indexed()
    await tenant.add(Points(5).anywhere(150))
    moved = await asyncio.gather(*(move_large_tenants(crowded) for _ in range(3)))
    assert sum(moved) == 150
    assert await shelf_of_rows(owner, tenant.tenant_id) == {(await tenant.store()).shelf: 150}


async def test_a_move_waits_for_who_writes_and_gives_up_for_now(crowded, indexed, owner, monkeypatch):
    monkeypatch.setattr(shelves, "_WAIT_SECONDS", 0.2)
    tenant, points = await indexed(), Points(6)
    await tenant.add(points.anywhere(150))
    async with tenant.database.unit_of_work(tenant.tenant_id) as uow:
        await tenant.add_within(uow, points.anywhere(1))
        assert await move_large_tenants(crowded) == 0
        assert (await tenant.store()).shelf == 0
        # Who only reads doesn't wait, nor do others that write.
        async with asyncio.timeout(5):
            assert len(await tenant.find(points.anywhere(1)[0], 150)) == 150
            await tenant.add(points.anywhere(1))
    assert await move_large_tenants(crowded) == 152
    assert await shelf_of_rows(owner, tenant.tenant_id) == {(await tenant.store()).shelf: 152}


async def test_an_erased_tenant_s_shelf_is_used_again(crowded, indexed, owner):
    gone, next_one, points = await indexed(), await indexed(), Points(7)
    await gone.add(points.anywhere(150))
    await move_large_tenants(crowded)
    shelf = (await gone.store()).shelf
    file = f"SELECT pg_relation_filenode('memory_shelves.shelf_{shelf}')"
    erased = await owner.fetchval(file)
    async with gone.database.unit_of_work(gone.tenant_id) as uow:
        store = await lock_store(uow)
        await clear_index(uow, store)
        await uow.session.delete(store)
    await next_one.add(points.anywhere(150))
    await move_large_tenants(crowded)
    assert (await next_one.store()).shelf == shelf
    assert await owner.fetchval(file) != erased, "no page of the erased tenant's is left"
    assert await shelf_of_rows(owner, next_one.tenant_id) == {shelf: 150}
    assert len(await next_one.find(points.anywhere(1)[0], 150)) == 150


async def test_shelves_can_only_be_reached_through_the_table_s_policy(services, crowded, indexed, owner):
    tenant, stranger = await indexed(), await indexed()
    await tenant.add(Points(8).anywhere(150))
    await move_large_tenants(crowded)
    shelf = (await tenant.store()).shelf
    database = services.get(Database)
    shelved = await owner.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class"
        " WHERE relnamespace = 'memory_shelves'::regnamespace AND relkind = 'r'"
    )
    assert {"shelf_0", f"shelf_{shelf}"} <= {row["relname"] for row in shelved}
    for row in shelved:
        assert row["relrowsecurity"], row["relname"]
        assert row["relforcerowsecurity"], row["relname"]
        policy = await owner.fetchrow(
            "SELECT qual, with_check FROM pg_policies WHERE tablename = $1 AND policyname = 'own_rows'", row["relname"]
        )
        for expression in (policy["qual"], policy["with_check"]):
            assert "(tenant_id = ( SELECT (NULLIF(current_setting('tunery.tenant_id'" in expression
        for role in ("tunery_app", "tunery_dispatcher"):
            for privilege in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"):
                table = f"memory_shelves.{row['relname']}"
                assert not await owner.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, privilege)
    for statement in (
        f"SELECT * FROM memory_shelves.shelf_{shelf}",
        "SELECT memory_shelves.open()",
        f"SELECT memory_shelves.index_embeddings({shelf}, 'a', 3)",
        f"SELECT memory_shelves.empty({shelf})",
    ):
        with pytest.raises(DBAPIError, match="permission denied for schema"):
            async with database.unit_of_work(tenant.tenant_id) as uow:
                await uow.session.execute(text(statement))
    # Not even knowing the number.
    async with database.unit_of_work(stranger.tenant_id) as uow:
        for condition in ("true", f"shelf = {shelf}", f"tenant_id = '{tenant.tenant_id}'"):
            assert await uow.session.scalar(text(f"SELECT count(*) FROM memory_index WHERE {condition}")) == 0
        changed = await uow.session.execute(text(f"UPDATE memory_index SET shelf = 0 WHERE shelf = {shelf}"))
        assert changed.rowcount == 0
    with pytest.raises(DBAPIError, match="row-level security"):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            await uow.session.execute(text(f"UPDATE memory_index SET tenant_id = '{stranger.tenant_id}'"))


@pytest.mark.parametrize(
    "arguments",
    ["0, 'model', 384", "{shelf}, 'it''s', 384", "{shelf}, 'model', 0", "{shelf}, 'model', 4001", "{shelf}, NULL, 384"],
)
async def test_indexes_are_made_of_what_can_be_one(services, crowded, indexed, arguments):
    tenant = await indexed()
    await tenant.add(Points(9).anywhere(150))
    await move_large_tenants(crowded)
    given = arguments.format(shelf=(await tenant.store()).shelf)
    with pytest.raises(DBAPIError, match=r"shelf .*, model .*, dimensions"):
        async with services.get(Database).dispatch() as uow:
            await uow.session.execute(text(f"SELECT memory_shelves.index_embeddings({given})"))


async def test_another_model_s_index_is_there_before_its_rows(crowded, indexed, owner):
    tenant, points = await indexed(), Points(10)
    await tenant.add(points.anywhere(150))
    await prepare_embedding_model(crowded, tenant.tenant_id, "newer", 8)  # on the shared shelf there is nothing to do
    await move_large_tenants(crowded)
    shelf = (await tenant.store()).shelf
    for _ in range(2):
        await prepare_embedding_model(crowded, tenant.tenant_id, "newer", 8)
    indexes = await owner.fetch(
        "SELECT indexdef FROM pg_indexes WHERE tablename = $1 AND indexdef LIKE '%hnsw%'", f"shelf_{shelf}"
    )
    definitions = sorted(row["indexdef"].partition(" WHERE ")[2] for row in indexes)
    assert definitions == [
        "((embedding_model = 'newer'::text) AND (dimensions = 8))",
        f"((embedding_model = '{MODEL}'::text) AND (dimensions = {DIMENSIONS}))",
    ]


async def test_a_shelf_gets_its_index_when_the_model_is_found_out_later(crowded, services, tenant, owner, embeddings):
    embeddings.away = True
    for start in (0, 60):
        await all_said(services, tenant, *(f"note number {start + number}" for number in range(60)))
    await move_large_tenants(crowded)
    embeddings.away = False
    shelf = (await store_of(owner, tenant))["shelf"]
    indexes = "SELECT count(*) FROM pg_indexes WHERE tablename = $1 AND indexdef LIKE '%hnsw%'"
    assert await owner.fetchval(indexes, f"shelf_{shelf}") == 0
    # By the mending, before the first vectors, or by the sweep, when somebody remembered meanwhile.
    await mend_store(services, tenant.tenant_id)
    assert await owner.fetchval(indexes, f"shelf_{shelf}") == 1
    for index in await owner.fetch(
        "SELECT indexname FROM pg_indexes WHERE tablename = $1 AND indexdef LIKE '%hnsw%'", f"shelf_{shelf}"
    ):
        await owner.execute(f"DROP INDEX memory_shelves.{index['indexname']}")
    await move_large_tenants(crowded)
    assert await owner.fetchval(indexes, f"shelf_{shelf}") == 1
