"""Every table is either protected by row-level security or on the short list of global ones."""

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from tests.marketplace.market import Market
from tunery.app.settings import Settings
from tunery.core.database import Database
from tunery.core.reader import NOBODY
from tunery.core.services import Services
from tunery.marketplace.publish import withdraw_listing

ROLES = {"tunery_app", "tunery_dispatcher", "tunery_node"}
GLOBAL_TABLES = {"alembic_version", "base_models", "nodes", "signing_keys", "stripe_events"}
TENANT_COLUMN = {"tenants": "id"}
PROTECTED = (
    "SELECT relname FROM pg_class WHERE relforcerowsecurity AND relkind IN ('r', 'p')"
    " AND relnamespace = 'public'::regnamespace"
)
"""Partitions lie in a schema that no role may use (tests/memory/test_shelves.py)."""


@pytest.fixture
async def catalogue(settings: Settings):
    connection = await asyncpg.connect(settings.database_url)
    yield connection
    await connection.close()


async def test_every_tenant_table_is_protected(catalogue: asyncpg.Connection):
    tables = await catalogue.fetch(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname = 'public' AND relkind IN ('r', 'p')"
    )
    names = {table["relname"] for table in tables}
    assert names >= GLOBAL_TABLES | {"tenants", "api_keys", "training_jobs"}
    unprotected = {
        table["relname"] for table in tables if not (table["relrowsecurity"] and table["relforcerowsecurity"])
    }
    assert unprotected == GLOBAL_TABLES

    for name in names - GLOBAL_TABLES:
        column = TENANT_COLUMN.get(name, "tenant_id")
        policy = await catalogue.fetchrow(
            "SELECT qual, with_check FROM pg_policies WHERE tablename = $1 AND policyname = 'own_rows'", name
        )
        for expression in (policy["qual"], policy["with_check"]):
            assert f"({column} = ( SELECT (NULLIF(current_setting('tunery.tenant_id'" in expression, name


async def test_application_roles_own_nothing_and_bypass_nothing(catalogue: asyncpg.Connection):
    roles = await catalogue.fetch(
        "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname LIKE 'tunery_%'"
    )
    assert {role["rolname"] for role in roles} == ROLES
    for role in roles:
        assert not any(role[flag] for flag in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb"))
        owned = await catalogue.fetchval("SELECT count(*) FROM pg_class WHERE relowner = $1::regrole", role["rolname"])
        assert owned == 0


async def test_ledgers_cannot_be_changed_by_the_application(catalogue: asyncpg.Connection):
    for table in ("ledger_entries", "usage_events", "training_events", "checkpoints", "adapter_versions", "sales"):
        for role in ROLES:
            for privilege in ("UPDATE", "DELETE", "TRUNCATE"):
                assert not await catalogue.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, privilege)


async def test_unset_context_sees_no_rows_of_any_tenant_table(services: Services, sign_up, catalogue):
    await sign_up()
    protected = await catalogue.fetch(PROTECTED)
    database = services.get(Database)
    for table in protected:
        async with database.unit_of_work() as uow:
            count = await uow.session.scalar(text(f"SELECT count(*) FROM {table['relname']}"))
        assert count == 0, table["relname"]


async def test_the_public_views_show_what_is_published_to_everybody_alike(services: Services, sign_up, catalogue):
    seller, stranger = await sign_up("Seller"), await sign_up("Stranger")
    market = Market(services, None, "", sign_up)
    published, withdrawn = [
        await market.publish(seller, await market.train(seller, name)) for name in ("published", "withdrawn")
    ]
    async with services.get(Database).unit_of_work(seller.tenant_id) as uow:
        await withdraw_listing(uow, withdrawn.id)
    seen = {}
    for tenant_id in (NOBODY, seller.tenant_id, stranger.tenant_id, None):
        async with services.get(Database).unit_of_work(tenant_id) as uow:
            listings = await uow.session.execute(text("SELECT * FROM published_listings ORDER BY id"))
            versions = await uow.session.execute(text("SELECT * FROM published_listing_versions ORDER BY id"))
            sellers = await uow.session.execute(text("SELECT * FROM public_sellers ORDER BY tenant_id"))
            seen[tenant_id] = [[dict(row) for row in rows.mappings()] for rows in (listings, versions, sellers)]
    listings, versions, sellers = seen[NOBODY]
    assert published.id in {row["id"] for row in listings}
    assert {row["status"] for row in listings} == {"published"}
    assert {row["listing_id"] for row in versions} == {row["id"] for row in listings}
    assert seller.tenant_id in {row["tenant_id"] for row in sellers}
    assert stranger.tenant_id not in {row["tenant_id"] for row in sellers}
    assert all(rows == [listings, versions, sellers] for rows in seen.values())
    # What leads to files, and whose adapter it is, stays with the owner.
    for rows in (listings, versions):
        assert not rows[0].keys() & {"files", "object_prefix", "adapter_id", "job_id"}
    assert sellers[0].keys() == {"tenant_id", "namespace", "name"}
    for view in ("published_listings", "published_listing_versions", "public_sellers"):
        for privilege in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
            for role in ROLES:
                assert not await catalogue.fetchval("SELECT has_table_privilege($1, $2, $3)", role, view, privilege)


