import asyncio
import hashlib

import asyncpg
import pytest
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError

from tunery.core.database import Database
from tunery.core.errors import InvalidInput, NotFound, Unavailable
from tunery.core.services import Services
from tunery.vault import envelopes
from tunery.vault.envelopes import ML_KEM_1024_P384, SUITES, X_WING
from tunery.vault.keyring import KeyDestroyed, Keyring, data_key_fingerprint, data_key_info, generate_data_key
from tunery.vault.models import DataKey, TenantKey
from tunery.vault.root_keys import LocalRootKey, RootKeys
from tunery.vault.rotation import rewrap_data_keys, rotate_tenant_key
from tunery.vault.sealing import UnsealingFailed


async def store(services: Services, tenant, key: bytes, purpose: str = "test") -> DataKey:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await services.get(Keyring).store_data_key(uow, key, purpose=purpose)


async def opened(services: Services, tenant, identifier) -> bytes:
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        return await services.get(Keyring).open_data_key(uow, identifier)


async def test_a_data_key_opens_for_its_tenant_until_it_is_destroyed(services: Services, sign_up, owner):
    tenant, stranger = await sign_up(), await sign_up()
    database, keyring, key = services.get(Database), services.get(Keyring), generate_data_key()
    identifier = (await store(services, tenant, key)).id
    assert await opened(services, tenant, identifier) == key
    async with database.unit_of_work(stranger.tenant_id) as uow:
        for act in (keyring.open_data_key, keyring.destroy_data_key):
            with pytest.raises(NotFound) as refused:
                await act(uow, identifier)
            assert type(refused.value) is NotFound
    assert await opened(services, tenant, identifier) == key

    async with database.unit_of_work(tenant.tenant_id) as uow:
        destroyed = await keyring.destroy_data_key(uow, identifier)
    assert (destroyed.kind, destroyed.purpose) == ("data key", "test")
    assert destroyed.fingerprint == data_key_fingerprint(key)
    assert len(destroyed.fingerprint) == 32
    async with database.unit_of_work(tenant.tenant_id) as uow:
        for act in (keyring.open_data_key, keyring.destroy_data_key):
            with pytest.raises(KeyDestroyed):
                await act(uow, identifier)
    # The tombstone says when, and holds no key.
    row = await owner.fetchrow("SELECT * FROM data_keys WHERE id = $1", identifier)
    assert row["destroyed_at"] == destroyed.destroyed_at
    assert row["wrapped_key"] is None
    assert row["fingerprint"] == destroyed.fingerprint


@pytest.mark.parametrize("suite", SUITES)
async def test_keys_open_in_either_suite(services: Services, sign_up, owner, suite: str):
    tenant, key = await sign_up(), generate_data_key()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await services.get(Keyring).create_tenant_key(uow, suite)
    row = await store(services, tenant, key)
    assert row.suite == suite
    assert await opened(services, tenant, row.id) == key
    assert await owner.fetchval("SELECT suite FROM tenant_keys WHERE id = $1", row.tenant_key_id) == suite


async def test_an_unknown_suite_is_refused(services: Services, sign_up, owner):
    tenant = await sign_up()
    with pytest.raises(InvalidInput, match="unknown suite 'RSA'; known are X-Wing/"):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await services.get(Keyring).create_tenant_key(uow, "RSA")
    assert await owner.fetchval("SELECT count(*) FROM tenant_keys WHERE tenant_id = $1", tenant.tenant_id) == 1


