"""What becomes of what is said: new, known, nearly known, or in an older fact's place."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Any

import pytest
from sqlalchemy import select

from tests.memory.conftest import MODEL, rows_of
from tests.memory.memories import NOTHING, known, recalled, said
from tests.recorder import recorded
from tests.serving.loopback import eventually
from tunery.core.database import Database
from tunery.core.errors import InvalidInput, NotFound
from tunery.memory import batch
from tunery.memory.models import IndexedMemory, Memory, MemoryStore
from tunery.memory.new_memory import NewMemory
from tunery.memory.recall import recall
from tunery.memory.remember import remember
from tunery.vault.keyring import Keyring


async def test_the_same_text_again_is_seen_once_more(services, tenant, owner, embeddings):
    first = await said(services, tenant, "likes green tea", importance=0.25)
    assert (first.outcome, first.embedded, first.merged_into) == ("stored", True, None)
    again = await said(services, tenant, " likes  green tea\n", importance=0.75)
    assert (again.outcome, again.id) == ("seen", first.id)
    memory = (await known(services, tenant))["likes green tea"]
    assert (memory.seen, memory.importance) == (2, 0.75)
    assert memory.last_seen_at > memory.created_at
    assert await rows_of(owner, tenant) == {"subjects": 1, "memories": 1, "conversations": 0, "memory_index": 1}


@pytest.mark.parametrize("other", [{"subject": "bert"}, {"agent": "sales"}, {"kind": "preference"}, {"key": "drink"}])
async def test_of_another_subject_agent_kind_or_key_it_is_another_memory(services, tenant, embeddings, other):
    first = await said(services, tenant, "likes green tea")
    second = await said(services, tenant, "likes green tea", **other)
    assert second.outcome == "stored"
    assert second.id != first.id


async def test_known_twice_it_holds_for_as_long_as_either_says(services, tenant, clock, embeddings):
    now = clock.now()
    text = "works at the harbour"
    await said(
        services,
        tenant,
        text,
        valid_from=now - timedelta(days=3),
        valid_to=now + timedelta(days=3),
        ttl=timedelta(hours=1),
    )
    await said(services, tenant, text, valid_from=now - timedelta(days=9), ttl=timedelta(hours=2))
    memory = (await known(services, tenant))[text]
    assert (memory.seen, memory.valid_from, memory.valid_to) == (2, now - timedelta(days=9), None)
    assert memory.expires_at > now + timedelta(hours=1)
    assert await recalled(services, tenant, "work", as_of=now - timedelta(days=8)) == [text]
    assert await recalled(services, tenant, "work", as_of=now + timedelta(days=8)) == [text]


async def test_what_ended_before_is_no_duplicate(services, tenant, clock, embeddings):
    now = clock.now()
    lived = {"valid_from": now - timedelta(days=9), "valid_to": now - timedelta(days=5)}
    first = await said(services, tenant, "lives in Rome", **lived)
    second = await said(services, tenant, "lives in Rome")
    assert (second.outcome, second.id != first.id) == ("stored", True)


async def test_a_newer_fact_ends_the_older_one_and_keeps_it(services, tenant, clock, embeddings):
    moved = clock.now() - timedelta(days=100)
    first = await said(services, tenant, "lives in Rome", key="home", valid_from=moved - timedelta(days=900))
    second = await said(services, tenant, "lives in Oslo", key="home", valid_from=moved)
    assert (second.outcome, second.closed) == ("stored", (first.id,))
    memories = await known(services, tenant)
    assert memories["lives in Rome"].valid_to == moved
    assert memories["lives in Oslo"].valid_to is None
    assert await recalled(services, tenant, "lives where") == ["lives in Oslo"]
    assert await recalled(services, tenant, "lives where", as_of=moved - timedelta(days=1)) == ["lives in Rome"]
    # A fact that is told late takes its place in between.
    third = await said(services, tenant, "lives in Bonn", key="home", valid_from=moved - timedelta(days=500))
    assert third.closed == (first.id,)
    memories = await known(services, tenant)
    assert memories["lives in Rome"].valid_to == moved - timedelta(days=500)
    assert (memories["lives in Bonn"].valid_to, memories["lives in Oslo"].valid_to) == (moved, None)
    assert await recalled(services, tenant, "lives where", as_of=moved - timedelta(days=200)) == ["lives in Bonn"]


async def test_a_fact_may_be_true_again_and_may_have_been_true_before(services, tenant, clock, embeddings):
    def years_ago(years: float) -> datetime:
        return clock.now() - timedelta(days=365 * years)

    rome, oslo = {"key": "home", "text": "lives in Rome"}, {"key": "home", "text": "lives in Oslo"}
    for fact, since in ((rome, 8), (oslo, 6), (rome, 4), (rome, 9)):
        await said(services, tenant, **fact, valid_from=years_ago(since))
    for time, text in ((8.5, "lives in Rome"), (7, "lives in Rome"), (5, "lives in Oslo"), (3, "lives in Rome")):
        assert await recalled(services, tenant, "lives", as_of=years_ago(time)) == [text]
    again = await said(services, tenant, **rome)
    assert again.outcome == "seen"


async def test_a_fact_said_again_holds_until_what_is_said_last(services, tenant, clock, embeddings):
    now, text = clock.now(), "works at the harbour"
    first = await said(services, tenant, text, key="job", valid_to=now + timedelta(days=1))
    assert (await said(services, tenant, text, key="job")).id == first.id
    assert (await known(services, tenant))[text].valid_to is None
    assert await recalled(services, tenant, "work", as_of=now + timedelta(days=2)) == [text]
    await said(services, tenant, text, key="job", valid_to=now + timedelta(days=3))
    assert (await known(services, tenant))[text].valid_to == now + timedelta(days=3)
    assert await recalled(services, tenant, "work", as_of=now + timedelta(days=4)) == []
    # Never beyond the beginning of the next one.
    begin = now + timedelta(days=2)
    await said(services, tenant, "works in a bank", key="job", valid_from=begin)
    for end in (None, now + timedelta(days=5)):
        assert (await said(services, tenant, text, key="job", valid_to=end)).id == first.id
        assert (await known(services, tenant))[text].valid_to == begin
    assert await recalled(services, tenant, "work", as_of=begin) == ["works in a bank"]


async def test_within_a_batch_the_last_fact_stands(services, tenant, embeddings):
    items = [NewMemory(subject="anna", text=f"weighs {kilos} kg", key="weight") for kilos in (70, 71, 72)]
    results = await remember(services, tenant.tenant_id, items)
    assert [result.closed for result in results] == [(), (results[0].id,), (results[1].id,)]
    assert await recalled(services, tenant, "weighs") == ["weighs 72 kg"]


async def test_a_near_duplicate_is_kept_behind_the_older_one(services, tenant, owner, embeddings):
    first = await said(services, tenant, "likes green tea and dark bread", importance=0.2)
    second = await said(services, tenant, "really likes the green tea and dark bread", importance=0.6)
    assert (second.outcome, second.merged_into) == ("merged", first.id)
    memories = await known(services, tenant)
    assert memories["likes green tea and dark bread"].seen == 2
    assert memories["likes green tea and dark bread"].importance == 0.6
    assert memories["really likes the green tea and dark bread"].merged_into == first.id
    assert await recalled(services, tenant, "green tea") == ["likes green tea and dark bread"]
    assert (await rows_of(owner, tenant))["memory_index"] == 1
    third = await said(services, tenant, "really likes the green tea and dark bread")
    assert (third.outcome, third.id) == ("seen", first.id)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("has 2 cats and one very old dog", "has 3 cats and one very old dog"),
        ("eats meat and bread and cheese and very much fruit", "eats no meat and bread and cheese and very much fruit"),
        ("dinner with Anna and the others in the big hall", "dinner with the others in the big hall and Anna and He"),
        ("prefers tea to coffee", "prefers coffee to tea"),
        ("moved from Oslo to Rome", "moved to Oslo from Rome"),
        ("the left knee hurts", "the right knee hurts"),
        ("works at the harbour", "worked at the harbour"),
        ("her son is ill", "her sons is ill"),
        ("is not very ill", "is not ill"),
        ("has few friends", "has a few friends"),
        ("knows C++", "knows C#"),
        ("mild at -5", "mild at 5"),
        ("a call about the usual matters " * 200 + "walnuts", "a call about the usual matters " * 200 + "a refund"),
    ],
)
async def test_what_may_say_something_else_is_no_duplicate(services, tenant, embeddings, one, other):
    embeddings.dimensions = 2
    embeddings.answer = {"data": [{"index": 0, "embedding": [1.0, 0.0]}]}
    await said(services, tenant, one)
    assert (await said(services, tenant, other)).outcome == "stored"
    assert set(await recalled(services, tenant, "x")) == {one, other}


@pytest.mark.parametrize("again", ["Likes the green tea!", "also LIKES (really) green tea.", '"likes very green tea"'])
async def test_marks_capitals_and_emphasis_make_no_other_memory(services, tenant, embeddings, again):
    embeddings.dimensions = 2
    embeddings.answer = {"data": [{"index": 0, "embedding": [1.0, 0.0]}]}
    first = await said(services, tenant, "likes green tea")
    assert (await said(services, tenant, again)).merged_into == first.id


async def test_long_texts_that_lie_near_each_other_hold_up_nobody(services, tenant, embeddings, monkeypatch):
    """What takes long with them is done in a thread."""
    where = defaultdict(set)

    def noted(name: str) -> Callable[..., Any]:
        sound = getattr(batch, name)

        def call(*arguments: Any) -> Any:
            where[name].add(threading.get_ident())
            return sound(*arguments)

        return call

    for name in ("terms_of", "statement_of", "fingerprint_of", "hash_terms", "seal_content"):
        monkeypatch.setattr(batch, name, noted(name))
    monkeypatch.setattr(embeddings, "_embed", lambda *_: [1.0] + [0.0] * 47)
    texts = [" ".join(f"w{text}x{number}ed" for number in range(800)) for text in range(100)]
    assert 7_000 < len(texts[-1]) <= 8_000
    waits = []

    async def wait() -> None:
        while True:
            before = perf_counter()
            await asyncio.sleep(0.01)
            waits.append(perf_counter() - before)

    waiting = asyncio.create_task(wait())
    results = await remember(services, tenant.tenant_id, [NewMemory(subject="anna", text=text) for text in texts])
    waiting.cancel()
    assert {result.outcome for result in results} == {"stored"}
    assert max(waits) < 1
    assert set(where) == {"terms_of", "statement_of", "fingerprint_of", "hash_terms", "seal_content"}
    assert threading.get_ident() not in set().union(*where.values())


async def test_near_duplicates_within_a_batch_are_found(services, tenant, embeddings):
    texts = ["sleeps until noon on sundays", "unrelated words here", "sleeps until the noon on sundays"]
    results = await remember(services, tenant.tenant_id, [NewMemory(subject="anna", text=text) for text in texts])
    assert [result.outcome for result in results] == ["stored", "stored", "merged"]
    assert results[2].merged_into == results[0].id


async def test_a_name_is_the_same_however_its_accents_are_written(services, tenant, owner, embeddings):
    names = ["Zo\u00eb", "Zoe\u0308"]
    results = await remember(
        services,
        tenant.tenant_id,
        [NewMemory(subject=name, text=f"note {number}") for number, name in enumerate(names)],
    )
    assert len({result.subject_id for result in results}) == 1
    for name in names:
        assert set(await recalled(services, tenant, "note", name)) == {"note 0", "note 1"}
    assert (await rows_of(owner, tenant))["subjects"] == 1


async def test_everything_is_sealed_but_what_search_needs(services, tenant, owner, embeddings, clock):
    await said(
        services,
        tenant,
        "canarytext walks",
        subject="canaryname",
        key="canarykey",
        provenance={"canaryfield": "canaryvalue"},
        ttl=timedelta(days=1),
    )
    for table in ("subjects", "memories", "memory_index", "memory_stores", "data_keys"):
        rows = await owner.fetch(f"SELECT t::text FROM {table} t WHERE tenant_id = $1", tenant.tenant_id)
        assert rows
        for row in rows:
            for canary in ("canarytext", "canaryname", "canarykey", "canaryfield", "canaryvalue", "walk"):
                assert canary not in row[0]
                assert canary.encode().hex() not in row[0]
    memory = (await known(services, tenant, "canaryname"))["canarytext walks"]
    assert (memory.key, memory.provenance) == ("canarykey", {"canaryfield": "canaryvalue"})
    assert memory.subject == "canaryname"


async def test_equal_texts_of_two_people_have_nothing_in_common(services, tenant, owner, embeddings):
    for subject in ("anna", "bert"):
        await said(services, tenant, "likes tea", subject=subject, key="drink")
    rows = await owner.fetch("SELECT fingerprint, fact_digest FROM memories WHERE tenant_id = $1", tenant.tenant_id)
    assert len({row["fingerprint"] for row in rows} | {row["fact_digest"] for row in rows}) == 4


LONG = "x" * 8_001
BAD = [
    ({"text": ""}, "items[0].text", "1 to 8,000 characters"),
    ({"text": " \n"}, "items[0].text", "white space"),
    ({"text": LONG}, "items[0].text", "8,001"),
    ({"text": "\ud800"}, "items[0].text", "surrogate"),
    ({"subject": ""}, "items[0].subject", "1 to 255"),
    ({"subject": "x" * 256}, "items[0].subject", "256"),
    ({"subject": "\udfff"}, "items[0].subject", "surrogate"),
    ({"agent": "No Slug"}, "items[0].agent", "lower-case"),
    ({"kind": "rumour"}, "items[0].kind", "fact, preference, episode, instruction"),
    ({"source": "moon"}, "items[0].source", "api, chat, import"),
    ({"importance": 1.01}, "items[0].importance", "between 0 and 1"),
    ({"importance": float("nan")}, "items[0].importance", "between 0 and 1"),
    ({"key": ""}, "items[0].key", "1 to 255"),
    ({"ttl": timedelta(0)}, "items[0].ttl", "1 second"),
    ({"ttl": timedelta(days=40_000)}, "items[0].ttl", "36,525 days"),
    ({"expires_at": datetime(2001, 1, 1, tzinfo=UTC)}, "items[0].expiresAt", "future"),
    ({"expires_at": datetime(2901, 1, 1, tzinfo=UTC), "ttl": timedelta(1)}, "items[0].ttl", "not both"),
    ({"valid_to": datetime(2001, 1, 1, tzinfo=UTC)}, "items[0].validTo", "ends after it begins"),
    (
        {"valid_from": datetime(1, 1, 1)},  # noqa: DTZ001 - the caller may give such
        "items[0].validFrom",
        "between the years",
    ),
    ({"valid_from": datetime(9999, 12, 31, tzinfo=UTC)}, "items[0].validFrom", "between the years"),
    ({"provenance": {"x": "y" * 2_048}}, "items[0].provenance", "2,048 bytes"),
    ({"provenance": {"x": "\ud800"}}, "items[0].provenance", "JSON"),
    ({"provenance": []}, "items[0].provenance", "JSON object"),
]


@pytest.mark.parametrize(("wrong", "field", "says"), BAD)
async def test_a_wrong_value_is_named_and_nothing_is_kept(services, tenant, owner, embeddings, wrong, field, says):
    item = {"subject": "anna", "text": "likes tea", **wrong}
    good = NewMemory(subject="bert", text="fine")
    with pytest.raises(InvalidInput) as refused:
        await remember(services, tenant.tenant_id, [NewMemory(**item), good])
    assert refused.value.field == field
    assert says in refused.value.message
    with pytest.raises(InvalidInput) as refused:
        await remember(services, tenant.tenant_id, [good, good, NewMemory(**item)])
    assert refused.value.field == field.replace("[0]", "[2]")
    assert await rows_of(owner, tenant) == NOTHING
    assert embeddings.asked == []


@pytest.mark.parametrize("count", [0, 101])
async def test_a_batch_has_1_to_100_memories(services, tenant, owner, embeddings, count):
    with pytest.raises(InvalidInput, match=f"1 to 100 memories at once, not {count}"):
        await remember(services, tenant.tenant_id, [NewMemory(subject="anna", text="likes tea")] * count)
    assert await rows_of(owner, tenant) == NOTHING


async def test_a_hundred_at_once_are_kept_in_their_order(services, tenant, embeddings):
    texts = [f"number {number} of the list" for number in range(100)]
    results = await remember(services, tenant.tenant_id, [NewMemory(subject="anna", text=text) for text in texts])
    assert [len(batch) for batch in embeddings.asked] == [64, 36]
    memories = await known(services, tenant)
    assert [memories[text].id for text in texts] == [result.id for result in results]
    assert sorted(result.id for result in results) == [result.id for result in results]


async def test_a_conversation_of_somebody_else_is_not_found(services, tenant, owner, embeddings):
    from tunery.memory.conversations import Message, NewConversation, store_conversation

    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        talk = NewConversation(subject="bert", messages=[Message("user", "hello")])
        conversation_id = await store_conversation(uow, services.get(Keyring), talk)
    before = await rows_of(owner, tenant)
    with pytest.raises(NotFound) as refused:
        await said(services, tenant, "likes tea", conversation_id=conversation_id)
    assert refused.value.field == "items[0].conversationId"
    assert await rows_of(owner, tenant) == before
    assert (await said(services, tenant, "likes tea", "bert", conversation_id=conversation_id)).outcome == "stored"


async def test_two_who_make_the_same_subject_make_one(services, tenant, owner, embeddings):
    """And who remember the same make one memory."""
    results = await asyncio.gather(*(said(services, tenant, "likes tea") for _ in range(8)))
    assert sorted(result.outcome for result in results) == ["seen"] * 7 + ["stored"]
    assert len({result.subject_id for result in results}) == 1
    assert await rows_of(owner, tenant) == {"subjects": 1, "memories": 1, "conversations": 0, "memory_index": 1}
    assert (await known(services, tenant))["likes tea"].seen == 8
    keys = "SELECT count(*) FROM data_keys WHERE tenant_id = $1 AND purpose LIKE 'subject sub%' OR purpose LIKE $2"
    subject_id = results[0].subject_id
    assert await owner.fetchval(keys, tenant.tenant_id, f"subject {subject_id}") == 1


async def test_many_who_make_the_same_subjects_in_any_order_never_wait_in_a_circle(services, tenant, owner, embeddings):
    def items(order: int) -> list[NewMemory]:
        names = [f"person {number}" for number in range(12)]
        return [NewMemory(subject=name, text=f"note {order}") for name in (names if order % 2 else reversed(names))]

    await asyncio.gather(*(remember(services, tenant.tenant_id, items(order)) for order in range(8)))
    assert await rows_of(owner, tenant) == {"subjects": 12, "memories": 96, "conversations": 0, "memory_index": 96}


async def test_who_say_the_same_at_the_same_time_say_it_once(services, tenant, owner, embeddings):
    """Also of a subject that is known, in a store that has its model: nothing but the subject's lock is in the way."""
    await said(services, tenant, "likes coffee")
    results = await asyncio.gather(*(said(services, tenant, "likes tea") for _ in range(8)))
    assert sorted(result.outcome for result in results) == ["seen"] * 7 + ["stored"]
    assert (await known(services, tenant))["likes tea"].seen == 8
    near = (
        "likes green tea and dark bread",
        "really likes the green tea and dark bread",
        "likes the green tea and dark bread",
    )
    results = await asyncio.gather(*(said(services, tenant, text) for text in near))
    assert sorted(result.outcome for result in results) == ["merged", "merged", "stored"]


