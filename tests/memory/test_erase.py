"""Who is erased is gone: key, texts, name, and what search knew; the certificate says so and names nobody."""

import asyncio
import hashlib
import json
from datetime import timedelta

import pytest

from tests.memory.conftest import MODEL, rows_of, with_models
from tests.memory.memories import NOTHING, all_said, known, recalled, said
from tests.memory.test_forget import talked
from tests.memory.test_sealed import seal
from tests.serving.loopback import eventually
from tunery.app.compose import compose
from tunery.core import ids
from tunery.core.database import Database
from tunery.core.errors import Conflict, NotFound
from tunery.core.events import Events
from tunery.memory import sweep, transfer
from tunery.memory.conversations import Message, NewConversation, store_conversation
from tunery.memory.erase import erase_subject
from tunery.memory.reembed import mend_store
from tunery.memory.shelves import ShelfRows, move_large_tenants
from tunery.memory.subjects import last_erased
from tunery.memory.sweep import NAMES_STAY, finish_erasures, forget_erased_names
from tunery.tenants.erase import erase_tenant
from tunery.tenants.erase import finish_erasure as finish_tenant
from tunery.vault.keyring import KeyDestroyed, Keyring
from tunery.vault.signatures import verify


async def erase(services, tenant, subject="anna"):
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await erase_subject(uow, services.get(Keyring), subject, requested_by="key_test")


@pytest.mark.parametrize("sealed", [False, True])
async def test_an_erased_subject_is_gone_from_every_table(services, tenant, owner, embeddings, sealed):
    if sealed:
        await seal(services, tenant)
    talk = await talked(services, tenant, "I like tea")
    first = await said(services, tenant, "likes green tea and dark bread", conversation_id=talk)
    await said(services, tenant, "really likes the green tea and dark bread")
    await said(services, tenant, "likes coffee", subject="bert")
    key = await owner.fetchrow(
        "SELECT k.* FROM data_keys k JOIN subjects s ON s.data_key_id = k.id WHERE s.id = $1", first.subject_id
    )
    erasure = await erase(services, tenant)
    assert await rows_of(owner, tenant) == {
        "subjects": 2, "memories": 1, "conversations": 0, "memory_index": 0 if sealed else 1
    }  # fmt: skip
    row = await owner.fetchrow("SELECT * FROM subjects WHERE id = $1", first.subject_id)
    assert (row["digest"], row["sealed_name"], row["erased_at"] is not None) == (None, None, True)
    assert await owner.fetchval("SELECT wrapped_key FROM data_keys WHERE id = $1", key["id"]) is None
    with pytest.raises(NotFound, match="there is no subject 'anna'"):
        await recalled(services, tenant, "tea")
    assert await recalled(services, tenant, "coffee", "bert") == ["likes coffee"]

    certificate = json.loads(erasure.certificate)
    assert certificate["subject"] == ids.encode("subject", first.subject_id)
    assert (certificate["scope"], certificate["requested_by"]) == ("subject", "key_test")
    assert [key["fingerprint"] for key in certificate["destroyed"]] == [key["fingerprint"]]
    assert certificate["deleted"] == {
        "conversations": 1, "memories": 2, "memory_index": 0 if sealed else 1, "memory_terms": 0
    }  # fmt: skip
    assert b"anna" not in erasure.certificate
    public = await owner.fetchval("SELECT public_key FROM signing_keys ORDER BY created_at DESC LIMIT 1")
    verify(erasure.certificate, erasure.signature, public, "tunery-erasure/1")


async def test_certificates_are_a_chain(services, tenant, embeddings):
    for subject in ("anna", "bert"):
        await said(services, tenant, "likes tea", subject=subject)
    first, second = await erase(services, tenant), await erase(services, tenant, "bert")
    assert (first.number, second.number) == (1, 2)
    assert json.loads(second.certificate)["previous"] == hashlib.sha256(first.certificate).hexdigest()


async def test_an_erased_name_is_a_new_person(services, tenant, embeddings):
    first = await said(services, tenant, "likes tea")
    await erase(services, tenant)
    second = await said(services, tenant, "likes coffee")
    assert (second.subject_id != first.subject_id, second.outcome) == (True, "stored")
    assert set(await known(services, tenant)) == {"likes coffee"}


@pytest.mark.parametrize("subject", ["nobody", "anna"])
async def test_an_unknown_or_erased_subject_is_not_found(services, tenant, owner, embeddings, subject):
    await said(services, tenant, "likes tea")
    await erase(services, tenant)
    with pytest.raises(NotFound, match=f"there is no subject '{subject}'"):
        await erase(services, tenant, subject)
    assert await owner.fetchval("SELECT count(*) FROM erasures WHERE tenant_id = $1", tenant.tenant_id) == 1


async def test_another_tenant_s_subject_is_not_found(services, tenant, sign_up, owner, embeddings):
    other = await sign_up("Other")
    await said(services, tenant, "likes tea")
    with pytest.raises(NotFound):
        await erase(services, other)
    assert await recalled(services, tenant, "tea") == ["likes tea"]


