"""Importing and exporting NDJSON: what comes out can go in again, and what is wrong keeps everything out."""

import asyncio
import json
from datetime import timedelta

import pytest

from tests.memory.conftest import rows_of
from tests.memory.memories import NOTHING, all_said, known, recalled, said
from tests.memory.test_forget import forget, talked
from tests.memory.test_sealed import seal
from tunery.core.database import Database
from tunery.memory import import_lines, transfer
from tunery.memory.conversations import list_conversations
from tunery.memory.import_lines import ImportReader, InvalidImport
from tunery.memory.new_memory import NewMemory
from tunery.memory.reembed import mend_store
from tunery.memory.remember import remember
from tunery.memory.transfer import export_memories
from tunery.vault.keyring import Keyring


def ndjson(*lines: dict) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def put(api, tenant, content, **headers):
    async def parts():
        for start in range(0, len(content), 10_000):
            yield content[start : start + 10_000]

    return await api.client.post("/v1/memories/import", content=parts(), headers={**tenant.headers, **headers})


async def get(api, tenant, **asked):
    return await api.client.get("/v1/memories/export", params=asked, headers=tenant.headers)


async def exported(api, tenant, **asked) -> list[dict]:
    response = await get(api, tenant, **asked)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in response.content.splitlines()]


async def test_an_import_is_found_by_words_at_once_and_by_vectors_soon(api, services, tenant, owner, embeddings):
    lines = [{"subject": "anna", "text": f"note {number} about the harbour"} for number in range(5)]
    lines.append({"subject": "bert", "text": "plays the trombone", "kind": "preference", "agent": "sales"})
    response = await put(api, tenant, b"\xef\xbb\xbf\n" + ndjson(*lines) + b"\n")
    assert response.status_code == 200, response.text
    assert response.json() == {
        "object": "memory.import", "stored": 6, "seen": 0, "merged": 0, "conversations": 0, "expired": 0
    }  # fmt: skip
    assert embeddings.asked == [], "no model is asked while somebody waits"
    assert await recalled(services, tenant, "trombone", "bert") == ["plays the trombone"]
    task = "SELECT count(*) FROM outbox WHERE tenant_id = $1 AND task = 'memory.embed' AND handled_at IS NULL"
    assert await owner.fetchval(task, tenant.tenant_id) == 1
    assert await mend_store(services, tenant.tenant_id) == 6
    vectors = "SELECT count(embedding) FROM memory_index WHERE tenant_id = $1"
    assert await owner.fetchval(vectors, tenant.tenant_id) == 6
    assert (await known(services, tenant, "bert"))["plays the trombone"].source == "import"


async def test_an_export_can_be_imported_again(api, services, tenant, sign_up, clock, embeddings):
    other = await sign_up("Other")
    await seal(services, other)
    talk = await talked(services, tenant, "I live in Oslo now", "and like tea")
    now = clock.now()
    await said(services, tenant, "lives in Rome", key="home", valid_from=now - timedelta(days=9))
    await said(services, tenant, "lives in Oslo", key="home", conversation_id=talk, provenance={"by": "chat"})
    await said(services, tenant, "likes green tea and dark bread", importance=0.3)
    await said(services, tenant, "likes green tea and dark bread")
    await said(services, tenant, "really likes the green tea and dark bread")
    await said(services, tenant, "is away", ttl=timedelta(days=30), agent="sales", kind="episode")
    await said(services, tenant, "owns a dog", subject="bert \n ünï")
    lines = await exported(api, tenant)
    assert [line["type"] for line in lines] == ["conversation"] + ["memory"] * 6
    assert {line["subject"] for line in lines} == {"anna", "bert \n ünï"}

    clock.travel(timedelta(hours=1))
    response = await put(api, other, ndjson(*lines))
    assert response.json() == {
        "object": "memory.import", "stored": 5, "seen": 0, "merged": 1, "conversations": 1, "expired": 0
    }, response.text  # fmt: skip
    again = await exported(api, other)

    def same(line: dict, among: list[dict]) -> dict:
        """Without the ids, which are new."""
        texts = {one["id"]: one.get("text", one.get("messages")) for one in among}
        refer = {name: texts.get(line.get(name)) for name in ("merged_into", "conversation")}
        return {**line, "id": None, **refer}

    def by_text(line: dict) -> str:
        return line.get("text", "")

    assert [same(line, again) for line in sorted(again, key=by_text)] == [
        same(line, lines) for line in sorted(lines, key=by_text)
    ]
    # And once more into where it is from: nothing is doubled.
    before = await known(services, tenant)
    response = await put(api, tenant, ndjson(*lines))
    assert response.json()["seen"] == 6
    assert (response.json()["stored"], response.json()["conversations"]) == (0, 0)
    after = await known(services, tenant)
    assert after.keys() == before.keys()
    await mend_store(services, tenant.tenant_id)
    await mend_store(services, other.tenant_id)
    for one in (tenant, other):
        assert set(await recalled(services, one, "tea")) == {
            "lives in Oslo",
            "likes green tea and dark bread",
            "is away",
        }
    async with services.get(Database).unit_of_work(other.tenant_id) as uow:
        page, _ = await list_conversations(uow, services.get(Keyring), "anna")
    assert [message.content for message in page[0].messages] == ["I live in Oslo now", "and like tea"]
    assert (await known(services, other))["lives in Oslo"].conversation_id == page[0].id


