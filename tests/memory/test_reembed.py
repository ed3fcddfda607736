"""Vectors that are missing are made in the background, and a store moves to another model while it is used."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import sqlalchemy

from tests.memory.conftest import MODEL, lose_key, rows_of, with_models
from tests.memory.memories import all_said, known, recalled, said
from tests.memory.test_sealed import seal, store_of
from tests.serving.loopback import eventually
from tunery.app.compose import compose
from tunery.core.database import Database
from tunery.core.errors import Unavailable
from tunery.core.services import Services
from tunery.memory import reembed
from tunery.memory.models import Memory
from tunery.memory.recall import recall
from tunery.memory.reembed import embed_missing, mend_store

NEW = "test/words:2"
TEXTS = ("drinks oolong every morning", "owns a blue bicycle", "was born in March")


@pytest.fixture
async def newer(settings, clock, embedding_server) -> AsyncIterator[Services]:
    """The installation after its operator put another model before the old one."""
    async with compose(with_models(settings, embedding_server, NEW, MODEL), clock) as services:
        yield services


@pytest.fixture
async def newest_alone(settings, clock, embedding_server) -> AsyncIterator[Services]:
    """The installation after its operator replaced the old one."""
    async with compose(with_models(settings, embedding_server, NEW), clock) as services:
        yield services


async def models_of(owner, tenant) -> dict[str, int]:
    rows = await owner.fetch(
        "SELECT embedding_model, count(embedding) AS vectors FROM memory_index WHERE tenant_id = $1 GROUP BY 1",
        tenant.tenant_id,
    )
    return {row["embedding_model"]: row["vectors"] for row in rows}


@pytest.mark.parametrize("sealed", [False, True])
async def test_what_came_without_a_model_is_embedded_later(services, tenant, owner, embeddings, sealed):
    if sealed:
        await seal(services, tenant)
    embeddings.away = True
    await all_said(services, tenant, *TEXTS)
    with pytest.raises(Unavailable):
        await embed_missing(services)
    embeddings.away = False
    assert await mend_store(services, tenant.tenant_id) == 3
    found = await recall(services, tenant.tenant_id, "blue bicycle", subject="anna")
    assert found.legs == ("vector", "terms", "recency")
    assert found.memories[0].legs["vector"] == 1
    assert await models_of(owner, tenant) == ({} if sealed else {MODEL: 3})
    assert not (await store_of(owner, tenant))["incomplete"]
    asked = len(embeddings.asked)
    assert await mend_store(services, tenant.tenant_id) == 0
    assert len(embeddings.asked) == asked


async def test_a_memory_is_in_the_index_once_while_others_wait_for_their_vectors(
    services, tenant, owner, embeddings, monkeypatch
):
    monkeypatch.setattr(reembed, "BATCH", 2)
    embeddings.away = True
    await all_said(services, tenant, *TEXTS)
    embeddings.away = False
    sound = reembed._Mending._write

    async def write_one_batch_and_die(self, *arguments):
        await sound(self, *arguments)
        raise asyncio.CancelledError

    monkeypatch.setattr(reembed._Mending, "_write", write_one_batch_and_die)
    await asyncio.gather(mend_store(services, tenant.tenant_id), return_exceptions=True)
    assert await models_of(owner, tenant) == {MODEL: 2, "": 0}
    assert (await rows_of(owner, tenant))["memory_index"] == 3


async def test_a_near_duplicate_is_noticed_when_its_vector_comes(services, tenant, owner, embeddings):
    first = await said(services, tenant, "likes green tea and dark bread", importance=0.1)
    embeddings.away = True
    late = await said(services, tenant, "really likes the green tea and dark bread", importance=0.9)
    assert (late.outcome, late.embedded) == ("stored", False)
    await said(services, tenant, "likes green tea and 7 dark bread")
    embeddings.away = False
    await mend_store(services, tenant.tenant_id)
    memories = await known(services, tenant)
    assert memories["really likes the green tea and dark bread"].merged_into == first.id
    kept = memories["likes green tea and dark bread"]
    assert (kept.seen, kept.importance) == (2, 0.9)
    assert memories["likes green tea and 7 dark bread"].merged_into is None
    assert (await rows_of(owner, tenant))["memory_index"] == 2
    assert "really likes the green tea and dark bread" not in await recalled(services, tenant, "tea")


@pytest.mark.parametrize("sealed", [False, True])
async def test_near_duplicates_that_get_their_vectors_together_are_noticed_and_looked_for_once(
    services, tenant, embeddings, monkeypatch, sealed
):
    if sealed:
        await seal(services, tenant)
    await said(services, tenant, "owns a dog")
    embeddings.away = True
    first, *_ = await all_said(services, tenant, "likes green tea", "likes the green tea", "really owns a dog")
    other = await said(services, tenant, "likes the green tea", agent="sales")
    embeddings.away = False
    sound, looked = reembed.find_nearest, []
    monkeypatch.setattr(reembed, "find_nearest", lambda *given: looked.append(given) or sound(*given))
    assert await mend_store(services, tenant.tenant_id) == 4
    assert len(looked) == 1
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        rows = (await uow.session.execute(sqlalchemy.select(Memory.id, Memory.merged_into).order_by(Memory.id))).all()
    assert [row.merged_into for row in rows] == [None, None, first.id, rows[0].id, None]
    assert rows[-1].id == other.id


async def test_texts_that_the_model_does_not_take_are_asked_about_once(services, tenant, owner, embeddings):
    embeddings.away = True
    await all_said(services, tenant, "fine", "too long for it")
    embeddings.away = False
    embeddings.refused = {"too long for it"}
    assert await mend_store(services, tenant.tenant_id) == 1
    assert not (await store_of(owner, tenant))["incomplete"]
    asked = len(embeddings.asked)
    assert await mend_store(services, tenant.tenant_id) == 0
    assert len(embeddings.asked) == asked
    assert set(await recalled(services, tenant, "long")) == {"fine", "too long for it"}


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_store_moves_to_a_new_model_while_it_is_used(
    services, newer, tenant, owner, embeddings, sealed, monkeypatch
):
    """Killed in every batch; recall has all three legs all the time."""
    monkeypatch.setattr(reembed, "BATCH", 2)
    if sealed:
        await seal(services, tenant)
    texts = [f"{text} {number}" for number in range(4) for text in TEXTS]
    for text in texts:
        await said(services, tenant, text)
    embeddings.dimensions_of = {MODEL: 48, NEW: 20}
    sound, rounds = reembed._Mending._write, 0

    async def write_one_batch_and_die(self, *arguments):
        await sound(self, *arguments)
        raise asyncio.CancelledError

    monkeypatch.setattr(reembed._Mending, "_write", write_one_batch_and_die)
    while True:
        found = await recall(newer, tenant.tenant_id, "blue bicycle 2", subject="anna", k=12)
        assert found.legs == ("vector", "terms", "recency")
        assert {one.memory.text for one in found.memories} == set(texts)
        # Sealed, each memory has a vector of one of the models: their places are shuffled into each other.
        best = [one for one in found.memories if one.legs["vector"] <= 1 + sealed][: 1 + sealed]
        assert "owns a blue bicycle 2" in [one.memory.text for one in best]
        assert all("vector" in one.legs for one in found.memories), "each has a vector of the model that is asked"
        store = await store_of(owner, tenant)
        if rounds < 6:
            assert store["embedding_model"] == MODEL
        if rounds == 6:
            monkeypatch.setattr(reembed._Mending, "_write", sound)
        if store["embedding_model"] == NEW and not store["incomplete"]:
            break
        rounds += 1
        assert rounds < 20
        await asyncio.gather(mend_store(newer, tenant.tenant_id), return_exceptions=True)
    assert rounds > 6
    assert (await store_of(owner, tenant))["dimensions"] == (None if sealed else 20)
    if sealed:
        models = await owner.fetch(
            "SELECT DISTINCT embedding_model FROM memories WHERE tenant_id = $1", tenant.tenant_id
        )
        assert [row[0] for row in models] == [NEW]
    else:
        assert await models_of(owner, tenant) == {NEW: len(texts)}
    assert (await said(newer, tenant, "one more")).embedded


async def test_what_is_remembered_during_the_move_is_not_lost(services, newer, tenant, owner, embeddings, monkeypatch):
    embeddings.dimensions_of = {MODEL: 48, NEW: 20}
    await all_said(services, tenant, *TEXTS)
    sound, late = reembed.lock_store_for_move, []

    async def remember_before(uow, *arguments):
        if not late:
            late.append(await said(newer, tenant, "came late"))
        await sound(uow, *arguments)

    monkeypatch.setattr(reembed, "lock_store_for_move", remember_before)
    await mend_store(newer, tenant.tenant_id)
    assert late[0].outcome == "stored"
    assert await models_of(owner, tenant) == {NEW: 4}
    found = await recall(newer, tenant.tenant_id, "came late", subject="anna", k=1)
    assert found.memories[0].legs["vector"] == 1


async def test_when_the_old_model_is_gone_words_and_age_remain_until_the_move_is_done(
    services, newest_alone, tenant, owner, embeddings
):
    embeddings.dimensions_of = {MODEL: 48, NEW: 20}
    await all_said(services, tenant, *TEXTS)
    found = await recall(newest_alone, tenant.tenant_id, "blue bicycle", subject="anna")
    assert found.legs == ("terms", "recency")
    assert found.memories[0].memory.text == "owns a blue bicycle"
    assert not (await said(newest_alone, tenant, "knows how to sail")).embedded
    assert await mend_store(newest_alone, tenant.tenant_id) == 4
    found = await recall(newest_alone, tenant.tenant_id, "blue bicycle", subject="anna")
    assert found.legs == ("vector", "terms", "recency")
    assert await models_of(owner, tenant) == {NEW: 4}


async def test_the_index_that_a_backup_leaves_out_is_made_again(services, tenant, owner, embeddings):
    await all_said(services, tenant, *TEXTS)
    await said(services, tenant, "really was born in the March")
    before = [await recalled(services, tenant, query) for query in ("bicycle", "oolong", "March")]
    counts = await rows_of(owner, tenant)
    await owner.execute("DELETE FROM memory_index WHERE tenant_id = $1", tenant.tenant_id)
    await owner.execute("DELETE FROM memory_terms WHERE tenant_id = $1", tenant.tenant_id)
    assert await recalled(services, tenant, "bicycle") == []
    await embed_missing(services)
    assert [await recalled(services, tenant, query) for query in ("bicycle", "oolong", "March")] == before
    assert await rows_of(owner, tenant) == counts


async def test_two_workers_do_not_embed_the_same(services, tenant, embeddings):
    embeddings.away = True
    await all_said(services, tenant, *TEXTS)
    embeddings.away = False
    embeddings.asked.clear()
    embeddings.held = asyncio.Event()
    first = asyncio.create_task(mend_store(services, tenant.tenant_id))
    await eventually(lambda: bool(embeddings.asked))
    assert await mend_store(services, tenant.tenant_id) == 0
    embeddings.held.set()
    assert await first == 3
    assert embeddings.asked == [list(TEXTS)]


async def test_one_store_that_can_t_be_mended_keeps_no_other_from_it(services, tenant, sign_up, owner, embeddings):
    other = await sign_up("Other")
    await said(services, tenant, "likes tea")
    embeddings.away = True
    await said(services, tenant, "likes coffee")
    await said(services, other, "likes water")
    embeddings.away = False
    embeddings.dimensions = 20  # not what the first one has of that model
    await embed_missing(services)
    assert await models_of(owner, other) == {MODEL: 1}
    assert (await store_of(owner, tenant))["incomplete"]
    assert set(await known(services, tenant)) == {"likes tea", "likes coffee"}


async def test_a_store_over_which_a_statement_fails_keeps_no_other_from_its_turn(
    services, tenant, sign_up, owner, embeddings, monkeypatch
):
    others = [await sign_up(f"Other-{number}") for number in range(3)]
    embeddings.away = True
    for one in (tenant, *others):
        await said(services, one, "likes tea")
    embeddings.away = False
    sound = reembed.mend_store

    async def mend(services, tenant_id):
        if tenant_id == tenant.tenant_id:
            async with services.get(Database).unit_of_work(tenant_id) as uow:
                await uow.session.execute(sqlalchemy.text("SELECT 1 / 0"))
        return await sound(services, tenant_id)

    monkeypatch.setattr(reembed, "mend_store", mend)
    await embed_missing(services)
    assert [await models_of(owner, other) for other in others] == [{MODEL: 1}] * 3
    assert (await store_of(owner, tenant))["incomplete"]


async def test_a_memory_that_does_not_open_stops_nothing_and_is_not_hidden(services, tenant, owner, embeddings):
    embeddings.away = True
    first, _ = await all_said(services, tenant, "likes tea", "likes coffee")
    embeddings.away = False
    await owner.execute("UPDATE memories SET sealed_content = 'x' WHERE id = $1", first.id)
    assert await mend_store(services, tenant.tenant_id) == 1
    assert await recalled(services, tenant, "coffee", k=1) == ["likes coffee"]
    with pytest.raises(Exception, match=f"mem_{first.id.hex} does not open"):
        await recalled(services, tenant, "coffee", k=2)


async def test_a_neighbour_or_a_subject_that_does_not_open_keeps_no_memory_from_its_vector(
    services, tenant, owner, embeddings, monkeypatch
):
    monkeypatch.setattr(reembed, "BATCH", 2)
    neighbour = await said(services, tenant, "she drinks oolong tea every morning")
    await owner.execute("UPDATE memories SET sealed_content = 'x' WHERE id = $1", neighbour.id)
    embeddings.away = True
    lost = await all_said(services, tenant, *TEXTS, subject="bert")
    await said(services, tenant, "drinks oolong tea every morning")
    embeddings.away = False
    await lose_key(owner, lost[0].subject_id)
    assert await mend_store(services, tenant.tenant_id) == 1
    assert await models_of(owner, tenant) == {MODEL: 2, "": 0}
    assert (await store_of(owner, tenant))["incomplete"], "the others wait for their key"


@pytest.mark.parametrize("sealed", [False, True])
async def test_a_store_moves_to_a_new_model_though_one_person_s_key_does_not_open(
    services, newer, tenant, owner, embeddings, sealed
):
    if sealed:
        await seal(services, tenant)
    [lost, *_] = await all_said(services, tenant, *TEXTS, subject="bert")
    await all_said(services, tenant, *TEXTS)
    find_key = await lose_key(owner, lost.subject_id)
    assert await mend_store(newer, tenant.tenant_id) == 3
    store = await store_of(owner, tenant)
    assert (store["embedding_model"], store["incomplete"]) == (NEW, True)
    assert await models_of(owner, tenant) == ({} if sealed else {NEW: 3, MODEL: 3})
    await find_key()
    assert await mend_store(newer, tenant.tenant_id) == 3
    assert await models_of(owner, tenant) == ({} if sealed else {NEW: 6})
    assert not (await store_of(owner, tenant))["incomplete"]


async def test_a_large_store_gives_the_others_their_turn(services, tenant, sign_up, owner, embeddings, monkeypatch):
    monkeypatch.setattr(reembed, "BATCH", 1)
    monkeypatch.setattr(reembed, "TURN", 2)
    other = await sign_up("Other")
    embeddings.away = True
    await all_said(services, tenant, *(f"note {number}" for number in range(9)))
    await said(services, other, "note of another")
    embeddings.away = False
    assert await mend_store(services, tenant.tenant_id) == 2
    embeddings.asked.clear()
    await embed_missing(services)
    asked = [text for texts in embeddings.asked for text in texts if text.startswith("note")]
    assert asked.index("note of another") <= 2
    assert len(asked) == 8
    for one in (tenant, other):
        assert not (await store_of(owner, one))["incomplete"]


async def test_who_lost_a_claim_stops_and_leaves_it_to_who_has_it(
    services, tenant, owner, embeddings, clock, monkeypatch
):
    monkeypatch.setattr(reembed, "BATCH", 1)
    embeddings.away = True
    await all_said(services, tenant, *TEXTS)
    embeddings.away = False
    embeddings.asked.clear()
    embeddings.held = asyncio.Event()
    slow = asyncio.create_task(mend_store(services, tenant.tenant_id))
    await eventually(lambda: bool(embeddings.asked))
    clock.travel(2 * reembed.CLAIM)
    until = await reembed._claim(services, tenant.tenant_id)
    embeddings.held.set()
    assert await slow == 1
    assert (await store_of(owner, tenant))["claimed_until"] == until


@pytest.mark.parametrize("trouble", ["choked", "zeros"])
async def test_a_text_on_which_the_server_fails_keeps_no_store_from_its_vectors(
    services, newer, tenant, owner, embeddings, monkeypatch, trouble
):
    monkeypatch.setattr("tunery.memory.embedding._PAUSES", (0.01, 0.01))
    await all_said(services, tenant, *TEXTS, "poison")
    setattr(embeddings, trouble, {"poison"})
    assert await mend_store(newer, tenant.tenant_id) == 3
    assert await models_of(owner, tenant) == {NEW: 3}
    store = await store_of(owner, tenant)
    assert (store["embedding_model"], store["incomplete"]) == (NEW, False)


async def test_a_store_that_no_model_answers_keeps_no_other_from_its_turn(
    services, tenant, sign_up, owner, embeddings, monkeypatch
):
    others = [await sign_up(f"Other-{number}") for number in range(4)]
    embeddings.away = True
    for one in (tenant, *others):
        await said(services, one, "likes tea")
    embeddings.away = False
    sound, tried = reembed.mend_store, []

    async def mend(services, tenant_id):
        tried.append(tenant_id)
        if tenant_id == tenant.tenant_id:
            raise Unavailable("too long a text")
        return await sound(services, tenant_id)

    monkeypatch.setattr(reembed, "mend_store", mend)
    with pytest.raises(Unavailable, match="too long a text"):
        await embed_missing(services)
    assert [await models_of(owner, other) for other in others] == [{MODEL: 1}] * 4

    async def mend_nothing(_services, tenant_id):
        tried.append(tenant_id)
        raise Unavailable("away")

    embeddings.away = True
    for one in (tenant, *others):
        await said(services, one, "likes coffee")
    tried.clear()
    monkeypatch.setattr(reembed, "mend_store", mend_nothing)
    with pytest.raises(Unavailable, match="away"):
        await embed_missing(services)
    assert len(tried) == 3