async def test_who_remembers_while_somebody_is_erased_leaves_nothing_half(services, tenant, owner, embeddings):
    for _ in range(5):
        await said(services, tenant, "likes tea")
        results = await asyncio.gather(
            erase(services, tenant), *(said(services, tenant, f"note {number}") for number in range(4)),
            return_exceptions=True,
        )  # fmt: skip
        wrong = [result for result in results if isinstance(result, Exception) and not isinstance(result, Conflict)]
        assert wrong == []
        orphans = await owner.fetchval(
            "SELECT count(*) FROM memories m JOIN subjects s ON s.id = m.subject_id"
            " WHERE m.tenant_id = $1 AND s.erased_at IS NOT NULL",
            tenant.tenant_id,
        )
        assert orphans == 0
        counts = await rows_of(owner, tenant)
        assert counts["memories"] == counts["memory_index"]


async def test_what_a_restored_backup_brings_back_is_removed(services, tenant, owner, embeddings):
    """Its rows are there again; the key, which has a backup of its own, is not."""
    await talked(services, tenant, "I like tea")
    first = await said(services, tenant, "likes tea")
    await said(services, tenant, "likes coffee", subject="bert")
    await owner.execute(
        "UPDATE data_keys SET wrapped_key = NULL, destroyed_at = now()"
        " WHERE id = (SELECT data_key_id FROM subjects WHERE id = $1)",
        first.subject_id,
    )
    with pytest.raises(NotFound, match="there is no subject"):
        await recalled(services, tenant, "tea")
    assert await recalled(services, tenant, "tea", None, k=2) == ["likes coffee"]
    assert await finish_erasures(services) == 1
    assert await rows_of(owner, tenant) == {"subjects": 2, "memories": 1, "conversations": 0, "memory_index": 1}
    assert await finish_erasures(services) == 0
    assert (await said(services, tenant, "likes tea")).outcome == "stored"


async def test_erasing_what_a_backup_brought_back_deletes_it_too(services, tenant, owner, embeddings):
    first = await said(services, tenant, "likes tea")
    await owner.execute(
        "UPDATE data_keys SET wrapped_key = NULL, destroyed_at = now()"
        " WHERE id = (SELECT data_key_id FROM subjects WHERE id = $1)",
        first.subject_id,
    )
    certificate = json.loads((await erase(services, tenant)).certificate)
    assert (certificate["destroyed"], certificate["deleted"]["memories"]) == ([], 1)


async def test_erasing_a_tenant_leaves_nothing_of_this_room(services, sign_up, owner, embeddings):
    tenant, other = await sign_up("Gone"), await sign_up("Other")
    await all_said(services, tenant, "likes tea", "likes coffee")
    await talked(services, tenant, "hello", subject="bert")
    await said(services, other, "likes tea")
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        erasure = await erase_tenant(
            uow, services.get(Events), services.get(Keyring), tenant.identity, confirm=tenant.slug
        )
    deleted = json.loads(erasure.certificate)["deleted"]
    expected = {"subjects": 2, "memories": 2, "conversations": 1, "memory_index": 2, "memory_stores": 1}
    assert {table: deleted[table] for table in expected} == expected
    assert await rows_of(owner, tenant) == NOTHING
    assert await recalled(services, other, "tea") == ["likes tea"]


async def test_no_word_of_an_erased_subject_stays_on_a_shelf(
    services, settings, clock, embedding_server, tenant, owner, embeddings
):
    """Also of a memory that had expired when its store moved to another model: the index has no row of it any more."""
    await all_said(services, tenant, *(f"owns boat number {number}" for number in range(5)))
    await said(services, tenant, "has a canary", ttl=timedelta(hours=1))
    listed = "SELECT count(*) FROM memory_terms WHERE tenant_id = $1"
    async with compose(with_models(settings, embedding_server, "test/words:2", MODEL), clock) as newer:
        newer.add(ShelfRows, ShelfRows(5))
        await move_large_tenants(newer)
        before = await owner.fetchval(listed, tenant.tenant_id)
        clock.travel(timedelta(hours=2))
        await mend_store(newer, tenant.tenant_id)
    assert 0 < await owner.fetchval(listed, tenant.tenant_id) < before
    # One that is listed and not indexed, however that came about.
    await owner.execute("DELETE FROM memory_index WHERE tenant_id = $1", tenant.tenant_id)
    left = await owner.fetchval(listed, tenant.tenant_id)
    certificate = json.loads((await erase(services, tenant)).certificate)
    assert certificate["deleted"]["memory_terms"] == left
    assert await owner.fetchval(listed, tenant.tenant_id) == 0


async def test_one_tenant_s_erasure_that_can_t_be_finished_keeps_no_other_from_it(
    services, tenant, sign_up, owner, embeddings, monkeypatch
):
    other = await sign_up("Other")
    for one in (tenant, other):
        await said(services, one, "likes tea")
        await owner.execute(
            "UPDATE data_keys SET wrapped_key = NULL, destroyed_at = now() WHERE tenant_id = $1"
            " AND id IN (SELECT data_key_id FROM subjects)",
            one.tenant_id,
        )
    sound = sweep.finish_erasure

    async def finish(uow, *arguments):
        if uow.tenant_id == tenant.tenant_id:
            raise Conflict("not now")
        return await sound(uow, *arguments)

    monkeypatch.setattr(sweep, "finish_erasure", finish)
    await finish_erasures(services)
    assert (await rows_of(owner, other))["memories"] == 0
    assert (await rows_of(owner, tenant))["memories"] == 1