async def test_a_fact_that_ended_as_it_began_comes_out_and_goes_in(api, services, tenant, sign_up, embeddings):
    items = [NewMemory(subject="anna", text=f"lives in {town}", key="home") for town in ("Oslo", "Rome")]
    await remember(services, tenant.tenant_id, items)
    lines = await exported(api, tenant)
    assert lines[0]["valid_from"] == lines[1]["valid_from"]
    for one in (tenant, await sign_up("Other")):
        for order in (lines, lines[::-1]):
            response = await put(api, one, ndjson(*order))
            assert response.status_code == 200, response.text
            assert len(await exported(api, one)) == 2
            assert await recalled(services, one, "lives") == ["lives in Rome"]


async def test_facts_that_come_in_end_and_are_ended_as_where_they_come_from(
    api, services, tenant, sign_up, clock, embeddings
):
    """Also when one of them is forgotten afterwards."""
    days = [clock.now() + timedelta(days=number) for number in range(-5, 5)]
    for text, start, end in (("Rome", 0, 6), ("Oslo", 2, 4), ("Bonn", 3, None), ("Bern", 8, None), ("Ulm", 1, 2)):
        until = None if end is None else days[end]
        await said(services, tenant, f"lives in {text}", key="home", valid_from=days[start], valid_to=until)
    other = await sign_up("Other")
    await put(api, other, ndjson(*await exported(api, tenant)))

    async def at_home(one) -> list[list[str]]:
        return [await recalled(services, one, "lives", as_of=day) for day in days]

    assert await at_home(other) == await at_home(tenant)
    for text in ("lives in Bonn", "lives in Oslo", "lives in Ulm", "lives in Bern"):
        for one in (tenant, other):
            await forget(services, one, (await known(services, one))[text].id)
        assert await at_home(other) == await at_home(tenant), text
    assert await at_home(other) == [["lives in Rome"]] * 6 + [[]] * 4


async def test_an_export_names_no_conversation_that_is_not_in_it(api, services, tenant, sign_up, embeddings):
    await said(services, tenant, "likes tea", conversation_id=await talked(services, tenant, "one", agent="sales"))
    await said(services, tenant, "likes milk", conversation_id=await talked(services, tenant, "two"))
    parts = []
    async for part in export_memories(services, tenant.tenant_id):
        if not parts:  # between the conversations and the memories
            talk = await talked(services, tenant, "three")
            await said(services, tenant, "likes water", conversation_id=talk)
        parts.append(part)
    for lines in (b"".join(parts), ndjson(*await exported(api, tenant, agent="default"))):
        named = {line["text"]: line["conversation"] for line in map(json.loads, lines.splitlines()) if "text" in line}
        assert named["likes milk"]
        other = await sign_up("Other")
        response = await put(api, other, lines)
        assert (response.status_code, response.json()["stored"]) == (200, 3), response.text
        assert (await known(services, other))["likes milk"].conversation_id


