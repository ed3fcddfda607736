"""The end of an organisation, through the API."""

import asyncio
import json
import secrets
from pathlib import Path
from uuid import UUID, uuid4

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
from tunery.marketplace.erase import PAID_BY
from tunery.marketplace.models import Sale
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
from tunery.vault.secrets import keep_secret

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
        await keep_secret(uow, services.get(Keyring), "webhook", b"a secret")
    listed, unlisted, sold = [await market.train(tenant, name) for name in ("listed", "unlisted", "sold")]
    await market.publish(tenant, listed)
    listing_id = (await market.publish(tenant, sold)).id
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await create_deployment(uow, name="shop", adapter_version_id=listed.id)
        bought = {"purchase_id": uuid4(), "listing_id": listing_id, "gross": 1000, "fee": 100, "net": 900}
        uow.session.add(Sale(**bought, currency="usd", created_at=uow.now()))
    return {"listed": listed, "unlisted": unlisted, "sold": sold}


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
    """Those that are due, each once, and what comes of them."""
    ran: set[UUID] = set()
    while True:
        async with services.get(Database).dispatch() as uow:
            due = select(OutboxMessage.id).where(
                OutboxMessage.tenant_id == tenant.tenant_id,
                OutboxMessage.handled_at.is_(None),
                OutboxMessage.available_at <= uow.now(),
            )
            found = set(await uow.session.scalars(due)) - ran
        if not found:
            return
        for identifier in found:
            await run_task(services, WORKER_TASKS, identifier)
        ran |= found


async def assert_proved(database: Database, erasure: dict, before: dict[str, list[str]], file: Path) -> None:
    """By a certificate that verifies, and says of each table what was there."""
    async with database.unit_of_work() as uow:
        keys = [key.public_key for key in await uow.session.scalars(select(SigningKey))]
    line = json.dumps({key: erasure[key] for key in ("certificate", "signature")})
    await asyncio.to_thread(file.write_text, line)
    verify_certificates(file, TrustedKeys(keys))
    certificate = json.loads(erasure["certificate"])
    assert (certificate["scope"], certificate["subject"]) == ("tenant", None)
    assert {key["kind"] for key in certificate["destroyed"]} == {"tenant key", "data key"}
    assert certificate["deleted"]["memories"] == certificate["deleted"]["conversations"] == 1
    assert certificate["ended"].pop("adapter_versions") == 1  # those that were listed stay
    for table, rows in {**certificate["deleted"], **certificate["ended"]}.items():
        assert len(before[table]) == rows, table


async def test_nothing_of_it_can_be_read_any_more(services: Services, api: Api, sign_up, owner, clock, tmp_path):
    tenant, neighbour = await sign_up(), await sign_up()
    market, database = Market(services, None, "", sign_up), services.get(Database)
    versions = await furnish(services, tenant, market)
    versions_of_others = await furnish(services, neighbour, market)
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

    before = await everything(owner, tenant)
    answer = await api.mutate("eraseTenant", SELECTION, tenant, confirm=tenant.slug)
    assert answer["userErrors"] == []
    await run_tasks(services, tenant)

    # It is proved,
    await assert_proved(database, answer["erasure"], before, tmp_path / "certificates.ndjson")

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
    for kept in ("listed", "sold"):
        assert await storage.get(f"{versions[kept].object_prefix}/adapter_config.json")
    assert left["secrets"] == []

    # What nobody has bought a month later, nobody will.
    clock.travel(PAID_BY)
    await run_tasks(services, tenant)
    with pytest.raises(FileNotFoundError):
        await storage.get(f"{versions['listed'].object_prefix}/adapter_config.json")
    assert await storage.get(f"{versions['sold'].object_prefix}/adapter_config.json")

    assert await everything(owner, neighbour) == others
    for version in versions_of_others.values():
        assert await storage.get(f"{version.object_prefix}/adapter_config.json")


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