async def test_of_many_who_tell_the_same_fact_one_stands(services, tenant, embeddings):
    await said(services, tenant, "likes coffee")
    await asyncio.gather(*(said(services, tenant, f"weighs {kilos} kg", key="weight") for kilos in range(60, 70)))
    memories = [memory for memory in (await known(services, tenant)).values() if memory.key]
    standing = [memory for memory in memories if memory.valid_to is None]
    assert (len(memories), len(standing)) == (10, 1)
    ends = sorted(memory.valid_to for memory in memories if memory.valid_to)
    begins = sorted(memory.valid_from for memory in memories)
    assert ends == begins[1:], "each ends where the next one begins"


async def test_without_a_model_memories_are_kept_and_found_by_words(services, tenant, embeddings, owner):
    embeddings.away = True
    result = await said(services, tenant, "plays the trombone")
    assert (result.outcome, result.embedded) == ("stored", False)
    found = await recall(services, tenant.tenant_id, "trombone", subject="anna")
    assert [one.memory.text for one in found.memories] == ["plays the trombone"]
    assert found.legs == ("terms", "recency")
    assert set(found.memories[0].legs) == {"terms", "recency"}
    assert await owner.fetchval("SELECT incomplete FROM memory_stores WHERE tenant_id = $1", tenant.tenant_id)


