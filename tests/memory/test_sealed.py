"""A store in which nothing of a memory stands in the clear, and the ways to it and back."""

import asyncio
import contextlib
import threading
from datetime import timedelta

import pytest

from tests.memory.conftest import lose_key, rows_of
from tests.memory.memories import all_said, known, recalled, said
from tests.serving.loopback import eventually
from tunery.core.database import Database
from tunery.core.errors import Conflict, InvalidInput, Unavailable
from tunery.memory import sealed_search, sealed_store, switch
from tunery.memory.forget import forget_by_ids
from tunery.memory.recall import recall
from tunery.memory.reembed import mend_store
from tunery.memory.stores import lock_store
from tunery.memory.switch import move_memories, move_unfinished, set_search
from tunery.vault.sealing import UnsealingFailed

TEXTS = ("drinks oolong every morning", "owns a blue bicycle", "was born in March", "reads about bicycle repair")
QUERIES = ("which bicycle", "morning tea", "oolong in March", "nothing of that", "blue")


async def switch_to(services, tenant, search: str) -> None:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await set_search(uow, search)


async def seal(services, tenant) -> None:
    await switch_to(services, tenant, "sealed")
    await move_memories(services, tenant.tenant_id)


async def store_of(owner, tenant):
    return await owner.fetchrow("SELECT * FROM memory_stores WHERE tenant_id = $1", tenant.tenant_id)


async def test_a_sealed_store_keeps_neither_vectors_nor_words_in_the_clear(services, tenant, owner, embeddings):
    await seal(services, tenant)
    await all_said(services, tenant, *TEXTS)
    assert (await rows_of(owner, tenant))["memory_index"] == 0
    rows = await owner.fetch(
        "SELECT sealed_embedding, embedding_model FROM memories WHERE tenant_id = $1", tenant.tenant_id
    )
    assert all(row["sealed_embedding"] and row["embedding_model"] for row in rows)
    # 48 half floats, and what sealing takes: one byte of format, 12 of nonce, 16 of tag.
    assert {len(row["sealed_embedding"]) for row in rows} == {2 * 48 + 29}
    listed = "SELECT count(*) FROM memory_terms WHERE tenant_id = $1"
    assert await owner.fetchval(listed, tenant.tenant_id) == 0


async def test_both_ways_give_the_same_answers(services, tenant, sign_up, embeddings):
    sealed = await sign_up("Sealed")
    await seal(services, sealed)
    for one in (tenant, sealed):
        for text in TEXTS:
            await said(services, one, text)
    for query in QUERIES:
        for k in (1, 3, 4):
            found = [await recall(services, one.tenant_id, query, subject="anna", k=k) for one in (tenant, sealed)]
            plain, hidden = [[(one.memory.text, one.legs, one.score) for one in answer.memories] for answer in found]
            assert plain == hidden, query
            assert found[0].legs == found[1].legs


async def test_duplicates_facts_and_filters_work_on_sealed_memories(services, tenant, clock, embeddings):
    await seal(services, tenant)
    first = await said(services, tenant, "likes green tea and dark bread")
    assert (await said(services, tenant, "likes green tea and dark bread")).outcome == "seen"
    near = await said(services, tenant, "really likes the green tea and dark bread")
    assert (near.outcome, near.merged_into) == ("merged", first.id)
    rome = await said(services, tenant, "lives in Rome", key="home", valid_from=clock.now() - timedelta(days=9))
    oslo = await said(services, tenant, "lives in Oslo", key="home")
    assert oslo.closed == (rome.id,)
    await said(services, tenant, "is away", agent="sales", kind="episode", ttl=timedelta(hours=1))
    assert set(await recalled(services, tenant, "x")) == {"likes green tea and dark bread", "lives in Oslo", "is away"}
    assert await recalled(services, tenant, "x", agent="sales", kinds=["episode"]) == ["is away"]
    assert await recalled(services, tenant, "lives", k=1, as_of=clock.now() - timedelta(days=1)) == ["lives in Rome"]
    clock.travel(timedelta(hours=2))
    assert "is away" not in await recalled(services, tenant, "away")


async def test_a_sealed_search_takes_a_subject(services, tenant, embeddings):
    await seal(services, tenant)
    await said(services, tenant, "likes tea")
    with pytest.raises(InvalidInput, match="name the subject") as refused:
        await recalled(services, tenant, "tea", None)
    assert refused.value.field == "subject"