async def test_what_comes_in_again_is_not_counted_again(api, services, tenant, embeddings):
    for _ in range(3):
        await said(services, tenant, "likes tea")
    lines = await exported(api, tenant)
    await put(api, tenant, ndjson(*lines))
    assert (await known(services, tenant))["likes tea"].seen == 3
    many = {"subject": "anna", "text": "likes tea", "seen": 1_000_000}
    response = await put(api, tenant, ndjson(*[many] * 2_500))
    assert (response.status_code, response.json().get("seen")) == (200, 2_500), response.text
    await said(services, tenant, "likes tea")
    assert (await known(services, tenant))["likes tea"].seen == 1_000_000


async def test_an_export_takes_a_subject_s_id_for_its_name(api, services, tenant, sign_up, embeddings):
    mine = await said(services, tenant, "likes tea")
    theirs = await said(services, await sign_up("Other"), "likes secrets")
    assert [line["text"] for line in await exported(api, tenant, subject=f"sub_{mine.subject_id.hex}")] == ["likes tea"]
    assert (await get(api, tenant, subject=f"sub_{theirs.subject_id.hex}")).status_code == 404


async def test_an_export_is_of_one_subject_or_agent_if_asked(api, services, tenant, sign_up, embeddings):
    await said(services, tenant, "likes tea", agent="sales")
    await said(services, tenant, "likes coffee")
    await said(services, tenant, "likes water", subject="bert", agent="sales")
    await said(services, await sign_up("Other"), "likes secrets")
    assert {line["text"] for line in await exported(api, tenant)} == {"likes tea", "likes coffee", "likes water"}
    assert {line["text"] for line in await exported(api, tenant, subject="anna")} == {"likes tea", "likes coffee"}
    assert {line["text"] for line in await exported(api, tenant, agent="sales")} == {"likes tea", "likes water"}
    assert [line["text"] for line in await exported(api, tenant, agent="sales", subject="bert")] == ["likes water"]
    response = await get(api, tenant, subject="nobody")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    response = await get(api, tenant, subject="")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "subject")
    response = await get(api, tenant, agent="No")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "agent")


async def test_an_export_of_nothing_is_empty(api, tenant):
    assert await exported(api, tenant) == []