async def test_a_wrapped_key_opens_nowhere_else(services: Services, sign_up, owner, refusals):
    """Nor on behalf of another row, purpose, version, suite, tenant or root key; the rows stay as they are."""
    tenant, stranger = await sign_up(), await sign_up()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await services.get(Keyring).create_tenant_key(uow)
    keys = [generate_data_key() for _ in range(2)]
    one, two = [(await store(services, tenant, key, f"data set {key[:4].hex()}")).id for key in keys]
    foreign = (await store(services, stranger, generate_data_key(), f"data set {keys[0][:4].hex()}")).id
    before, private_before = refusals().get("data key", 0), refusals().get("tenant key", 0)
    swaps = {
        "wrapped key of another row": f"wrapped_key = (SELECT wrapped_key FROM data_keys WHERE id = '{two}')",
        "wrapped key of another tenant": f"wrapped_key = (SELECT wrapped_key FROM data_keys WHERE id = '{foreign}')",
        "purpose": "purpose = 'data set 3'",
        "version": "tenant_key_id = (SELECT id FROM tenant_keys t WHERE t.tenant_id = data_keys.tenant_id AND version = 1)",
        "suite": f"suite = '{ML_KEM_1024_P384}'",
        "no suite": "suite = ''",
        "truncated": "wrapped_key = substr(wrapped_key, 1, length(wrapped_key) - 1)",
        "without its tag": "wrapped_key = substr(wrapped_key, 1, length(wrapped_key) - 32)",
        "empty": "wrapped_key = ''",
        "extended": "wrapped_key = wrapped_key || 'x'",
    }
    for what, change in swaps.items():
        good = await owner.fetchrow(
            "SELECT wrapped_key, purpose, suite, tenant_key_id FROM data_keys WHERE id = $1", one
        )
        await owner.execute(f"UPDATE data_keys SET {change} WHERE id = '{one}'")
        changed = await owner.fetchrow("SELECT * FROM data_keys WHERE id = $1", one)
        with pytest.raises(UnsealingFailed):
            await opened(services, tenant, one)
        assert await owner.fetchrow("SELECT * FROM data_keys WHERE id = $1", one) == changed, what
        await owner.execute(
            "UPDATE data_keys SET wrapped_key = $2, purpose = $3, suite = $4, tenant_key_id = $5 WHERE id = $1",
            one,
            *good,
        )
        assert await opened(services, tenant, one) == keys[0]
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        with pytest.raises(Unavailable, match="root key that this needs is not here"):
            await Keyring(RootKeys([LocalRootKey(bytes(32))])).open_data_key(uow, one)
    assert refusals()["data key"] == before + len(swaps)
    assert refusals().get("tenant key", 0) == private_before


async def test_a_private_key_opens_in_its_own_row_alone(services: Services, sign_up, owner, refusals):
    tenant, stranger = await sign_up(), await sign_up()
    key = (await store(services, tenant, generate_data_key())).id
    before = refusals().get("tenant key", 0)
    foreign = f"(SELECT sealed_private_key FROM tenant_keys WHERE tenant_id = '{stranger.tenant_id}')"
    for change in (f"sealed_private_key = {foreign}", "version = 2", "sealed_private_key = 'x'", "root_key = ''"):
        good = await owner.fetchrow(
            "SELECT sealed_private_key, version, root_key FROM tenant_keys WHERE tenant_id = $1", tenant.tenant_id
        )
        await owner.execute(f"UPDATE tenant_keys SET {change} WHERE tenant_id = '{tenant.tenant_id}'")
        with pytest.raises(UnsealingFailed):
            await opened(services, tenant, key)
        await owner.execute(
            "UPDATE tenant_keys SET sealed_private_key = $2, version = $3, root_key = $4 WHERE tenant_id = $1",
            tenant.tenant_id,
            *good,
        )
    assert await opened(services, tenant, key)
    assert refusals()["tenant key"] == before + 4


async def test_a_retired_version_is_refused(services: Services, sign_up, owner, refusals):
    tenant, key = await sign_up(), generate_data_key()
    identifier = (await store(services, tenant, key)).id
    old = await owner.fetchrow("SELECT wrapped_key, tenant_key_id, suite FROM data_keys WHERE id = $1", identifier)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await rotate_tenant_key(uow, services.get(Keyring))
    await rewrap_data_keys(services, tenant.tenant_id)
    assert await opened(services, tenant, identifier) == key
    before = refusals().get("data key", 0)

    put_back = "UPDATE data_keys SET wrapped_key = $2, tenant_key_id = $3, suite = $4 WHERE id = $1"
    new = await owner.fetchrow("SELECT wrapped_key, tenant_key_id, suite FROM data_keys WHERE id = $1", identifier)
    await owner.execute(put_back, identifier, *old)
    with pytest.raises(UnsealingFailed, match="version 1 of the tenant's key is retired"):
        await opened(services, tenant, identifier)
    await owner.execute(put_back, identifier, old["wrapped_key"], new["tenant_key_id"], new["suite"])
    with pytest.raises(UnsealingFailed, match="does not open"):
        await opened(services, tenant, identifier)
    assert refusals()["data key"] == before + 2


