"""The nearest of a new memory are looked for with little work."""

import json
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from tests.memory.indexed import BEGINNING, Points
from tests.memory.memories import all_said
from tests.memory.test_sealed import seal
from tests.memory.test_search import nodes_of
from tunery.memory import nearest, sealed_store
from tunery.memory.nearest import Sought
from tunery.memory.new_memory import NewMemory
from tunery.memory.remember import remember
from tunery.memory.stores import open_store

PERSON: Any = SimpleNamespace(id=UUID(int=1))
"""As far as the open index knows people."""


async def test_a_vector_is_parsed_once_and_other_shelves_are_not_looked_at(
    indexed, owner, monkeypatch: pytest.MonkeyPatch
):
    await owner.execute("SELECT memory_shelves.open()")
    tenant, points = await indexed(), Points(1)
    vectors = points.anywhere(50)
    await tenant.add(vectors)
    async with tenant.database.unit_of_work(tenant.tenant_id) as uow:
        store, ran = await open_store(uow), []
        sound = uow.session.execute
        monkeypatch.setattr(uow.session, "execute", lambda *given: ran.append(given) or sound(*given))
        asked = [(number, Sought(PERSON, "helper", "fact", BEGINNING, None, vectors[number])) for number in range(2)]
        assert set(await nearest._ranked_open(uow, store, tenant.model, asked)) == {0, 1}
        [(statement, parameters)] = ran
        explain = text(f"EXPLAIN (VERBOSE, FORMAT JSON) {statement.text}")
        [plan] = await uow.session.scalar(explain.bindparams(*statement._bindparams.values()), parameters)
    read = [node for node in nodes_of(plan["Plan"]) if "Relation Name" in node]
    assert {node["Relation Name"] for node in read} == {"shelf_0"}
    assert "<#> asked.vector)" in json.dumps(read), "as it is"
    assert "asked.vector)::" not in json.dumps(plan)


async def test_of_a_sealed_store_many_people_s_memories_are_opened_within_one_budget(
    services, tenant, embeddings, monkeypatch
):
    await seal(services, tenant)
    people = [f"person {number}" for number in range(5)]
    for number, person in enumerate(people):
        texts = ("likes tea", "owns a dog", "sings", "was away", "has a car")[: 1 if number == 0 else 5]
        await all_said(services, tenant, *texts, subject=person)
    sound, opened = sealed_store.open_embedding, []

    def open_embedding(subject: Any, *arguments: Any) -> bytes:
        opened.append(subject.name)
        return sound(subject, *arguments)

    monkeypatch.setattr(sealed_store, "open_embedding", open_embedding)
    monkeypatch.setattr(nearest, "MOST_OPENED", 13)
    await remember(services, tenant.tenant_id, [NewMemory(subject=person, text="plays chess") for person in people])
    # The first person has one alone: what it leaves is divided among the others.
    assert sorted(opened.count(person) for person in people) == [1, 3, 3, 3, 3]
