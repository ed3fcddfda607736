"""New keys in the place of old ones, while others read and write, and while the work is interrupted."""

import asyncio
import itertools
from contextlib import suppress
from uuid import UUID

import pytest
from arq.connections import ArqRedis
from sqlalchemy import select

from tunery.app.tasks import SWEEPS, WORKER_TASKS
from tunery.core.clock import Clock
from tunery.core.database import Database
from tunery.core.outbox import OutboxMessage, run_task
from tunery.core.services import Services
from tunery.vault import envelopes, rotation
from tunery.vault.envelopes import ML_KEM_1024_P384, X_WING
from tunery.vault.keyring import Keyring, generate_data_key, tenant_key_context
from tunery.vault.models import SigningKey, TenantKey
from tunery.vault.root_keys import LocalRootKey, RootKeys
from tunery.vault.rotation import reseal_under_newest_root, rewrap_data_keys, rotate_tenant_key
from tunery.vault.sealing import UnsealingFailed

LIVING = (
    "SELECT t.version, count(*) FROM data_keys d JOIN tenant_keys t ON t.id = d.tenant_key_id"
    " WHERE d.tenant_id = $1 AND d.destroyed_at IS NULL GROUP BY 1 ORDER BY 1"
)
VERSIONS = (
    "SELECT version, retired_at IS NOT NULL AS retired, sealed_private_key IS NULL AS destroyed FROM tenant_keys"
    " WHERE tenant_id = $1 ORDER BY 1"
)


class Shop:
    """A tenant with data keys, and what each of them must be."""

    def __init__(self, services: Services, tenant) -> None:
        self.services = services
        self.tenant_id = tenant.tenant_id
        self.database, self.keyring = services.get(Database), services.get(Keyring)
        self.keys: dict[UUID, bytes] = {}
        self.reads = 0
        self._number = itertools.count()

    async def store(self, count: int = 1) -> None:
        made = {}
        async with self.database.unit_of_work(self.tenant_id) as uow:
            for _ in range(count):
                key = generate_data_key()
                row = await self.keyring.store_data_key(uow, key, purpose=f"data set {next(self._number)}")
                made[row.id] = key
        self.keys |= made

    async def read(self, identifier: UUID) -> None:
        async with self.database.unit_of_work(self.tenant_id) as uow:
            assert await self.keyring.open_data_key(uow, identifier) == self.keys[identifier]
        self.reads += 1

    async def read_all(self) -> None:
        for identifier in list(self.keys):
            await self.read(identifier)

    async def read_forever(self, step: int) -> None:
        for number in itertools.count(step, step):
            identifiers = list(self.keys)
            await self.read(identifiers[number % len(identifiers)])

    async def write_forever(self) -> None:
        while True:
            await self.store()
            async with self.database.unit_of_work(self.tenant_id) as uow:
                await self.keyring.purpose_key(uow, f"purpose {next(self._number)}")
            await asyncio.sleep(0.005)

    async def destroy_forever(self, victims: list[UUID]) -> None:
        for identifier in victims:
            async with self.database.unit_of_work(self.tenant_id) as uow:
                await self.keyring.destroy_data_key(uow, identifier)
            await asyncio.sleep(0.01)

    async def rotate(self, suite: str = X_WING) -> None:
        async with self.database.unit_of_work(self.tenant_id) as uow:
            await rotate_tenant_key(uow, self.keyring, suite)