async def test_a_purpose_has_one_key_however_many_ask_for_it_at_once(services: Services, sign_up, owner):
    tenant = await sign_up()

    async def ask(purpose: str):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            found = await services.get(Keyring).purpose_key(uow, purpose)
            await asyncio.sleep(0.01)
            return found

    found = await asyncio.gather(*(ask("search terms") for _ in range(20)), *(ask("names") for _ in range(20)))
    assert len(set(found)) == 2
    assert await ask("search terms") == found[0]
    living = "SELECT count(*) FROM data_keys WHERE tenant_id = $1"
    assert await owner.fetchval(living, tenant.tenant_id) == 2

    # Two at once by hand: the second waits for the first, and gets the first's key.
    database, keyring = services.get(Database), services.get(Keyring)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        first = await keyring.purpose_key(uow, "third")
        second = asyncio.create_task(ask("third"))
        await asyncio.sleep(0.2)
        assert not second.done()
    assert await second == first


async def test_a_purpose_s_key_is_made_anew_after_its_destruction(services: Services, sign_up):
    tenant = await sign_up()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        first = await services.get(Keyring).purpose_key(uow, "names")
        await services.get(Keyring).destroy_data_key(uow, first.id)
        second = await services.get(Keyring).purpose_key(uow, "names")
    assert first.id != second.id
    assert first.key != second.key
    with pytest.raises(IntegrityError, match="uq_data_keys_living"):
        await store(services, tenant, generate_data_key(), "names")


async def test_shredding_leaves_nothing_that_opens(services: Services, sign_up, owner):
    tenant, other = await sign_up(), await sign_up()
    database, keyring = services.get(Database), services.get(Keyring)
    kept = (await store(services, other, generate_data_key())).id
    keys = [(await store(services, tenant, generate_data_key(), f"data set {i}")).id for i in range(3)]
    async with database.unit_of_work(tenant.tenant_id) as uow:
        await rotate_tenant_key(uow, keyring)
        await keyring.destroy_data_key(uow, keys[0])
    async with database.unit_of_work(tenant.tenant_id) as uow:
        destroyed = await keyring.shred_tenant(uow)
    assert [(key.kind, key.purpose) for key in destroyed] == [
        ("tenant key", "version 1"), ("tenant key", "version 2"), ("data key", "data set 1"), ("data key", "data set 2")
    ]  # fmt: skip
    assert len({key.fingerprint for key in destroyed}) == 4

    left = "SELECT count(sealed_private_key) FROM tenant_keys WHERE tenant_id = $1"
    assert await owner.fetchval(left, tenant.tenant_id) == 0
    left = "SELECT count(wrapped_key) FROM data_keys WHERE tenant_id = $1"
    assert await owner.fetchval(left, tenant.tenant_id) == 0
    async with database.unit_of_work(tenant.tenant_id) as uow:
        for identifier in keys:
            with pytest.raises(KeyDestroyed):
                await keyring.open_data_key(uow, identifier)
        for act in (
            keyring.purpose_key(uow, "names"),
            keyring.store_data_key(uow, generate_data_key(), purpose="x"),
            rotate_tenant_key(uow, keyring),
        ):
            with pytest.raises(KeyDestroyed):
                await act
        assert await keyring.shred_tenant(uow) == []
    assert await opened(services, other, kept)


async def test_a_restored_data_key_of_a_shredded_tenant_does_not_open(services: Services, sign_up, owner):
    tenant = await sign_up()
    identifier = (await store(services, tenant, generate_data_key())).id
    wrapped = await owner.fetchval("SELECT wrapped_key FROM data_keys WHERE id = $1", identifier)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        await services.get(Keyring).shred_tenant(uow)
    # As a restored backup does.
    await owner.execute("SET session_replication_role = replica")
    await owner.execute("UPDATE data_keys SET wrapped_key = $2, destroyed_at = NULL WHERE id = $1", identifier, wrapped)
    with pytest.raises(KeyDestroyed):
        await opened(services, tenant, identifier)


