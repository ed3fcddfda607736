"""What is to be forgotten is gone from every table, and nothing else is."""

import asyncio
import contextlib
from datetime import timedelta

import pytest

from tests.memory.conftest import rows_of
from tests.memory.memories import all_said, known, recalled, said
from tunery.core.database import Database
from tunery.core.errors import InvalidInput, NotFound
from tunery.memory import sweep
from tunery.memory.conversations import Message, NewConversation, list_conversations, store_conversation
from tunery.memory.forget import forget_by_ids, forget_of_subject
from tunery.memory.new_memory import NewMemory
from tunery.memory.remember import remember
from tunery.memory.sweep import delete_expired
from tunery.vault.keyring import Keyring
from tunery.vault.sealing import UnsealingFailed


async def forget(services, tenant, *memory_ids, conversations=()):
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await forget_by_ids(uow, memory_ids, conversations)


async def forget_of(services, tenant, subject="anna", **narrowed):
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await forget_of_subject(uow, services.get(Keyring), subject, **narrowed)


async def talked(services, tenant, *contents, subject="anna", agent="default"):
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        messages = [Message("user", content) for content in contents]
        talk = NewConversation(subject=subject, messages=messages, agent=agent)
        return await store_conversation(uow, services.get(Keyring), talk)


async def test_memories_are_forgotten_by_their_ids(services, tenant, owner, embeddings):
    first, _, third = await all_said(services, tenant, "likes tea", "owns a dog", "works at night")
    assert await forget(services, tenant, first.id, third.id) == 2
    assert set(await known(services, tenant)) == {"owns a dog"}
    assert await recalled(services, tenant, "tea") == ["owns a dog"]
    assert await rows_of(owner, tenant) == {"subjects": 1, "memories": 1, "conversations": 0, "memory_index": 1}
    assert (await said(services, tenant, "likes tea")).outcome == "stored"


async def test_what_was_merged_goes_with_it(services, tenant, owner, embeddings):
    first = await said(services, tenant, "likes green tea and dark bread")
    assert (await said(services, tenant, "really likes the green tea and dark bread")).merged_into == first.id
    assert await forget(services, tenant, first.id) == 2
    assert (await rows_of(owner, tenant))["memories"] == 0


async def test_an_unknown_id_is_named_and_nothing_is_forgotten(services, tenant, sign_up, owner, embeddings):
    mine = await said(services, tenant, "likes tea")
    other = await sign_up("Other")
    theirs = await said(services, other, "likes coffee")
    talk = await talked(services, other, "hello")
    before = await rows_of(owner, tenant), await rows_of(owner, other)
    with pytest.raises(NotFound, match=f"mem_{theirs.id.hex}"):
        await forget(services, tenant, mine.id, theirs.id)
    with pytest.raises(NotFound, match=f"conv_{talk.hex}"):
        await forget(services, tenant, mine.id, conversations=[talk])
    for count in (0, 1_001):
        with pytest.raises(InvalidInput, match="1 to 1,000 ids"):
            await forget(services, tenant, *[mine.id] * count)
    assert (await rows_of(owner, tenant), await rows_of(owner, other)) == before


async def test_a_subject_s_memories_are_forgotten_by_agent_kind_and_age(services, tenant, clock, embeddings):
    await all_said(services, tenant, "one", "two", agent="sales")
    await all_said(services, tenant, "three", kind="preference", agent="sales")
    await all_said(services, tenant, "four")
    await all_said(services, tenant, "five", subject="bert", agent="sales")
    clock.travel(timedelta(minutes=1))
    later = clock.now()
    await all_said(services, tenant, "six")
    assert await forget_of(services, tenant, agent="sales", kinds=["preference"]) == 1
    assert set(await known(services, tenant)) == {"one", "two", "four", "six"}
    assert await forget_of(services, tenant, before=later) == 3
    assert set(await known(services, tenant)) == {"six"}
    assert await forget_of(services, tenant) == 1
    assert await forget_of(services, tenant) == 0
    assert set(await known(services, tenant, "bert")) == {"five"}
    with pytest.raises(NotFound, match="there is no subject 'nobody'"):
        await forget_of(services, tenant, "nobody")


async def test_what_was_said_again_since_is_not_forgotten_as_older(services, tenant, clock, embeddings):
    await said(services, tenant, "likes green tea")
    await said(services, tenant, "owns a dog")
    clock.travel(timedelta(minutes=1))
    later = clock.now()
    assert (await said(services, tenant, "really likes the green tea")).outcome == "merged"
    assert await forget_of(services, tenant, before=later) == 1
    assert set(await known(services, tenant)) == {"likes green tea", "really likes the green tea"}


async def test_what_stands_behind_something_said_again_since_is_not_forgotten_as_older(
    services, tenant, clock, embeddings
):
    await said(services, tenant, "likes green tea")
    assert (await said(services, tenant, "really likes the green tea")).outcome == "merged"
    await said(services, tenant, "owns a dog")
    clock.travel(timedelta(minutes=1))
    later = clock.now()
    await said(services, tenant, "likes green tea")
    assert await forget_of(services, tenant, before=later) == 1
    assert set(await known(services, tenant)) == {"likes green tea", "really likes the green tea"}