async def stop(task: asyncio.Task) -> None:
    """End it wherever it is, as a killed process does: its transaction is rolled back."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_rotation_moves_every_key_and_retires_the_old_version(services: Services, sign_up, owner):
    shop = Shop(services, await sign_up())
    await shop.store(250)
    await shop.rotate(ML_KEM_1024_P384)
    assert [tuple(row) for row in await owner.fetch(LIVING, shop.tenant_id)] == [(1, 250)]
    await rewrap_data_keys(services, shop.tenant_id)
    assert [tuple(row) for row in await owner.fetch(LIVING, shop.tenant_id)] == [(2, 250)]
    assert [tuple(row) for row in await owner.fetch(VERSIONS, shop.tenant_id)] == [(1, True, True), (2, False, False)]
    suites = await owner.fetch("SELECT DISTINCT suite FROM data_keys WHERE tenant_id = $1", shop.tenant_id)
    assert [row["suite"] for row in suites] == [ML_KEM_1024_P384]
    await shop.read_all()
    before = await owner.fetch("SELECT * FROM data_keys WHERE tenant_id = $1 ORDER BY id", shop.tenant_id)
    await rewrap_data_keys(services, shop.tenant_id)
    assert await owner.fetch("SELECT * FROM data_keys WHERE tenant_id = $1 ORDER BY id", shop.tenant_id) == before


async def test_rotating_enqueues_the_work(services: Services, sign_up, owner):
    shop = Shop(services, await sign_up())
    await shop.store(3)
    await shop.rotate()
    async with shop.database.unit_of_work(shop.tenant_id) as uow:
        message = await uow.session.scalar(select(OutboxMessage.id).where(OutboxMessage.task == rotation.REWRAP))
    await run_task(services, WORKER_TASKS, message)
    assert [tuple(row) for row in await owner.fetch(LIVING, shop.tenant_id)] == [(2, 3)]
    assert await owner.fetchval("SELECT handled_at IS NOT NULL FROM outbox WHERE id = $1", message)


async def test_a_rotation_under_traffic_that_is_killed_again_and_again(services: Services, sign_up, owner, monkeypatch):
    """0 failed reads, 0 rows left on old versions, though keys are stored, read and destroyed all the time."""
    monkeypatch.setattr(rotation, "BATCH", 20)
    shop = Shop(services, await sign_up())
    await shop.store(400)
    victims = [identifier for number, identifier in enumerate(shop.keys) if number % 10 == 0]
    doomed = {identifier: shop.keys.pop(identifier) for identifier in victims}
    kills = 0
    async with asyncio.TaskGroup() as group:
        traffic = [
            *(group.create_task(shop.read_forever(step)) for step in (1, 7, 11)),
            group.create_task(shop.write_forever()),
            group.create_task(shop.destroy_forever(victims)),
        ]
        for suite, old in ((ML_KEM_1024_P384, 1), (X_WING, 2)):
            await shop.rotate(suite)
            for delay in itertools.count(5):
                # Two workers at once: the outbox may hand the same work over twice.
                work = [asyncio.create_task(rewrap_data_keys(services, shop.tenant_id)) for _ in range(2)]
                _, unfinished = await asyncio.wait(work, timeout=delay / 300)
                for task in work:
                    await stop(task)
                if not unfinished:
                    break
                kills += 1
            retired = await owner.fetch("SELECT version FROM tenant_keys WHERE tenant_id = $1 AND version <= $2"
                                        " AND retired_at IS NOT NULL", shop.tenant_id, old)  # fmt: skip
            assert len(retired) == old
        reads_before = shop.reads
        await asyncio.sleep(0.2)
        for task in traffic:
            task.cancel()
    assert kills > 3
    assert shop.reads > reads_before
    assert reads_before > 100

    [living] = await owner.fetch(LIVING, shop.tenant_id)
    assert living["version"] == 3
    assert living["count"] > 360
    await shop.read_all()
    destroyed = (
        "SELECT count(*) FROM data_keys WHERE tenant_id = $1 AND destroyed_at IS NOT NULL AND wrapped_key IS NULL"
    )
    assert await owner.fetchval(destroyed, shop.tenant_id) <= len(doomed)
    assert [tuple(row) for row in await owner.fetch(VERSIONS, shop.tenant_id)] == [
        (1, True, True), (2, True, True), (3, False, False)
    ]  # fmt: skip


async def test_a_version_is_not_retired_under_a_key_that_is_being_stored(services: Services, sign_up, owner):
    shop = Shop(services, await sign_up())
    await shop.store()
    async with shop.database.unit_of_work(shop.tenant_id) as uow:
        key = generate_data_key()
        late = (await shop.keyring.store_data_key(uow, key, purpose="late")).id
        await shop.rotate()
        work = asyncio.create_task(rewrap_data_keys(services, shop.tenant_id))
        await asyncio.sleep(0.3)
        assert not work.done()
    await work
    shop.keys[late] = key
    await shop.read_all()
    assert [tuple(row) for row in await owner.fetch(LIVING, shop.tenant_id)] == [(2, 2)]
    assert [tuple(row) for row in await owner.fetch(VERSIONS, shop.tenant_id)] == [(1, True, True), (2, False, False)]


async def test_who_waits_for_a_version_that_is_retired_takes_the_next(services: Services, sign_up, owner):
    """A key that is stored while the retirement's transaction is open: it began when the old version was the newest."""
    shop = Shop(services, await sign_up())
    await shop.store()
    held = await owner.fetchval("SELECT id FROM tenant_keys WHERE tenant_id = $1", shop.tenant_id)
    transaction = owner.transaction()
    await transaction.start()
    await owner.execute("SELECT FROM tenant_keys WHERE id = $1 FOR UPDATE", held)
    storing = asyncio.create_task(shop.store())
    await asyncio.sleep(0.2)
    assert not storing.done()
    private, _ = envelopes.generate_key_pair(envelopes.X_WING)
    root_key, sealed = await shop.keyring.root_keys.seal(tenant_key_context(shop.tenant_id, 2), private)
    # As a rotation that has gone all its way would leave it.
    await owner.execute(
        "INSERT INTO tenant_keys (tenant_id, version, suite, public_key, sealed_private_key, root_key, fingerprint,"
        " created_at) SELECT tenant_id, 2, suite, public_key, $2, $3, fingerprint, now() FROM tenant_keys WHERE id = $1",
        held,
        sealed,
        root_key,
    )
    await owner.execute(
        "UPDATE tenant_keys SET retired_at = now(), destroyed_at = now(), sealed_private_key = NULL WHERE id = $1", held
    )
    await transaction.commit()
    await storing
    assert [tuple(row) for row in await owner.fetch(LIVING, shop.tenant_id)] == [(1, 1), (2, 1)]
    await owner.execute("DELETE FROM data_keys WHERE tenant_id = $1", shop.tenant_id)
    await owner.execute("DELETE FROM tenant_keys WHERE tenant_id = $1", shop.tenant_id)