async def test_a_text_that_the_model_does_not_take_keeps_no_other_from_its_vector(services, tenant, embeddings, owner):
    embeddings.refused = {"too long for it"}
    texts = ["one", "too long for it", "three", "four"]
    results = await remember(services, tenant.tenant_id, [NewMemory(subject="anna", text=text) for text in texts])
    assert [result.embedded for result in results] == [True, False, True, True]
    assert set(await recalled(services, tenant, "long", k=4)) == set(texts)
    assert not await owner.fetchval("SELECT incomplete FROM memory_stores WHERE tenant_id = $1", tenant.tenant_id)


async def test_a_model_that_changes_its_dimension_is_refused(services, tenant, owner, embeddings):
    await said(services, tenant, "likes tea")
    before = await rows_of(owner, tenant)
    embeddings.dimensions = 32
    with pytest.raises(InvalidInput, match=f"wrong dimension.*{MODEL}.*48.*32"):
        await said(services, tenant, "likes coffee")
    with pytest.raises(InvalidInput, match=f"wrong dimension.*{MODEL}.*48.*32"):
        await recalled(services, tenant, "tea")
    assert await rows_of(owner, tenant) == before


async def test_model_and_dimension_stand_in_each_row(services, tenant, embeddings):
    await said(services, tenant, "likes tea")
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        store = await uow.session.get_one(MemoryStore, tenant.tenant_id)
        assert (store.embedding_model, store.dimensions) == (MODEL, 48)
        row = (await uow.session.scalars(select(IndexedMemory))).one()
        assert (row.embedding_model, row.dimensions, len(row.embedding)) == (MODEL, 48, 48)
        assert sum(x * x for x in row.embedding) == pytest.approx(1, abs=1e-2)
        assert (await uow.session.scalars(select(Memory.sealed_embedding))).all() == [None]