async def test_no_kind_is_not_every_kind(services, tenant, owner, embeddings):
    await said(services, tenant, "likes tea")
    await talked(services, tenant, "hello")
    before = await rows_of(owner, tenant)
    with pytest.raises(InvalidInput, match="one kind or more") as refused:
        await forget_of(services, tenant, kinds=[])
    assert refused.value.field == "kinds"
    assert await rows_of(owner, tenant) == before


async def test_what_a_forgotten_fact_ended_holds_again(services, tenant, clock, embeddings):
    now = clock.now()
    texts = ("lives in Rome", "lives in Oslo", "lives in Bonn", "lives in Bern")
    facts = [
        await said(services, tenant, text, key="home", valid_from=now - timedelta(days=9 - number))
        for number, text in enumerate(texts)
    ]
    await said(services, tenant, "walks to work", key="way")
    _, oslo, bonn, bern = facts
    await forget(services, tenant, oslo.id)
    memories = await known(services, tenant)
    assert memories["lives in Rome"].valid_to == memories["lives in Bonn"].valid_from
    assert memories["lives in Bonn"].valid_to == memories["lives in Bern"].valid_from
    await forget(services, tenant, bern.id, bonn.id)
    assert (await known(services, tenant))["lives in Rome"].valid_to is None
    assert set(await recalled(services, tenant, "lives")) == {"lives in Rome", "walks to work"}
    # Of two in one batch, the earlier one never held: the later one doesn't bring it back with the one before.
    items = [NewMemory(subject="anna", text=text, key="home") for text in ("lives in Ulm", "lives in Bari")]
    ulm, bari = await remember(services, tenant.tenant_id, items)
    assert set(await recalled(services, tenant, "lives")) == {"lives in Bari", "walks to work"}
    await forget(services, tenant, bari.id)
    assert set(await recalled(services, tenant, "lives")) == {"lives in Ulm", "walks to work"}
    await forget(services, tenant, ulm.id)
    assert set(await recalled(services, tenant, "lives")) == {"lives in Rome", "walks to work"}


async def test_what_an_expired_fact_ended_holds_again(services, tenant, clock, embeddings):
    await said(services, tenant, "lives in Rome", key="home")
    clock.travel(timedelta(seconds=1))
    await said(services, tenant, "lives in Oslo", key="home", ttl=timedelta(hours=1))
    assert await recalled(services, tenant, "lives") == ["lives in Oslo"]
    clock.travel(timedelta(hours=2))
    assert await delete_expired(services) >= 1
    assert await recalled(services, tenant, "lives") == ["lives in Rome"]


@pytest.mark.parametrize("how", ["forgotten", "expired"])
async def test_a_fact_s_own_end_outlives_the_fact_that_ended_it_sooner(services, tenant, clock, embeddings, how):
    now = clock.now()
    days = [now + timedelta(days=number) for number in range(4)]
    await said(services, tenant, "is on leave", key="status", valid_to=days[2])
    await said(services, tenant, "is well", key="health", valid_to=days[1])
    ending = {"ttl": timedelta(hours=1), "valid_from": days[1]}
    newer = await said(services, tenant, "is back", key="status", **ending)
    after = await said(services, tenant, "is ill", key="health", **ending)
    memories = await known(services, tenant)
    assert [memories[text].valid_to for text in ("is on leave", "is well")] == [days[1], days[1]]
    assert after.closed == ()
    if how == "forgotten":
        await forget(services, tenant, newer.id, after.id)
    else:
        clock.travel(timedelta(hours=2))
        assert await delete_expired(services) >= 2
    memories = await known(services, tenant)
    assert [memories[text].valid_to for text in ("is on leave", "is well")] == [days[2], days[1]]
    assert await recalled(services, tenant, "is", as_of=days[1]) == ["is on leave"]
    assert await recalled(services, tenant, "is", as_of=days[2]) == []


async def test_what_has_expired_nobody_sees_before_it_is_deleted(api, services, tenant, clock, owner, embeddings):
    from tests.memory.test_transfer import exported

    await said(services, tenant, "likes green tea", ttl=timedelta(hours=1))
    assert (await said(services, tenant, "really likes the green tea", ttl=timedelta(minutes=1))).outcome == "merged"
    await owner.execute(
        "UPDATE memories SET expires_at = NULL WHERE merged_into IS NOT NULL AND tenant_id = $1", tenant.tenant_id
    )
    await said(services, tenant, "owns a dog")
    clock.travel(timedelta(hours=2))
    assert (set(await known(services, tenant)), (await rows_of(owner, tenant))["memories"]) == ({"owns a dog"}, 3)
    assert [line["text"] for line in await exported(api, tenant)] == ["owns a dog"]
    assert await delete_expired(services) == 2


async def test_many_are_forgotten_at_once(services, tenant, owner, embeddings):
    for start in range(0, 300, 100):
        await all_said(services, tenant, *(f"note {number}" for number in range(start, start + 100)))
    assert await forget_of(services, tenant) == 300
    assert await rows_of(owner, tenant) == {"subjects": 1, "memories": 0, "conversations": 0, "memory_index": 0}