async def test_long_exports_come_in_parts(api, services, tenant, embeddings, monkeypatch):
    monkeypatch.setattr("tunery.memory.transfer.AT_ONCE", 7)
    monkeypatch.setattr("tunery.memory.transfer._SUBJECTS_AT_ONCE", 2)
    for subject in ("anna", "bert", "cleo", "dora", "emil"):
        await all_said(services, tenant, *(f"note {number} of {subject}" for number in range(15)), subject=subject)
    lines = await exported(api, tenant)
    assert len({line["text"] for line in lines}) == len(lines) == 75


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        (b"oops", "malformed_json", "malformed"),
        (b'{"subject": "\xff"}', "malformed_json", ""),
        (b"[1]", "wrong_format", "object"),
        ({"text": "x"}, "wrong_format", "subject"),
        ({"subject": "anna"}, "wrong_format", "text"),
        ({"subject": "anna", "text": "x", "colour": "red"}, "wrong_format", "colour"),
        ({"subject": "anna", "text": 1}, "wrong_format", "$.text"),
        ({"subject": "anna", "text": "x", "type": "rumour"}, "wrong_format", "rumour"),
        ({"subject": "anna", "text": "x" * 8_001}, "invalid_input", "text: a memory's text has 1 to 8,000"),
        ({"subject": "", "text": "x"}, "invalid_input", "subject:"),
        ({"subject": "anna", "text": "x", "kind": "rumour"}, "invalid_input", "kind:"),
        ({"subject": "anna", "text": "x", "importance": 2}, "invalid_input", "importance:"),
        ({"subject": "anna", "text": "x", "seen": 0}, "invalid_input", "seen:"),
        ({"subject": "anna", "text": "x", "ttl": 1e300}, "invalid_input", "ttl:"),
        (
            {"subject": "anna", "text": "x", "created_at": "2900-01-01T00:00:00Z"},
            "invalid_input",
            "created_at: this lies",
        ),
        (
            {"subject": "anna", "text": "x", "merged_into": "mem_1"},
            "invalid_input",
            "no line before this one is a memory",
        ),
        (
            {"subject": "anna", "text": "x", "conversation": "c"},
            "invalid_input",
            "no line before this one is a conversation",
        ),
        ({"subject": "bert", "text": "x", "merged_into": "known"}, "invalid_input", "of the same subject"),
        ({"subject": "anna", "text": "x", "merged_into": "known", "key": "k"}, "invalid_input", "stands for itself"),
        ({"subject": "bert", "text": "x", "conversation": "talk"}, "invalid_input", "of the same subject"),
        ({"subject": "anna", "text": "x", "id": "known"}, "invalid_input", "another line has the id"),
        ({"subject": "anna", "text": "x", "id": ""}, "invalid_input", "id:"),
        ({"type": "conversation", "subject": "anna", "messages": []}, "invalid_input", "messages:"),
        ({"type": "conversation", "subject": "anna", "messages": [{"role": "user"}]}, "wrong_format", "content"),
    ],
)
async def test_a_bad_line_is_told_by_its_number_and_nothing_is_kept(api, tenant, owner, line, code, says):
    good = ndjson(
        {"type": "conversation", "id": "talk", "subject": "anna", "messages": [{"role": "user", "content": "hello"}]},
        {"id": "known", "subject": "anna", "text": "likes tea"},
    )
    written = line if isinstance(line, bytes) else json.dumps(line).encode()
    response = await put(
        api, tenant, good + b"\n" + written + b"\n" + ndjson({"subject": "anna", "text": "fine"}) + b"bad"
    )
    assert response.status_code == 400
    error = response.json()["error"]
    assert (error["code"], error["param"], error["error_count"]) == ("invalid_import", "file", 2)
    assert [one["line"] for one in error["errors"]] == [4, 6]
    assert error["errors"][0]["code"] == code
    assert says in error["errors"][0]["message"]
    assert await rows_of(owner, tenant) == NOTHING


async def test_an_import_has_limits(api, tenant, owner, monkeypatch):
    line = ndjson({"subject": "anna", "text": "x"})
    monkeypatch.setattr(import_lines, "MOST_LINES", 3)
    assert "up to 3 lines" in (await put(api, tenant, line * 4)).json()["error"]["message"]
    monkeypatch.setattr(import_lines, "LONGEST_LINE", 100)
    wide = ndjson({"subject": "anna", "text": "x" * 100})
    assert (await put(api, tenant, wide)).json()["error"]["errors"][0]["code"] == "line_too_long"
    monkeypatch.setattr(import_lines, "MOST_BYTES", 1024**2)
    blank = b" " * 99 + b"\n"
    assert "up to 1 MB" in (await put(api, tenant, blank * 10_600 + line)).json()["error"]["message"]
    assert "no memory" in (await put(api, tenant, b"\n \n")).json()["error"]["message"]
    assert await rows_of(owner, tenant) == NOTHING


def test_a_line_that_does_not_end_is_refused_as_soon_as_it_is_too_long(clock):
    reader, given = ImportReader(clock.now()), 0
    reader.update(ndjson({"subject": "anna", "text": "x"}))
    with pytest.raises(InvalidImport, match="line 2: longer than the limit of 2,097,152 bytes") as refused:
        while True:
            reader.update(b"x" * 1024)
            given += 1024
    assert given == import_lines.LONGEST_LINE
    assert [error.line for error in refused.value.errors] == [2]


def test_a_line_is_searched_for_its_end_once(clock):
    """However small the parts are in which it comes: as many bytes are looked at as there are."""
    looked_at = []

    class Watched(bytearray):
        def find(self, sought: bytes, start: int = 0) -> int:
            looked_at.append(len(self) - start)
            return super().find(sought, start)

    reader = ImportReader(clock.now())
    reader._pending = Watched()
    line = ndjson({"subject": "anna", "text": "x" * 5_000})
    for byte in line:
        reader.update(bytes([byte]))
    assert sum(looked_at) == len(line)
    assert len(reader.memories) == 1