async def test_what_one_tenant_remembers_the_others_never_see(services, tenant, sign_up, embeddings):
    other = await sign_up("Other")
    await said(services, tenant, "likes tea")
    with pytest.raises(NotFound, match="there is no subject 'anna'"):
        await recalled(services, other, "tea")
    assert (await said(services, other, "likes tea")).outcome == "stored"
    assert await recalled(services, other, "tea", None) == ["likes tea"]


async def test_a_vector_of_a_model_that_the_store_has_left_meanwhile_is_not_kept(services, tenant, owner, embeddings):
    await said(services, tenant, "likes tea")
    embeddings.held = asyncio.Event()
    telling = asyncio.create_task(said(services, tenant, "likes coffee"))
    await eventually(lambda: len(embeddings.asked) == 2)
    await owner.execute("UPDATE memory_stores SET embedding_model = 'newer' WHERE tenant_id = $1", tenant.tenant_id)
    embeddings.held.set()
    remembered = await telling
    assert (remembered.outcome, remembered.embedded) == ("stored", False)
    rows = await owner.fetch(
        "SELECT embedding_model, embedding IS NULL AS bare FROM memory_index WHERE memory_id = $1", remembered.id
    )
    assert [(row["embedding_model"], row["bare"]) for row in rows] == [("", True)]