async def test_conversations_are_listed_and_forgotten(services, tenant, owner, embeddings):
    first = await talked(services, tenant, "I like tea", "and canarybread")
    second = await talked(services, tenant, "good morning", agent="sales")
    memory = await said(services, tenant, "likes tea", conversation_id=first)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        page, more = await list_conversations(uow, services.get(Keyring), "anna", first=1)
        rest, end = await list_conversations(uow, services.get(Keyring), "anna", first=1, after=page[0].id)
        sales, _ = await list_conversations(uow, services.get(Keyring), "anna", agent="sales")
    assert ([one.id for one in page], more, [one.id for one in rest], end) == ([second], True, [first], False)
    assert [one.id for one in sales] == [second]
    assert rest[0].messages == (Message("user", "I like tea"), Message("user", "and canarybread"))
    stored = await owner.fetchval(
        "SELECT string_agg(c::text, ' ') FROM conversations c WHERE tenant_id = $1", tenant.tenant_id
    )
    assert b"canarybread".hex() not in stored
    assert (await known(services, tenant))["likes tea"].conversation_id == first
    assert await forget(services, tenant, conversations=[first]) == 1
    assert (await known(services, tenant))["likes tea"].conversation_id is None
    assert await forget(services, tenant, memory.id, conversations=[second]) == 2
    assert await rows_of(owner, tenant) == {"subjects": 1, "memories": 0, "conversations": 0, "memory_index": 0}


async def test_a_conversation_that_was_moved_does_not_open(services, tenant, owner):
    first, second = await talked(services, tenant, "one"), await talked(services, tenant, "two")
    await owner.execute(
        "UPDATE conversations SET sealed_messages = (SELECT sealed_messages FROM conversations WHERE id = $2) WHERE id = $1",
        first,
        second,
    )
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        with pytest.raises(UnsealingFailed, match=f"conv_{first.hex} does not open"):
            await list_conversations(uow, services.get(Keyring), "anna")


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ([Message("user", "x")] * 1_001, "messages"),
        ([Message("user", "x" * 1024 * 1024), Message("user", "y")], "messages"),
        ([Message("", "x")], "messages[0].role"),
        ([Message("user", "\ud800")], "messages[0].content"),
    ],
)
async def test_a_wrong_conversation_is_refused(services, tenant, owner, messages, field):
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        with pytest.raises(InvalidInput) as refused:
            await store_conversation(uow, services.get(Keyring), NewConversation(subject="anna", messages=messages))
    assert refused.value.field == field
    assert (await rows_of(owner, tenant))["subjects"] == 0


async def test_expired_memories_are_deleted_by_the_sweep(services, tenant, sign_up, clock, owner, embeddings):
    other = await sign_up("Other")
    for one in (tenant, other):
        await all_said(services, one, "likes tea", "likes coffee", ttl=timedelta(hours=1))
        await said(services, one, "lives in Rome")
    clock.travel(timedelta(minutes=30))
    # It is said again, for longer.
    await said(services, tenant, "likes tea", ttl=timedelta(days=1))
    clock.travel(timedelta(minutes=31))
    assert await delete_expired(services) >= 3
    assert set(await known(services, tenant)) == {"likes tea", "lives in Rome"}
    assert set(await known(services, other)) == {"lives in Rome"}
    assert (await rows_of(owner, tenant))["memory_index"] == 2
    assert await delete_expired(services) == 0


async def test_what_is_said_again_at_the_last_moment_stays(services, tenant, clock, owner, embeddings, monkeypatch):
    first, _ = await all_said(services, tenant, "likes tea", "likes coffee", ttl=timedelta(hours=1))
    clock.travel(timedelta(hours=2))
    sound = sweep.lock_subjects

    async def lock_after_it_was_said(*arguments):
        await owner.execute("UPDATE memories SET expires_at = NULL WHERE id = $1", first.id)
        await sound(*arguments)

    monkeypatch.setattr(sweep, "lock_subjects", lock_after_it_was_said)
    assert await delete_expired(services) >= 1
    assert set(await known(services, tenant)) == {"likes tea"}


async def test_who_remembers_and_who_forgets_never_wait_in_a_circle(services, tenant, owner, embeddings):
    names = [f"person {number}" for number in range(6)]

    async def remember_all(round_: int) -> None:
        ordered = names if round_ % 2 else names[::-1]
        await remember(services, tenant.tenant_id, [NewMemory(subject=name, text=f"note {round_}") for name in ordered])

    async def forget_some() -> None:
        rows = await owner.fetch(
            "SELECT id FROM memories WHERE tenant_id = $1 ORDER BY random() LIMIT 9", tenant.tenant_id
        )
        with contextlib.suppress(NotFound):  # somebody else was first
            await forget(services, tenant, *(row["id"] for row in rows))

    await remember_all(0)
    for round_ in range(1, 6):
        await asyncio.gather(remember_all(round_), remember_all(round_ + 100), forget_some())
    counts = await rows_of(owner, tenant)
    assert counts["memories"] == counts["memory_index"]