async def test_versions_are_public_as_long_as_their_listing_is_published(services: Services, sign_up):
    seller, stranger = await sign_up("Seller"), await sign_up("Stranger")
    market = Market(services, None, "", sign_up)
    version = await market.train(seller)
    listing = await market.publish(seller, version)
    database = services.get(Database)

    async def numbers_seen() -> list[list[int]]:
        seen = []
        for tenant_id in (NOBODY, seller.tenant_id, stranger.tenant_id, None):
            async with database.unit_of_work(tenant_id) as uow:
                query = text("SELECT number FROM published_listing_versions WHERE listing_id = :id")
                seen.append(list(await uow.session.scalars(query, {"id": listing.id})))
        return seen

    assert await numbers_seen() == [[1]] * 4
    async with database.unit_of_work(seller.tenant_id) as uow:
        await withdraw_listing(uow, listing.id)
    assert await numbers_seen() == [[]] * 4

    # Not even the seller can have it otherwise with SQL of their own.
    change = "UPDATE listing_versions SET listing_status = 'published' WHERE listing_id = :id"
    add = (
        "INSERT INTO listing_versions (listing_id, number, digest, base_model, manifest, files, object_prefix, created_at)"
        " VALUES (:id, 2, '', '', '{}', '[]', '', now())"
    )
    for statement, refusal in ((change, "permission denied"), (add, "violates foreign key constraint")):
        with pytest.raises(Exception, match=refusal):
            async with database.unit_of_work(seller.tenant_id) as uow:
                await uow.session.execute(text(statement), {"id": listing.id})
    async with database.unit_of_work(stranger.tenant_id) as uow:
        changed = await uow.session.execute(
            text("UPDATE listings SET status = 'published' WHERE id = :id"), {"id": listing.id}
        )
        assert changed.rowcount == 0
    assert await numbers_seen() == [[]] * 4

    await market.publish(seller, version)
    assert await numbers_seen() == [[1]] * 4


async def test_nothing_public_hangs_on_another_tenant_s_rows(services: Services, sign_up):
    """Nor with SQL of their own: the keys carry the tenant."""
    owner, stranger = await sign_up("Owner"), await sign_up("Stranger")
    market = Market(services, None, "", sign_up)
    listing = await market.publish(owner, await market.train(owner, "published"))
    unpublished = await market.train(owner, "unpublished")
    not_yet_a_seller = await sign_up("Later")
    version = (
        "INSERT INTO listing_versions (listing_id, number, digest, base_model, manifest, files, object_prefix, created_at)"
        f" VALUES ('{listing.id}', 2, '', '', '{{}}', '[]', '', now())"
    )
    another = (
        "INSERT INTO listings (adapter_id, name, base_model, title, description, licence, price, currency, status,"
        f" published_at) VALUES ('{unpublished.adapter_id}', 'mine', '', '', '', '', 50, 'usd', 'published', now())"
    )
    name = f"INSERT INTO sellers (namespace, name) VALUES ('{not_yet_a_seller.slug}', 'Later')"
    for statement in (version, another, name):
        with pytest.raises(IntegrityError, match="violates foreign key constraint"):
            async with services.get(Database).unit_of_work(stranger.tenant_id) as uow:
                await uow.session.execute(text(statement))
    async with services.get(Database).unit_of_work(NOBODY) as uow:
        shown = "SELECT number FROM published_listing_versions WHERE listing_id = :id"
        assert list(await uow.session.scalars(text(shown), {"id": listing.id})) == [1]
    await market.publish(owner, unpublished)
    await market.publish(not_yet_a_seller, await market.train(not_yet_a_seller))


async def test_nobody_sees_no_rows_of_a_tenant_s_own(services: Services, sign_up, catalogue):
    """The public's context: beside what is published it sees the sellers' names, and nothing else."""
    tenant = await sign_up("Owner")
    market = Market(services, None, "", sign_up)
    version = await market.train(tenant, "secret")
    await market.publish(tenant, version)
    protected = await catalogue.fetch(PROTECTED)
    for name in {table["relname"] for table in protected} - {"sellers", "listings", "listing_versions"}:
        async with services.get(Database).unit_of_work(NOBODY) as uow:
            assert await uow.session.scalar(text(f"SELECT count(*) FROM {name}")) == 0, name


async def test_a_tenant_sees_and_writes_its_own_rows_alone(services: Services, sign_up):
    one, other = await sign_up(), await sign_up()
    async with services.get(Database).unit_of_work(one.tenant_id) as uow:
        assert (await uow.session.scalars(text("SELECT id FROM tenants"))).all() == [one.tenant_id]
        changed = await uow.session.execute(
            text("UPDATE accounts SET balance = 1000 WHERE tenant_id = :other"), {"other": other.tenant_id}
        )
        assert changed.rowcount == 0
    with pytest.raises(Exception, match="row-level security"):
        async with services.get(Database).unit_of_work(one.tenant_id) as uow:
            await uow.session.execute(
                text(
                    "INSERT INTO members (tenant_id, email, role, created_at) VALUES (:other, 'x@y.z', 'owner', now())"
                ),
                {"other": other.tenant_id},
            )


async def test_context_ends_with_the_transaction(services: Services, sign_up):
    tenant = await sign_up()
    database = services.get(Database)
    for _ in range(30):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            assert await uow.session.scalar(text("SELECT count(*) FROM tenants")) == 1
        async with database.unit_of_work() as uow:
            assert await uow.session.scalar(text("SELECT count(*) FROM tenants")) == 0