async def test_an_unusual_name_is_a_name(services, tenant, embeddings):
    for name in ("x" * 255, "Ünï\0\n", " anna", "anna ", "anna", "Anna", "🦉"):
        await said(services, tenant, f"is called {name}"[:200], subject=name)
    for name in ("Ünï\0\n", " anna", "Anna", "🦉"):
        assert list(await known(services, tenant, name)) == [f"is called {name}"]


async def test_a_hundred_people_take_no_more_statements_than_one(services, tenant, embeddings):
    async def counted(people: list[str], text: str) -> int:
        with recorded() as statements:
            await remember(services, tenant.tenant_id, [NewMemory(subject=name, text=text) for name in people])
            found = await recall(services, tenant.tenant_id, text, subject=None, k=len(people))
        assert {one.memory.subject for one in found.memories} == set(people)
        # Of one that is given many rows, SQLAlchemy and asyncpg both tell.
        return len([one for one in statements if not one.startswith("INSERT")])

    await said(services, tenant, "likes milk")
    crowd = [f"person {number}" for number in range(100)]
    assert await counted(crowd, "likes tea") == await counted(["bert"], "likes coffee")
    # Now they are known, and so is what they say.
    assert await counted(crowd, "likes tea") == await counted(["bert"], "likes coffee") + 1, "the update, told twice"
    with recorded() as statements:
        await remember(
            services, tenant.tenant_id, [NewMemory(subject=f"new {name}", text="likes tea") for name in crowd]
        )
    assert len([one for one in statements if one.startswith("INSERT")]) < 12