async def test_the_application_brings_back_no_key_that_it_copied(services: Services, sign_up):
    """Neither in its own row nor as another one, with SQL of its own."""
    tenant = await sign_up()
    database, keyring = services.get(Database), services.get(Keyring)
    identifier = (await store(services, tenant, generate_data_key())).id
    columns = "tenant_key_id, suite, purpose, wrapped_key, fingerprint, created_at"
    async with database.unit_of_work(tenant.tenant_id) as uow:
        key = (await uow.session.execute(text(f"SELECT {columns} FROM data_keys"))).mappings().one()
        tenant_key = (await uow.session.execute(text("SELECT * FROM tenant_keys"))).mappings().one()
    async with database.unit_of_work(tenant.tenant_id) as uow:
        await keyring.destroy_data_key(uow, identifier)
    for table, column, copy in (("data_keys", "wrapped_key", key), ("tenant_keys", "sealed_private_key", tenant_key)):
        if table == "tenant_keys":
            # As a row of its own, under the tenant key that lives on, it does not open either.
            async with database.unit_of_work(tenant.tenant_id) as uow:
                values = ", ".join(f":{name}" for name in columns.split(", "))
                again = text(f"INSERT INTO data_keys ({columns}) VALUES ({values}) RETURNING id")
                other = await uow.session.scalar(again, dict(key))
            with pytest.raises(UnsealingFailed, match="for another row"):
                await opened(services, tenant, other)
            async with database.unit_of_work(tenant.tenant_id) as uow:
                await keyring.shred_tenant(uow)
        with pytest.raises(IntegrityError, match="this key is destroyed"):
            async with database.unit_of_work(tenant.tenant_id) as uow:
                back = text(f"UPDATE {table} SET {column} = :copy, destroyed_at = NULL")
                await uow.session.execute(back, {"copy": copy[column]})
    with pytest.raises(KeyDestroyed):
        await opened(services, tenant, identifier)


@pytest.mark.parametrize("suite", SUITES)
async def test_a_data_key_that_somebody_else_wrapped_does_not_open(services: Services, sign_up, suite: str):
    """Everybody may wrap to a public key; who reads it in SQL, too."""
    tenant = await sign_up()
    database = services.get(Database)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        target = await services.get(Keyring).create_tenant_key(uow, suite)

    def wrap(purpose: str) -> bytes:
        info = data_key_info(tenant.tenant_id, target.version, purpose)
        return envelopes.wrap(suite, bytes(32), target.public_key, info)

    async def plant(purpose: str, wrapped: bytes, known_as: str) -> None:
        async with database.unit_of_work(tenant.tenant_id) as uow:
            row = {"tenant_key_id": target.id, "suite": suite, "purpose": purpose, "fingerprint": known_as}
            await uow.session.execute(insert(DataKey).values(**row, wrapped_key=wrapped, created_at=uow.now()))

    untagged = wrap("webhook")
    as_before_tags = hashlib.sha256(untagged).hexdigest()[:32]
    with pytest.raises(IntegrityError, match="this key has no tag"):
        await plant("webhook", untagged, as_before_tags)
    await plant("webhook", bytes(1200), as_before_tags)
    with pytest.raises(IntegrityError, match="this key has no tag"):
        async with database.unit_of_work(tenant.tenant_id) as uow:
            await uow.session.execute(update(DataKey).values(wrapped_key=untagged))
    await plant("totp", wrap("totp"), as_before_tags)
    await plant("sso", wrap("sso") + bytes(32), "")
    for purpose in ("webhook", "totp", "sso"):
        with pytest.raises(UnsealingFailed, match="somebody else wrapped it"):
            async with database.unit_of_work(tenant.tenant_id) as uow:
                await services.get(Keyring).purpose_key(uow, purpose)


