"""What somebody could do with a node's access to the database."""

from decimal import Decimal

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tests.conftest import NodeDatabase, SignedUpTenant
from tests.marketplace.market import Market
from tunery.billing.accounts import _write
from tunery.core.outbox import NODE_QUEUE, enqueue
from tunery.core.services import Services
from tunery.training.models import AdapterVersion
from tunery.training.request_grant import GRANT

REACHED = {
    "accounts": {"SELECT", "UPDATE"},
    "adapter_versions": {"SELECT", "INSERT"},
    "adapters": {"SELECT"},
    "base_models": {"SELECT"},
    "checkpoints": {"SELECT", "INSERT"},
    "data_sets": {"SELECT"},
    "lease_grants": {"SELECT", "INSERT", "DELETE"},
    "ledger_entries": {"SELECT", "INSERT"},
    "nodes": {"SELECT", "INSERT", "UPDATE", "DELETE"},
    "outbox": {"SELECT", "INSERT", "UPDATE"},
    "quotes": {"SELECT"},
    "reservations": {"SELECT", "UPDATE"},
    "training_events": {"SELECT", "INSERT"},
    "training_jobs": {"SELECT", "UPDATE"},
    "usage_events": {"SELECT", "INSERT"},
}
"""So neither keys nor certificates, neither memories nor people, neither members nor API keys."""


async def test_it_reaches_these_tables_and_no_other(owner):
    found = await owner.fetch("""
        SELECT relname, privilege
        FROM pg_class, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES']) AS privilege
        WHERE relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
          AND relkind IN ('r', 'p', 'v', 'm') AND relname NOT LIKE 'pg_%'
          AND CASE WHEN privilege IN ('DELETE', 'TRUNCATE') THEN has_table_privilege('tunery_node', oid, privilege)
              ELSE has_any_column_privilege('tunery_node', oid, privilege) END
    """)
    reached: dict[str, set[str]] = {}
    for row in found:
        reached.setdefault(row["relname"], set()).add(row["privilege"])
    assert reached == REACHED
    assert not await owner.fetchval("SELECT has_schema_privilege('tunery_node', 'memory_shelves', 'USAGE')")


@pytest.fixture
async def trained(services: Services, sign_up) -> tuple[SignedUpTenant, AdapterVersion]:
    """A tenant with a job that has ended."""
    tenant = await sign_up()
    version = await Market(services, None, "", sign_up).train(tenant)
    return tenant, version


@pytest.fixture
async def ended(owner, trained) -> SignedUpTenant:
    tenant, version = trained
    await owner.execute("UPDATE training_jobs SET status = 'succeeded' WHERE id = $1", version.job_id)
    return tenant


async def rows(owner, tenant: SignedUpTenant) -> list[str]:
    return [
        row[0]
        for row in await owner.fetch("SELECT t::text FROM training_jobs t WHERE tenant_id = $1", tenant.tenant_id)
    ]


@pytest.mark.parametrize("change", ["status = 'queued'", "lease_token = lease_token + 1, lease_node = 'mine'"])
async def test_a_job_that_has_ended_stays_so(services: Services, owner, ended: SignedUpTenant, change: str):
    """A worker would give a living job's data set to whoever holds its lease."""
    before = await rows(owner, ended)
    database = services.get(NodeDatabase)
    for context in (database.dispatch(), database.unit_of_work(ended.tenant_id)):
        async with context as uow:
            revive = text(f"UPDATE training_jobs SET {change} WHERE tenant_id = :id")
            assert (await uow.session.execute(revive, {"id": ended.tenant_id})).rowcount == 0
    assert await rows(owner, ended) == before


async def test_of_jobs_that_have_ended_it_lists_none(services: Services, ended: SignedUpTenant, trained):
    _, version = trained
    async with services.get(NodeDatabase).dispatch() as uow:
        seen = set(await uow.session.scalars(text("SELECT id FROM training_jobs")))
    assert version.job_id not in seen


async def test_a_job_that_has_ended_gets_nothing_more(services: Services, ended: SignedUpTenant, trained):
    _, version = trained
    again = (
        "INSERT INTO adapter_versions (adapter_id, number, job_id, digest, manifest, files, object_prefix, created_at)"
        " VALUES (:adapter, 99, :job, 'x', '{}', '[]', 'x', now())"
    )
    with pytest.raises(DBAPIError, match="violates row-level security"):
        async with services.get(NodeDatabase).unit_of_work(ended.tenant_id) as uow:
            await uow.session.execute(text(again), {"adapter": version.adapter_id, "job": version.job_id})


async def test_earnings_and_what_chats_hold_are_out_of_reach(services: Services, owner, trained):
    tenant, _ = trained
    await owner.execute(
        "INSERT INTO accounts (tenant_id, kind, currency, balance, reserved) VALUES ($1, 'earnings', 'usd', 5, 0)"
        " ON CONFLICT DO NOTHING",
        tenant.tenant_id,
    )
    async with services.get(NodeDatabase).unit_of_work(tenant.tenant_id) as uow:
        found = await uow.session.execute(text("UPDATE accounts SET balance = balance RETURNING kind"))
        assert [row.kind for row in found] == ["credit"]
        # The market's reservation is of no quote.
        held = await uow.session.execute(text("UPDATE reservations SET settled = settled"))
        assert held.rowcount == 0
    with pytest.raises(DBAPIError, match="violates row-level security"):
        async with services.get(NodeDatabase).unit_of_work(tenant.tenant_id) as uow:
            _write(uow, account="credit", kind="top-up", source="quote:x", amount=Decimal(10))
            await uow.session.flush()


@pytest.mark.parametrize("column", ["quote_id", "data_key_id", "adapter_id", "reservation_id", "tenant_id"])
async def test_a_job_is_of_what_it_was_made_of(services: Services, trained, column: str):
    tenant, _ = trained
    with pytest.raises(DBAPIError, match="permission denied"):
        async with services.get(NodeDatabase).unit_of_work(tenant.tenant_id) as uow:
            await uow.session.execute(text(f"UPDATE training_jobs SET {column} = uuidv7()"))


async def test_within_a_tenants_context_it_sees_no_other(services: Services, sign_up, trained):
    stranger = await sign_up()
    database = services.get(NodeDatabase)
    for table in REACHED.keys() - {"base_models", "nodes"}:
        async with database.unit_of_work(stranger.tenant_id) as uow:
            where = (
                "WHERE queue <> 'tunery:node' AND tenant_id <> :id" if table == "outbox" else "WHERE tenant_id <> :id"
            )
            seen = await uow.session.scalar(text(f"SELECT count(*) FROM {table} {where}"), {"id": stranger.tenant_id})
        assert seen == 0, table


@pytest.mark.parametrize("task", ["tenants.finish_erasure", "training.delete_object", "marketplace.record_sale"])
async def test_it_asks_a_worker_for_a_grant_and_for_nothing_else(services: Services, trained, task: str):
    tenant, _ = trained
    database = services.get(NodeDatabase)
    with pytest.raises(DBAPIError, match="violates row-level security"):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            enqueue(uow, task)
    with pytest.raises(DBAPIError, match="violates row-level security"):
        async with database.dispatch() as uow:
            enqueue(uow, GRANT)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        enqueue(uow, GRANT, tenant_id=str(tenant.tenant_id), grant_id=str(tenant.tenant_id))
        enqueue(uow, "training.ring", queue=NODE_QUEUE)