async def test_what_was_said_before_somebody_was_erased_does_not_come_back(services, tenant, owner, embeddings):
    await said(services, tenant, "likes tea")
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        began_with = await last_erased(uow, services.get(Keyring), ["anna"])
    embeddings.asked.clear()
    embeddings.held = asyncio.Event()
    late = asyncio.create_task(said(services, tenant, "likes coffee"))
    await eventually(lambda: bool(embeddings.asked))
    await erase(services, tenant)
    before = await rows_of(owner, tenant)
    embeddings.held.set()
    with pytest.raises(Conflict, match="erased meanwhile"):
        await late
    with pytest.raises(Conflict, match="erased meanwhile"):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            conversation = NewConversation(subject="anna", messages=[Message("user", "I like coffee")])
            await store_conversation(uow, services.get(Keyring), conversation, began_with)
    assert await rows_of(owner, tenant) == before
    assert (await said(services, tenant, "likes water")).outcome == "stored"


async def test_nor_does_somebody_who_was_new_when_it_was_said(services, tenant, owner, embeddings):
    embeddings.held = asyncio.Event()
    late = asyncio.create_task(said(services, tenant, "likes coffee"))
    await eventually(lambda: bool(embeddings.asked))
    await talked(services, tenant, "I like tea")
    await erase(services, tenant)
    before = await rows_of(owner, tenant)
    embeddings.held.set()
    with pytest.raises(Conflict, match="erased meanwhile"):
        await late
    assert await rows_of(owner, tenant) == before
    with pytest.raises(NotFound):
        await known(services, tenant)
    assert (await said(services, tenant, "likes water")).outcome == "stored"


@pytest.mark.parametrize("is_new", [False, True])
async def test_an_import_does_not_bring_back_who_is_erased_meanwhile(
    api, services, tenant, owner, embeddings, monkeypatch, is_new
):
    from tests.memory.test_transfer import ndjson, put

    if not is_new:
        await said(services, tenant, "likes tea")
    sound = transfer.find_or_make_subjects

    async def find_later(*arguments):
        if is_new:
            await said(services, tenant, "likes tea")
        await erase(services, tenant)
        return await sound(*arguments)

    monkeypatch.setattr(transfer, "find_or_make_subjects", find_later)
    lines = [{"subject": "bert", "text": "likes milk"}, {"subject": "anna", "text": "likes coffee"}]
    response = await put(api, tenant, ndjson(*lines))
    assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict"), response.text
    counts = await rows_of(owner, tenant)
    assert (counts["subjects"], counts["memories"]) == (1, 0), "the erased one, without a name"
    monkeypatch.undo()
    response = await put(api, tenant, ndjson(*lines))
    assert response.json()["stored"] == 2, "what comes in afterwards is somebody's wish"


async def test_of_an_erased_name_nothing_stays_after_a_while(services, tenant, clock, owner, embeddings):
    first = await said(services, tenant, "likes tea")
    digest = await owner.fetchval("SELECT digest FROM subjects WHERE id = $1", first.subject_id)
    await erase(services, tenant)
    stays = "SELECT count(*) FROM subjects WHERE $2 IN (digest, erased_digest) AND tenant_id = $1"
    assert await owner.fetchval(stays, tenant.tenant_id, digest) == 1
    clock.travel(NAMES_STAY - timedelta(minutes=1))
    await forget_erased_names(services)
    assert await owner.fetchval(stays, tenant.tenant_id, digest) == 1
    clock.travel(timedelta(minutes=2))
    assert await forget_erased_names(services) >= 1
    assert await owner.fetchval(stays, tenant.tenant_id, digest) == 0
    assert await forget_erased_names(services) == 0


async def test_who_remembers_of_new_people_and_who_erases_the_tenant_never_wait_in_a_circle(
    services, sign_up, owner, embeddings
):
    async def erase_all(tenant) -> None:
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await erase_tenant(uow, services.get(Events), services.get(Keyring), tenant.identity, confirm=tenant.slug)

    for round_ in range(8):
        tenant = await sign_up("Gone")
        await said(services, tenant, "likes tea")
        people = [
            asyncio.create_task(said(services, tenant, "likes coffee", f"person {round_} {number}"))
            for number in range(4)
        ]
        await asyncio.sleep(0.004 * round_)
        erased, *results = await asyncio.gather(erase_all(tenant), *people, return_exceptions=True)
        assert erased is None
        wrong = [one for one in results if isinstance(one, Exception) and not isinstance(one, KeyDestroyed)]
        assert wrong == []
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await finish_tenant(uow, services.get(Events), services.get(Keyring))
        assert await rows_of(owner, tenant) == NOTHING