async def test_a_tenant_key_that_somebody_else_made_gets_no_data_key(services: Services, sign_up, owner):
    """It can be put there with SQL of the application's, but not be used: the root key never sealed it."""
    tenant, key = await sign_up(), generate_data_key()
    database = services.get(Database)
    identifier = (await store(services, tenant, key)).id
    _, public = envelopes.generate_key_pair(envelopes.X_WING)
    async with database.unit_of_work(tenant.tenant_id) as uow:
        old = (await uow.session.scalars(select(TenantKey))).one()
        uow.session.add(
            TenantKey(
                version=2,
                suite=old.suite,
                public_key=public,
                sealed_private_key=old.sealed_private_key,
                root_key=old.root_key,
                fingerprint="",
                created_at=uow.now(),
            )
        )
    with pytest.raises(UnsealingFailed):
        await rewrap_data_keys(services, tenant.tenant_id)
    with pytest.raises(UnsealingFailed):
        await store(services, tenant, generate_data_key(), purpose="another")
    assert await opened(services, tenant, identifier) == key
    await owner.execute("DELETE FROM tenant_keys WHERE tenant_id = $1 AND version = 2", tenant.tenant_id)


async def test_storing_and_shredding_at_once_leaves_no_living_key(services: Services, sign_up, owner):
    database, keyring = services.get(Database), services.get(Keyring)
    for _ in range(5):
        tenant = await sign_up()

        async def write(number: int, tenant=tenant) -> None:
            async with database.unit_of_work(tenant.tenant_id) as uow:
                await keyring.store_data_key(uow, generate_data_key(), purpose=f"{number}")
                await asyncio.sleep(0.005)

        async def rotate(tenant=tenant) -> None:
            async with database.unit_of_work(tenant.tenant_id) as uow:
                await rotate_tenant_key(uow, keyring)

        async def shred(tenant=tenant) -> None:
            await asyncio.sleep(0.02)
            async with database.unit_of_work(tenant.tenant_id) as uow:
                await keyring.shred_tenant(uow)

        outcomes = await asyncio.gather(
            *(write(number) for number in range(15)), rotate(), shred(), rotate(), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} <= {type(None), KeyDestroyed}
        for table, key in (("data_keys", "wrapped_key"), ("tenant_keys", "sealed_private_key")):
            left = f"SELECT count(*) FROM {table} WHERE tenant_id = $1 AND ({key} IS NOT NULL OR destroyed_at IS NULL)"
            assert await owner.fetchval(left, tenant.tenant_id) == 0, table


async def test_versions_follow_one_another_whoever_makes_them(services: Services, sign_up, owner):
    tenant = await sign_up()

    async def rotate(suite: str) -> None:
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await rotate_tenant_key(uow, services.get(Keyring), suite)

    await asyncio.gather(*(rotate(suite) for suite in SUITES * 4))
    versions = await owner.fetch("SELECT version FROM tenant_keys WHERE tenant_id = $1 ORDER BY 1", tenant.tenant_id)
    assert [row["version"] for row in versions] == list(range(1, 10))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE data_keys SET purpose = 'mine'",
        "UPDATE data_keys SET fingerprint = ''",
        "UPDATE data_keys SET tenant_id = uuidv7()",
        "DELETE FROM data_keys",
        "DELETE FROM tenant_keys",
        "UPDATE tenant_keys SET version = 9",
        "UPDATE tenant_keys SET public_key = ''",
        "UPDATE signing_keys SET public_key = ''",
        "UPDATE signing_keys SET sealed_private_key = ''",
        "UPDATE secrets SET sealed_value = ''",
        "UPDATE erasures SET certificate = ''",
        "DELETE FROM erasures",
    ],
)
async def test_the_application_cannot_change_what_keys_are(services: Services, sign_up, statement: str):
    tenant = await sign_up()
    await store(services, tenant, generate_data_key())
    with pytest.raises(Exception, match="permission denied"):
        async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
            await uow.session.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT sealed_private_key FROM tenant_keys",
        "SELECT wrapped_key FROM data_keys",
        "SELECT purpose FROM data_keys",
        "UPDATE tenant_keys SET root_key = ''",
        "UPDATE data_keys SET destroyed_at = now()",
        "UPDATE signing_keys SET public_key = ''",
        "SELECT * FROM secrets",
        "SELECT * FROM erasures",
    ],
)
async def test_the_dispatcher_sees_whose_keys_there_are_and_no_key(services: Services, sign_up, statement: str):
    await store(services, await sign_up(), generate_data_key())
    with pytest.raises(Exception, match="permission denied"):
        async with services.get(Database).dispatch() as uow:
            await uow.session.execute(text(statement))


