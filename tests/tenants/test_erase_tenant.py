"""The end of an organisation, through the API."""

import json
import secrets

import asyncpg
import pytest
from sqlalchemy import select

from tests.conftest import Api, SignedUpTenant
from tests.marketplace.market import Market
from tests.training.shop import chunks, jsonl
from tunery.app.tasks import WORKER_TASKS
from tunery.app.verify import TrustedKeys, verify_certificates
from tunery.core.database import Database
from tunery.core.errors import NotFound, Unauthenticated
from tunery.core.outbox import OutboxMessage, run_task
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.memory.conversations import Message, NewConversation, store_conversation
from tunery.memory.new_memory import NewMemory
from tunery.memory.recall import recall
from tunery.memory.remember import remember
from tunery.serving.deployments import create_deployment
from tunery.tenants.api_keys import authenticate
from tunery.training.data_sets import store_data_set
from tunery.training.models import AdapterVersion, DataSet, TrainingJob
from tunery.vault.keyring import Keyring
from tunery.vault.models import DataKey, SigningKey

PERSON = "anna@example.com"
SELECTION = "erasure { number certificate signature }"


@pytest.fixture
async def owner(settings):
    """Sees every tenant's rows."""
    connection = await asyncpg.connect(settings.database_url)
    yield connection
    await connection.close()


async def furnish(services: Services, tenant: SignedUpTenant, market: Market) -> dict[str, AdapterVersion]:
    """Something in every room."""
    await store_data_set(services, tenant.tenant_id, "anna.jsonl", chunks(jsonl()))
    await remember(services, tenant.tenant_id, [NewMemory(subject=PERSON, text="Anna is allergic to walnuts.")])
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        said = NewConversation(subject=PERSON, messages=[Message("user", "Hello!")])
        await store_conversation(uow, services.get(Keyring), said)
    listed, unlisted = await market.train(tenant, "listed"), await market.train(tenant, "unlisted")
    await market.publish(tenant, listed)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await create_deployment(uow, name="shop", adapter_version_id=listed.id)
    return {"listed": listed, "unlisted": unlisted}


async def everything(owner: asyncpg.Connection, tenant: SignedUpTenant) -> dict[str, list[str]]:
    """All of the tenant's rows, table by table."""
    tables = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relforcerowsecurity AND relkind IN ('r', 'p') AND NOT relispartition"
    )
    found = {}
    for name in {table["relname"] for table in tables}:
        column = "id" if name == "tenants" else "tenant_id"
        query = f"SELECT t::text FROM {name} t WHERE {column} = $1 ORDER BY 1"
        found[name] = [row[0] for row in await owner.fetch(query, tenant.tenant_id)]
    return found


async def run_tasks(services: Services, tenant: SignedUpTenant) -> None:
    async with services.get(Database).dispatch() as uow:
        due = select(OutboxMessage.id).where(
            OutboxMessage.tenant_id == tenant.tenant_id, OutboxMessage.handled_at.is_(None)
        )
        found = list(await uow.session.scalars(due))
    for identifier in found:
        await run_task(services, WORKER_TASKS, identifier)


async def test_nothing_of_it_can_be_read_any_more(services: Services, api: Api, sign_up, owner, tmp_path):
    tenant, neighbour = await sign_up(), await sign_up()
    market, database = Market(services, None, "", sign_up), services.get(Database)
    versions = await furnish(services, tenant, market)
    await furnish(services, neighbour, market)
    others = await everything(owner, neighbour)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        data_set_path = (
            await uow.session.scalars(select(DataSet.object_path).where(DataSet.name == "anna.jsonl"))
        ).one()
        # A lease that was lost before its files were promoted: nothing refers to them.
        left_over = f"attempts/{versions['unlisted'].job_id}/1/adapter/adapter_model.safetensors"
        await services.get(ObjectStorage).put(left_over, b"weights")
        # Without their training, these jobs stand as they were made.
        await uow.session.execute(TrainingJob.__table__.update().values(status="succeeded"))

    answer = await api.mutate("eraseTenant", SELECTION, tenant, confirm=tenant.slug)
    assert answer["userErrors"] == []
    await run_tasks(services, tenant)

    # It is proved,
    async with database.unit_of_work() as uow:
        keys = [key.public_key for key in await uow.session.scalars(select(SigningKey))]
    certificate = json.loads(answer["erasure"]["certificate"])
    line = json.dumps({key: answer["erasure"][key] for key in ("certificate", "signature")}).encode()
    (tmp_path / "certificates.ndjson").write_bytes(line)
    verify_certificates(tmp_path / "certificates.ndjson", TrustedKeys(keys))
    assert (certificate["scope"], certificate["subject"]) == ("tenant", None)
    assert {key["kind"] for key in certificate["destroyed"]} == {"tenant key", "data key"}
    assert certificate["deleted"]["memories"] == certificate["deleted"]["conversations"] == 1
    assert certificate["deleted"]["data sets"] >= 1
    assert certificate["deleted"]["adapter versions"] == certificate["deleted"]["listings"] == 1

    # no key opens,
    with pytest.raises(Unauthenticated, match="revoked"):
        await authenticate(services.get(Reader), tenant.headers["authorization"])
    async with database.unit_of_work(tenant.tenant_id) as uow:
        for identifier in await uow.session.scalars(select(DataKey.id)):
            with pytest.raises(NotFound):
                await services.get(Keyring).open_data_key(uow, identifier)
        with pytest.raises(NotFound):
            await services.get(Keyring).purpose_key(uow, "subject names")
    with pytest.raises(NotFound):
        await recall(services, tenant.tenant_id, "walnuts", subject=PERSON)

    # nothing of a person stands in a row, and the objects are gone.
    left = await everything(owner, tenant)
    for table in ("memories", "memory_index", "subjects", "conversations", "memory_stores"):
        assert left[table] == [], table
    text = json.dumps(left)
    assert "anna" not in text.lower()
    assert "owner@" not in text
    storage = services.get(ObjectStorage)
    for path in (data_set_path, left_over, f"{versions['unlisted'].object_prefix}/adapter_config.json"):
        with pytest.raises(FileNotFoundError):
            await storage.get(path)
    assert await storage.get(f"{versions['listed'].object_prefix}/adapter_config.json")

    assert await everything(owner, neighbour) == others


@pytest.mark.parametrize("confirm", ["", "another-shop", "{slug} "])
async def test_another_confirmation_changes_nothing(services: Services, api: Api, sign_up, owner, confirm: str):
    tenant = await sign_up()
    before = await everything(owner, tenant)
    answer = await api.mutate("eraseTenant", SELECTION, tenant, confirm=confirm.format(slug=tenant.slug))
    assert answer["erasure"] is None
    assert [(error["field"], error["code"]) for error in answer["userErrors"]] == [("confirm", "INVALID_INPUT")]
    assert await everything(owner, tenant) == before


async def test_an_unfinished_job_comes_first(services: Services, api: Api, sign_up, owner):
    tenant = await sign_up()
    await Market(services, None, "", sign_up).train(tenant, f"a-{secrets.token_hex(3)}")
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await uow.session.execute(TrainingJob.__table__.update().values(status="running"))
    before = await everything(owner, tenant)
    answer = await api.mutate("eraseTenant", SELECTION, tenant, confirm=tenant.slug)
    assert [(error["field"], error["code"]) for error in answer["userErrors"]] == [("confirm", "CONFLICT")]
    assert await everything(owner, tenant) == before