async def test_thousands_of_bad_lines_are_counted_and_the_first_shown(api, tenant):
    error = (await put(api, tenant, b"bad\n" * 1_500)).json()["error"]
    assert (error["error_count"], len(error["errors"])) == (1_500, 1_000)
    assert "(and 1499 more)" in error["message"]


async def test_what_expired_meanwhile_is_left_out(api, services, tenant, clock, embeddings):
    await said(services, tenant, "likes green tea and dark bread", ttl=timedelta(hours=1))
    await said(services, tenant, "really likes the green tea and dark bread")
    await said(services, tenant, "is away", ttl=timedelta(hours=1))
    await said(services, tenant, "owns a dog")
    lines = await exported(api, tenant)
    clock.travel(timedelta(hours=2))
    response = await put(api, tenant, ndjson(*lines))
    counts = response.json()
    assert (counts["expired"], counts["seen"], counts["stored"]) == (1, 3, 0), response.text


async def test_near_duplicates_of_an_import_are_noticed_when_it_is_embedded(api, services, tenant, embeddings):
    lines = [
        {"subject": "anna", "text": "likes green tea and dark bread"},
        {"subject": "anna", "text": "really likes the green tea and dark bread"},
        {"subject": "anna", "text": "likes green tea and 12 dark bread"},
    ]
    assert (await put(api, tenant, ndjson(*lines))).json()["stored"] == 3
    await mend_store(services, tenant.tenant_id)
    memories = await known(services, tenant)
    first = memories["likes green tea and dark bread"]
    assert memories["really likes the green tea and dark bread"].merged_into == first.id
    assert memories["likes green tea and 12 dark bread"].merged_into is None
    assert first.seen == 2


async def test_facts_of_an_import_close_each_other(api, services, tenant, embeddings):
    lines = [
        {"subject": "anna", "text": "lives in Oslo", "key": "home", "valid_from": "2021-01-01T00:00:00Z"},
        {"subject": "anna", "text": "lives in Rome", "key": "home", "valid_from": "2019-01-01T00:00:00Z"},
        {"subject": "anna", "text": "lives in Bonn", "key": "home", "valid_from": "2020-01-01T00:00:00Z"},
    ]
    await put(api, tenant, ndjson(*lines))
    memories = await known(services, tenant)
    ends = {text: memory.valid_to and memory.valid_to.year for text, memory in memories.items()}
    assert ends == {"lives in Rome": 2020, "lives in Bonn": 2021, "lives in Oslo": None}


async def test_thousands_of_lines_go_in_at_once(api, services, tenant, owner, embeddings):
    lines = [{"subject": f"person {number % 50}", "text": f"note {number}"} for number in range(2_000)]
    response = await put(api, tenant, ndjson(*lines))
    assert response.json()["stored"] == 2_000
    assert (await rows_of(owner, tenant))["memory_index"] == 2_000


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_without_a_key_nothing_goes_in_or_out(api, method):
    path = "/v1/memories/import" if method == "POST" else "/v1/memories/export"
    response = await api.client.request(method, path)
    assert (response.status_code, response.json()["error"]["code"]) == (401, "unauthenticated")


async def test_nobody_waits_for_the_end_of_an_import(api, services, tenant, owner, embeddings, monkeypatch):
    """Not even for that of a tenant's first one, nor while no model answers."""
    sound, begun, go_on = transfer.find_or_make_subjects, asyncio.Event(), asyncio.Event()

    async def take_long(*arguments):
        found = await sound(*arguments)
        begun.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(transfer, "find_or_make_subjects", take_long)
    importing = asyncio.create_task(put(api, tenant, ndjson({"subject": "anna", "text": "likes tea"})))
    await begun.wait()
    embeddings.away = True
    try:
        async with asyncio.timeout(10):
            await said(services, tenant, "likes coffee", subject="bert")
            assert await recalled(services, tenant, "coffee", "bert") == ["likes coffee"]
    finally:
        go_on.set()
        response = await importing
    assert response.json()["stored"] == 1