async def test_rows_hang_on_keys_of_their_own_tenant_alone(services: Services, sign_up):
    """Nor with SQL of their own."""
    tenant, stranger = await sign_up(), await sign_up()
    key = await store(services, tenant, generate_data_key())
    mine = await store(services, stranger, generate_data_key())
    data_key = (
        "INSERT INTO data_keys (tenant_key_id, purpose, suite, wrapped_key, fingerprint, created_at)"
        f" VALUES ('{key.tenant_key_id}', 'mine', '', '', '', now())"
    )
    secret = f"INSERT INTO secrets (data_key_id, sealed_value, created_at) VALUES ('{key.id}', '', now())"
    data_set = (
        "INSERT INTO data_sets (name, rows, size, sha256, data_key_id, object_path, created_at)"
        f" VALUES ('', 1, 1, '', '{key.id}', '', now())"
    )
    moved = f"UPDATE data_keys SET tenant_key_id = '{key.tenant_key_id}' WHERE id = '{mine.id}'"
    for statement in (data_key, secret, data_set, moved):
        with pytest.raises(IntegrityError, match="violates foreign key constraint"):
            async with services.get(Database).unit_of_work(stranger.tenant_id) as uow:
                await uow.session.execute(text(statement))


async def test_a_living_row_has_its_key_and_a_destroyed_one_has_none(services: Services, sign_up, owner):
    tenant = await sign_up()
    key = await store(services, tenant, generate_data_key())
    for change in (
        f"UPDATE data_keys SET wrapped_key = NULL WHERE id = '{key.id}'",
        f"UPDATE data_keys SET destroyed_at = now() WHERE id = '{key.id}'",
        f"UPDATE tenant_keys SET sealed_private_key = NULL WHERE id = '{key.tenant_key_id}'",
        f"UPDATE tenant_keys SET retired_at = now() WHERE id = '{key.tenant_key_id}'",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(change)


async def test_keys_from_before_rows_named_their_root_key_open(services: Services, sign_up, owner):
    """As the first release sealed them, byte for byte."""
    from tunery.vault.derivation import derive
    from tunery.vault.sealing import seal

    tenant, keyring = await sign_up(), services.get(Keyring)
    identifier = (await store(services, tenant, generate_data_key())).id
    row = await owner.fetchrow("SELECT * FROM tenant_keys WHERE tenant_id = $1", tenant.tenant_id)
    private = await keyring.unseal_tenant_key(tenant.tenant_id, 1, row["root_key"], row["sealed_private_key"])
    context = f"tenant_keys/sealed_private_key/{tenant.tenant_id}/1".encode()
    key = await opened(services, tenant, identifier)
    [root] = keyring.root_keys.local
    sealed = seal(derive(root.key, "tenant keys"), context, private)
    await owner.execute(
        "UPDATE tenant_keys SET sealed_private_key = $2, root_key = '' WHERE id = $1", row["id"], sealed
    )
    assert await opened(services, tenant, identifier) == key
    other_first = Keyring(RootKeys([LocalRootKey(bytes(32)), root]))
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        assert await other_first.open_data_key(uow, identifier) == key
        with pytest.raises(UnsealingFailed):
            await Keyring(RootKeys([LocalRootKey(bytes(32))])).open_data_key(uow, identifier)


async def test_the_default_suite_is_x_wing(services: Services, sign_up):
    assert (await store(services, await sign_up(), generate_data_key())).suite == X_WING


async def test_what_is_destroyed_stays_so_in_a_transaction_that_loaded_it(services: Services, sign_up):
    tenant = await sign_up()
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        row = await services.get(Keyring).store_data_key(uow, generate_data_key(), purpose="x")
        await services.get(Keyring).destroy_data_key(uow, row.id)
        with pytest.raises(KeyDestroyed):
            await services.get(Keyring).open_data_key(uow, row.id)
    async with services.get(Database).unit_of_work(tenant.tenant_id) as uow:
        undone = update(DataKey).values(destroyed_at=None)
        with pytest.raises(IntegrityError, match="this key is destroyed"):
            await uow.session.execute(undone)