@pytest.mark.parametrize("at_once", [1, 2, 3, 5])
async def test_a_sealed_search_opens_all_a_page_at_a_time(services, tenant, embeddings, monkeypatch, at_once: int):
    await seal(services, tenant)
    for number in ("one dog", "two cats", "three dogs", "four birds", "five fish"):
        await said(services, tenant, f"has {number}")
    whole = [await recall(services, tenant.tenant_id, query, subject="anna") for query in ("a dog", "birds", "x")]
    monkeypatch.setattr(sealed_search, "OPENED_AT_ONCE", at_once)
    paged = [await recall(services, tenant.tenant_id, query, subject="anna") for query in ("a dog", "birds", "x")]
    assert paged == whole
    assert all(len(found.memories) == 5 for found in paged)


async def test_a_sealed_search_that_takes_too_long_says_how_to_narrow_it(services, tenant, embeddings, monkeypatch):
    await seal(services, tenant)
    await all_said(services, tenant, *TEXTS)
    monkeypatch.setattr(sealed_search, "SECONDS", 0)
    with pytest.raises(InvalidInput, match="only 0 in 0 seconds: narrow it by agent or kinds") as refused:
        await recalled(services, tenant, "bicycle")
    assert refused.value.field == "subject"
    assert await recalled(services, tenant, "bicycle", agent="other") == []


async def test_many_sealed_searches_keep_no_other_from_theirs(services, tenant, sign_up, embeddings, monkeypatch):
    """Those that wait for their turn hold no connection, and don't wait for ever."""
    monkeypatch.setattr(sealed_search, "WAIT_SECONDS", 1.0)
    other, sealed_too = await sign_up("Other"), await sign_up("Third")
    await said(services, other, "likes tea")
    for one in (tenant, sealed_too):
        await seal(services, one)
        await all_said(services, one, *TEXTS)
    sound, held, searching = sealed_search._Search.add, threading.Event(), []

    def add(*arguments):
        searching.append(arguments)
        held.wait(30)
        return sound(*arguments)

    monkeypatch.setattr(sealed_search._Search, "add", add)
    asked = [asyncio.create_task(recalled(services, tenant, "bicycle")) for _ in range(30)]
    try:
        await eventually(lambda: len(searching) == 1)
        async with asyncio.timeout(5):
            assert await recalled(services, other, "tea") == ["likes tea"]
        _, waiting = await asyncio.wait(asked, timeout=5)
        assert (len(waiting), len(searching)) == (1, 1)
        meanwhile = asyncio.create_task(recalled(services, sealed_too, "bicycle"))
        await eventually(lambda: len(searching) == sealed_search.SEARCHES_AT_ONCE)
    finally:
        held.set()
    assert set(await meanwhile) == set(TEXTS)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Unavailable) for answer in answers) == 29
    assert all(set(answer) == set(TEXTS) for answer in answers if not isinstance(answer, Unavailable))
    assert set(await recalled(services, tenant, "bicycle")) == set(TEXTS)


async def test_a_sealed_embedding_that_was_moved_does_not_open(services, tenant, owner, embeddings):
    await seal(services, tenant)
    one, other = await all_said(services, tenant, "likes tea", "owns a dog")
    await owner.execute(
        "UPDATE memories SET sealed_embedding = (SELECT sealed_embedding FROM memories WHERE id = $2) WHERE id = $1",
        one.id,
        other.id,
    )
    with pytest.raises(UnsealingFailed, match=f"mem_{one.id.hex} does not open"):
        await recalled(services, tenant, "dog")


async def test_switching_moves_everything_there_and_back(services, tenant, owner, embeddings):
    for text in TEXTS:
        await said(services, tenant, text)
    before = [await recalled(services, tenant, query) for query in QUERIES]
    counts = await rows_of(owner, tenant)
    await switch_to(services, tenant, "sealed")
    assert (await store_of(owner, tenant))["switching"]
    assert await move_memories(services, tenant.tenant_id) == len(TEXTS)
    assert await rows_of(owner, tenant) == {**counts, "memory_index": 0}
    assert [await recalled(services, tenant, query) for query in QUERIES] == before
    await switch_to(services, tenant, "open")
    assert await move_memories(services, tenant.tenant_id) == len(TEXTS)
    assert await rows_of(owner, tenant) == counts
    assert not (await store_of(owner, tenant))["switching"]
    sealed = "SELECT count(sealed_embedding) + count(embedding_model) FROM memories WHERE tenant_id = $1"
    assert await owner.fetchval(sealed, tenant.tenant_id) == 0
    assert [await recalled(services, tenant, query) for query in QUERIES] == before
    asked = len(embeddings.asked)
    await mend_store(services, tenant.tenant_id)
    assert len(embeddings.asked) == asked, "nothing was embedded anew"
    assert await move_memories(services, tenant.tenant_id) == 0


