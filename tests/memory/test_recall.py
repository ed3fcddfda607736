"""What comes back: the best of what holds, always as many as were asked for, whole or not at all."""

import asyncio
from datetime import timedelta

import pytest

from tests.memory.memories import all_said, known, recalled, said
from tunery.core.database import Database
from tunery.core.errors import InvalidInput, NotFound
from tunery.memory import recall as recall_module
from tunery.memory.forget import forget_by_ids
from tunery.memory.fusion import WEIGHTS
from tunery.memory.recall import recall
from tunery.vault.sealing import UnsealingFailed


async def test_meaning_words_and_age_are_fused(services, tenant, embeddings):
    await all_said(services, tenant, "drinks oolong every morning", "owns a blue bicycle", "was born in March")
    found = await recall(services, tenant.tenant_id, "which bicycle", subject="anna", k=3)
    assert found.legs == ("vector", "terms", "recency")
    best = found.memories[0]
    assert best.memory.text == "owns a blue bicycle"
    assert best.legs == {"vector": 1, "terms": 1, "recency": 2}
    assert best.score == pytest.approx(1 / 61 + 1 / 61 + WEIGHTS["recency"] / 62)
    assert [one.score for one in found.memories] == sorted((one.score for one in found.memories), reverse=True)
    assert len(found.memories) == 3, "the others share nothing with the query, and are there all the same"


@pytest.mark.parametrize("k", [1, 10, 99, 100])
async def test_there_are_always_k_when_k_are_there(services, tenant, embeddings, k):
    await all_said(services, tenant, *(f"note {number} about nothing" for number in range(100)))
    for query in ("note", "entirely different words", "nothing"):
        assert len(set(await recalled(services, tenant, query, k=k))) == k


async def test_filters_leave_what_they_name(services, tenant, embeddings):
    await said(services, tenant, "likes tea", agent="sales")
    await said(services, tenant, "likes coffee", agent="support", kind="preference")
    await said(services, tenant, "likes water", subject="bert", agent="sales", kind="preference")
    assert await recalled(services, tenant, "likes", agent="sales") == ["likes tea"]
    assert await recalled(services, tenant, "likes", kinds=["preference"]) == ["likes coffee"]
    assert await recalled(services, tenant, "likes", agent="sales", kinds=["preference"]) == []
    assert set(await recalled(services, tenant, "likes", None, kinds=["preference"])) == {"likes coffee", "likes water"}
    found = await recall(services, tenant.tenant_id, "likes water", subject=None)
    assert {one.memory.text: one.memory.subject for one in found.memories} == {
        "likes tea": "anna", "likes coffee": "anna", "likes water": "bert"
    }  # fmt: skip


async def test_what_is_expired_is_not_shown_whatever_the_time_asked_for(services, tenant, clock, embeddings):
    await said(services, tenant, "is on holiday", ttl=timedelta(days=2))
    await said(services, tenant, "likes tea")
    assert "is on holiday" in await recalled(services, tenant, "holiday")
    began = clock.now()
    clock.travel(timedelta(days=2, seconds=1))
    assert await recalled(services, tenant, "holiday") == ["likes tea"]
    assert await recalled(services, tenant, "holiday", as_of=began) == ["likes tea"]


async def test_the_future_is_not_recalled_before_it_comes(services, tenant, clock, embeddings):
    await said(services, tenant, "works from home", valid_from=clock.now() + timedelta(days=9))
    assert await recalled(services, tenant, "work") == []
    assert await recalled(services, tenant, "work", as_of=clock.now() + timedelta(days=10)) == ["works from home"]


@pytest.mark.parametrize("k", [0, -1, 101, 10_000])
async def test_k_out_of_bounds_names_the_limit(services, tenant, embeddings, k):
    await said(services, tenant, "likes tea")
    with pytest.raises(InvalidInput, match=f"k is 1 to 100, not {k:,}") as refused:
        await recalled(services, tenant, "tea", k=k)
    assert refused.value.field == "k"


@pytest.mark.parametrize(
    ("query", "given", "field"),
    [
        ("", {}, "query"),
        (" ", {}, "query"),
        ("x" * 8_001, {}, "query"),
        ("\ud800", {}, "query"),
        ("tea", {"agent": "No"}, "agent"),
        ("tea", {"kinds": ["rumour"]}, "kinds"),
    ],
)
async def test_a_wrong_question_is_refused(services, tenant, embeddings, query, given, field):
    await said(services, tenant, "likes tea")
    asked = len(embeddings.asked)
    with pytest.raises(InvalidInput) as refused:
        await recalled(services, tenant, query, **given)
    assert refused.value.field == field
    assert len(embeddings.asked) == asked