async def test_a_key_that_does_not_open_keeps_its_version_and_no_other_key(
    services: Services, sign_up, owner, refusals
):
    shop = Shop(services, await sign_up())
    await shop.store(120)
    broken = list(shop.keys)[5]
    good = await owner.fetchval("SELECT wrapped_key FROM data_keys WHERE id = $1", broken)
    await owner.execute("UPDATE data_keys SET wrapped_key = 'x' WHERE id = $1", broken)
    await shop.rotate()
    before = refusals().get("data key", 0)
    with pytest.raises(UnsealingFailed, match="1 data keys of the tenant do not open"):
        await rewrap_data_keys(services, shop.tenant_id)
    assert refusals()["data key"] == before + 1
    assert [tuple(row) for row in await owner.fetch(LIVING, shop.tenant_id)] == [(1, 1), (2, 119)]
    assert [tuple(row) for row in await owner.fetch(VERSIONS, shop.tenant_id)] == [(1, False, False), (2, False, False)]

    await owner.execute("UPDATE data_keys SET wrapped_key = $2 WHERE id = $1", broken, good)
    await rewrap_data_keys(services, shop.tenant_id)
    await shop.read_all()
    assert [tuple(row) for row in await owner.fetch(LIVING, shop.tenant_id)] == [(2, 120)]