class Killed(Exception):
    pass


@pytest.fixture
def dying(monkeypatch):
    """Whoever moves memories dies in the middle of the second batch."""
    sound = switch._lock

    def begin():
        batches = iter((True, False))

        async def lock(*arguments):
            if not next(batches):
                raise Killed
            return await sound(*arguments)

        monkeypatch.setattr(switch, "_lock", lock)

    return begin


@pytest.mark.parametrize("search", ["sealed", "open"])
async def test_recall_is_right_at_every_moment_of_a_switch(
    services, tenant, owner, embeddings, monkeypatch, dying, search
):
    """Killed in each batch, with somebody remembering in between."""
    monkeypatch.setattr(switch, "BATCH", 3)
    if search == "open":
        await seal(services, tenant)
    texts = [f"{text} {number}" for number in range(4) for text in TEXTS]
    for text in texts:
        await said(services, tenant, text)
    queries = (*QUERIES, "repair 2", "born 0")
    before = [await recalled(services, tenant, query, k=5) for query in queries]
    await switch_to(services, tenant, search)
    kills = 0
    while (await store_of(owner, tenant))["switching"]:
        assert [await recalled(services, tenant, query, k=5) for query in queries] == before
        dying()
        with contextlib.suppress(Killed):
            await move_memories(services, tenant.tenant_id)
        kills += 1
        if kills == 3:
            for text in ("knows how to knit", "knows how to sail"):
                await said(services, tenant, text)
                assert (await recalled(services, tenant, text, k=1)) == [text]
            before = [await recalled(services, tenant, query, k=5) for query in queries]
    assert kills > 4
    assert [await recalled(services, tenant, query, k=5) for query in queries] == before
    assert (await rows_of(owner, tenant))["memory_index"] == (0 if search == "sealed" else len(texts) + 2)
    assert len(await known(services, tenant)) == len(texts) + 2


async def test_two_workers_and_writers_together_leave_nothing_behind(services, tenant, owner, embeddings, monkeypatch):
    monkeypatch.setattr(switch, "BATCH", 7)
    await all_said(services, tenant, *(f"note {number}" for number in range(60)))
    await switch_to(services, tenant, "sealed")
    await asyncio.gather(
        move_memories(services, tenant.tenant_id),
        move_memories(services, tenant.tenant_id),
        *(said(services, tenant, f"late note {number}") for number in range(10)),
    )
    assert (await rows_of(owner, tenant))["memory_index"] == 0
    sealed = "SELECT count(sealed_embedding) FROM memories WHERE tenant_id = $1"
    assert await owner.fetchval(sealed, tenant.tenant_id) == 70


async def test_who_forgets_what_is_being_moved_waits_for_it(services, tenant, owner, embeddings, monkeypatch):
    memory, _ = await all_said(services, tenant, "likes tea", "likes coffee")
    await switch_to(services, tenant, "sealed")
    sound, forgetting = switch.open_those_that_open, []

    async def forget() -> int:
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            return await forget_by_ids(uow, [memory.id])

    async def forget_meanwhile(*arguments):
        if not forgetting:
            forgetting.append(asyncio.create_task(forget()))
            await asyncio.sleep(0.2)
            assert not forgetting[0].done()
        return await sound(*arguments)

    monkeypatch.setattr(switch, "open_those_that_open", forget_meanwhile)
    await move_memories(services, tenant.tenant_id)
    assert await forgetting[0] == 1
    assert set(await known(services, tenant)) == {"likes coffee"}
    assert await rows_of(owner, tenant) == {"subjects": 1, "memories": 1, "conversations": 0, "memory_index": 0}
    assert (await recalled(services, tenant, "coffee")) == ["likes coffee"]