async def test_an_unknown_subject_is_said_to_be_unknown(services, tenant, owner, embeddings):
    await said(services, tenant, "likes tea")
    with pytest.raises(NotFound, match="there is no subject 'nobody'"):
        await recalled(services, tenant, "tea", "nobody")
    assert await owner.fetchval("SELECT count(*) FROM subjects WHERE tenant_id = $1", tenant.tenant_id) == 1


async def test_without_a_model_the_answer_says_so(services, tenant, embeddings):
    await all_said(services, tenant, "likes tea", "likes coffee")
    embeddings.away = True
    found = await recall(services, tenant.tenant_id, "coffee", subject="anna")
    assert found.legs == ("terms", "recency")
    assert [one.memory.text for one in found.memories] == ["likes coffee", "likes tea"]


async def test_a_model_that_dawdles_is_not_waited_for(services, tenant, embeddings, monkeypatch):
    monkeypatch.setattr("tunery.memory.recall.ASK_SECONDS", 0.1)
    await said(services, tenant, "likes tea")
    embeddings.held = asyncio.Event()
    try:
        found = await recall(services, tenant.tenant_id, "tea", subject="anna")
    finally:
        embeddings.held.set()
    assert (found.legs, found.memories[0].memory.text) == (("terms", "recency"), "likes tea")


async def test_a_query_of_stop_words_has_no_leg_of_words(services, tenant, embeddings):
    await said(services, tenant, "likes tea")
    found = await recall(services, tenant.tenant_id, "what is it", subject="anna")
    assert found.legs == ("vector", "recency")


SWAPS = {
    "swapped with another row": "UPDATE memories SET sealed_content = (SELECT sealed_content FROM memories WHERE id = $2)"
    " WHERE id = $1",
    "cut off": "UPDATE memories SET sealed_content = left(encode(sealed_content, 'hex'), -2)::bytea WHERE id IN ($1, $2)"
    " AND id = $1",
    "one bit": "UPDATE memories SET sealed_content = set_bit(sealed_content, 200, 1 - get_bit(sealed_content, 200))"
    " WHERE id = $1 AND $2::uuid IS NOT NULL",
    "emptied": "UPDATE memories SET sealed_content = '' WHERE id = $1 AND $2::uuid IS NOT NULL",
}


@pytest.mark.parametrize("how", SWAPS)
async def test_a_memory_that_does_not_open_is_named_not_shown_and_not_passed_over(
    services, tenant, owner, embeddings, how
):
    first = await said(services, tenant, "likes tea")
    second = await said(services, tenant, "likes coffee")
    await owner.execute(SWAPS[how], first.id, second.id)
    with pytest.raises(UnsealingFailed, match=f"mem_{first.id.hex} does not open"):
        await recalled(services, tenant, "tea")
    with pytest.raises(UnsealingFailed, match=f"mem_{first.id.hex} does not open"):
        await known(services, tenant)
    assert await recalled(services, tenant, "coffee", k=1) == ["likes coffee"], "what is not asked for harms nobody"


async def test_ciphertext_of_another_tenant_or_person_does_not_open(services, tenant, sign_up, owner, embeddings):
    other = await sign_up("Other")
    mine, theirs = await said(services, tenant, "likes tea"), await said(services, other, "likes secrets")
    beside = await said(services, tenant, "likes coffee", subject="bert")
    for foreign in (theirs, beside):
        await owner.execute(SWAPS["swapped with another row"], mine.id, foreign.id)
        with pytest.raises(UnsealingFailed, match=f"mem_{mine.id.hex}"):
            await recalled(services, tenant, "tea")


async def test_what_is_forgotten_while_somebody_recalls_leaves_the_answer_whole(
    services, tenant, embeddings, monkeypatch
):
    said_, *_ = await all_said(services, tenant, "likes tea", "owns a dog", "works at night")
    sound = recall_module.search

    async def search_and_forget(*arguments):
        found = await sound(*arguments)
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await forget_by_ids(uow, [said_.id])
        return found

    monkeypatch.setattr(recall_module, "search", search_and_forget)
    assert len(await recalled(services, tenant, "tea", k=2)) == 2
    monkeypatch.undo()
    assert set(await recalled(services, tenant, "tea")) == {"owns a dog", "works at night"}