async def test_a_shredded_tenant_s_rotation_ends(services: Services, sign_up, owner):
    shop = Shop(services, await sign_up())
    await shop.store(5)
    await shop.rotate()
    async with shop.database.unit_of_work(shop.tenant_id) as uow:
        await shop.keyring.shred_tenant(uow)
    await rewrap_data_keys(services, shop.tenant_id)
    assert await owner.fetch(LIVING, shop.tenant_id) == []


def with_root_keys(services: Services, *keys: LocalRootKey) -> Services:
    """The same process with other root keys."""
    changed = Services()
    for kind in (Database, Clock, ArqRedis):
        changed.add(kind, services.get(kind))
    changed.add(Keyring, Keyring(RootKeys(keys)))
    return changed


async def test_a_new_root_key_takes_the_old_one_s_place(services: Services, sign_up, owner, monkeypatch):
    """Killed in the middle, read all along; tenants that come meanwhile are sealed under the new one at once."""
    monkeypatch.setattr(rotation, "BATCH", 3)
    shops = [Shop(services, await sign_up()) for _ in range(8)]
    for shop in shops:
        await shop.store()
    [old] = services.get(Keyring).root_keys.local
    new = LocalRootKey(b"n" * 32)
    both = with_root_keys(services, new, old)
    for shop in shops:
        shop.keyring = both.get(Keyring)
    async with services.get(Database).unit_of_work() as uow:
        signing_key = await uow.session.scalar(select(SigningKey))
    public = (await sign(both, shops[0])).public_key
    tenants = ", ".join(f"'{shop.tenant_id}'" for shop in shops)
    under = f"SELECT count(*) FROM tenant_keys WHERE root_key = $1 AND tenant_id IN ({tenants})"

    readers = [asyncio.create_task(shop.read_forever(1)) for shop in shops[:3]]
    try:
        work = asyncio.create_task(reseal_under_newest_root(both))
        while await owner.fetchval(under, new.id) < 2:  # noqa: ASYNC110 - another connection's doing
            await asyncio.sleep(0)
        await stop(work)
        assert await owner.fetchval(under, old.id) > 0
        while await reseal_under_newest_root(both):
            pass
        assert await owner.fetchval(under, old.id) == 0
        assert await owner.fetchval("SELECT count(*) FROM signing_keys WHERE root_key <> $1", new.id) == 0
        await asyncio.sleep(0.1)
        assert not any(reader.done() for reader in readers)
        assert await reseal_under_newest_root(both) == 0

        alone = with_root_keys(services, new)
        for shop in shops:
            shop.keyring = alone.get(Keyring)
            await shop.read_all()
        assert (await sign(alone, shops[0])).public_key == public == signing_key.public_key
    finally:
        for reader in readers:
            await stop(reader)
        # The other tests' process knows the old one alone.
        while await reseal_under_newest_root(with_root_keys(services, old, new)):
            pass
    assert await owner.fetchval(under, new.id) == 0


async def sign(services: Services, shop: Shop):
    async with services.get(Database).unit_of_work(shop.tenant_id) as uow:
        return await services.get(Keyring).signer(uow)