async def test_what_does_not_open_keeps_nobody_from_remembering(services, tenant, owner, embeddings):
    await seal(services, tenant)
    bad, _ = await all_said(services, tenant, "likes green tea and dark bread", "owns a dog")
    await owner.execute("UPDATE memories SET sealed_embedding = 'x' WHERE id = $1", bad.id)
    assert (await said(services, tenant, "really likes the green tea and dark bread")).outcome == "stored"


async def test_a_switch_whose_task_was_lost_is_finished_by_the_sweep(services, tenant, owner, embeddings):
    await said(services, tenant, "likes tea")
    await switch_to(services, tenant, "sealed")
    assert await move_unfinished(services) == 1
    assert not (await store_of(owner, tenant))["switching"]
    task = await owner.fetchrow(
        "SELECT task, arguments FROM outbox WHERE tenant_id = $1 AND task LIKE 'memory%'", tenant.tenant_id
    )
    assert (task["task"], str(tenant.tenant_id) in task["arguments"]) == ("memory.move", True)


@pytest.mark.parametrize("search", ["sealed", "open"])
async def test_one_person_s_key_that_does_not_open_holds_up_no_switch(
    services, tenant, owner, embeddings, monkeypatch, search
):
    """What the index has of that person goes with it, and comes back with the key."""
    monkeypatch.setattr(switch, "BATCH", 2)
    if search == "open":
        await seal(services, tenant)
    [lost, *_] = await all_said(services, tenant, *TEXTS, subject="bert")
    await all_said(services, tenant, *TEXTS)
    before = [await recalled(services, tenant, query) for query in QUERIES]
    find_key = await lose_key(owner, lost.subject_id)
    await switch_to(services, tenant, search)
    await move_memories(services, tenant.tenant_id)
    assert not (await store_of(owner, tenant))["switching"]
    assert [await recalled(services, tenant, query) for query in QUERIES] == before
    of_person = "SELECT count(*) FROM memory_index WHERE subject_id = $1"
    assert await owner.fetchval(of_person, lost.subject_id) == 0
    with pytest.raises(UnsealingFailed):
        await recalled(services, tenant, "bicycle", "bert")

    await mend_store(services, tenant.tenant_id)
    assert (await store_of(owner, tenant))["incomplete"], "it waits for the key"
    await find_key()
    await mend_store(services, tenant.tenant_id)
    assert not (await store_of(owner, tenant))["incomplete"]
    assert await owner.fetchval(of_person, lost.subject_id) == (0 if search == "sealed" else len(TEXTS))
    found = await recall(services, tenant.tenant_id, "blue bicycle", subject="bert")
    assert (found.memories[0].memory.text, found.legs) == ("owns a blue bicycle", ("vector", "terms", "recency"))
    assert len(found.memories) == len(TEXTS)


async def test_a_wrong_way_to_search_is_refused(services, tenant, owner):
    with pytest.raises(InvalidInput, match="'hidden' is none of open, sealed"):
        await switch_to(services, tenant, "hidden")
    assert await store_of(owner, tenant) is None


async def test_a_switch_that_writers_hold_up_is_refused_for_now_and_keeps_no_other_from_it(
    services, tenant, sign_up, owner, embeddings, monkeypatch
):
    monkeypatch.setattr(switch, "_WRITERS_SECONDS", 0.2)
    other = await sign_up("Other")
    for one in (tenant, other):
        await said(services, one, "likes tea")
        await switch_to(services, one, "sealed")
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await lock_store(uow)
        with pytest.raises(Conflict, match="written to all the time"):
            await switch_to(services, tenant, "open")
        await move_unfinished(services)
    assert (await store_of(owner, tenant))["search"] == "sealed"
    assert (await store_of(owner, tenant))["switching"]
    assert not (await store_of(owner, other))["switching"]


async def test_vectors_are_opened_beside_the_event_loop(services, tenant, embeddings, monkeypatch):
    """Thousands take a while, and others are to be served meanwhile."""
    await seal(services, tenant)
    await all_said(services, tenant, *TEXTS)
    sound, threads = sealed_store.open_embedding, []

    def open_embedding(*arguments):
        threads.append(threading.current_thread())
        return sound(*arguments)

    monkeypatch.setattr(sealed_store, "open_embedding", open_embedding)
    await said(services, tenant, "plays the trombone")
    assert len(threads) == len(TEXTS)
    assert threading.current_thread() not in threads