async def test_rows_from_before_root_keys_had_names_are_sealed_anew(services: Services, sign_up, owner):
    from tunery.vault.derivation import derive
    from tunery.vault.keyring import tenant_key_context
    from tunery.vault.sealing import seal

    shop = Shop(services, await sign_up())
    await shop.store()
    [root] = shop.keyring.root_keys.local
    row = await owner.fetchrow("SELECT * FROM tenant_keys WHERE tenant_id = $1", shop.tenant_id)
    private = await shop.keyring.unseal_tenant_key(shop.tenant_id, 1, row["root_key"], row["sealed_private_key"])
    unnamed = seal(derive(root.key, "tenant keys"), tenant_key_context(shop.tenant_id, 1), private)
    await owner.execute(
        "UPDATE tenant_keys SET root_key = '', sealed_private_key = $2 WHERE id = $1", row["id"], unnamed
    )
    signing = await owner.fetchrow("SELECT * FROM signing_keys")
    seed = (await sign(services, shop)).private_key
    await owner.execute(
        "UPDATE signing_keys SET root_key = '', sealed_private_key = $2 WHERE id = $1",
        signing["id"],
        seal(derive(root.key, "signing keys"), signing["public_key"], seed),
    )
    assert (await sign(services, shop)).private_key == seed
    await shop.read_all()

    assert await reseal_under_newest_root(services) == 2
    named = "SELECT root_key FROM tenant_keys WHERE id = $1 UNION ALL SELECT root_key FROM signing_keys"
    assert [row["root_key"] for row in await owner.fetch(named, row["id"])] == [root.id] * 2
    assert (await sign(services, shop)).private_key == seed
    await shop.read_all()


async def test_a_private_key_that_does_not_open_keeps_no_other_from_being_sealed_anew(
    services: Services, sign_up, owner, refusals
):
    shops = [Shop(services, await sign_up()) for _ in range(3)]
    [old], new = services.get(Keyring).root_keys.local, LocalRootKey(b"n" * 32)
    row = "SELECT sealed_private_key, root_key FROM tenant_keys WHERE tenant_id = $1"
    good, _ = await owner.fetchrow(row, shops[1].tenant_id)
    await owner.execute("UPDATE tenant_keys SET sealed_private_key = 'x' WHERE tenant_id = $1", shops[1].tenant_id)
    before = refusals().get("tenant key", 0)
    await reseal_under_newest_root(with_root_keys(services, new, old))
    assert refusals()["tenant key"] == before + 1
    found = [(await owner.fetchrow(row, shop.tenant_id))["root_key"] for shop in shops]
    assert found == [new.id, old.id, new.id]
    await owner.execute("UPDATE tenant_keys SET sealed_private_key = $2 WHERE tenant_id = $1", shops[1].tenant_id, good)
    await reseal_under_newest_root(with_root_keys(services, old, new))


async def test_what_is_destroyed_while_it_is_sealed_anew_stays_destroyed(services: Services, sign_up, owner):
    shop = Shop(services, await sign_up())

    class Slow(LocalRootKey):
        """Takes so long that the tenant is shredded meanwhile."""

        async def seal(self, context: bytes, secret: bytes) -> bytes:
            async with shop.database.unit_of_work(shop.tenant_id) as uow:
                await shop.keyring.shred_tenant(uow)
            return await super().seal(context, secret)

    [old] = shop.keyring.root_keys.local
    async with shop.database.unit_of_work(shop.tenant_id) as uow:
        identifier = await uow.session.scalar(select(TenantKey.id))
    rotated = with_root_keys(services, Slow(b"n" * 32), old)
    assert await rotation._reseal_tenant_key(shop.database, rotated.get(Keyring), shop.tenant_id, identifier) == 0
    row = await owner.fetchrow("SELECT sealed_private_key, destroyed_at FROM tenant_keys WHERE id = $1", identifier)
    assert row["sealed_private_key"] is None
    assert row["destroyed_at"] is not None


async def test_what_an_unknown_root_key_sealed_is_left_alone(services: Services, sign_up, owner):
    tenant = await sign_up()
    stranger = with_root_keys(services, LocalRootKey(b"x" * 32), LocalRootKey(b"y" * 32))
    everything = (
        "SELECT id, sealed_private_key FROM tenant_keys UNION ALL SELECT id, sealed_private_key FROM signing_keys"
    )
    before = set(await owner.fetch(everything))
    assert await reseal_under_newest_root(stranger) == 0
    assert set(await owner.fetch(everything)) == before
    await Shop(services, tenant).store()


def test_workers_sweep_for_old_root_keys():
    assert reseal_under_newest_root in SWEEPS
