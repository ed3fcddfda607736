"""Keys rotate while everything is read and written, and the processes that rotate them are killed again and again.

`LARGE=1` has more of everything.
"""

import asyncio
import base64
import contextlib
import json
import multiprocessing
import os
import random
import secrets
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.canaries import Canaries, files_in, find_in, find_in_folder
from tests.memory.embedding_server import serving_embeddings
from tests.sealed_things import WRITERS, Kept, kept_data_key
from tests.vault import rotating
from tunery.app.compose import compose
from tunery.app.embedded.postgres import RunningPostgres, start_postgres
from tunery.app.embedded.programs import setting_texts
from tunery.app.embedded.valkey import RunningValkey
from tunery.app.migrate import migrate
from tunery.app.settings import Settings
from tunery.core.database import Database
from tunery.core.events import Events
from tunery.core.services import Services
from tunery.tenants.sign_up import sign_up
from tunery.vault.envelopes import ML_KEM_1024_P384, X_WING
from tunery.vault.keyring import KeyDestroyed, Keyring, generate_data_key
from tunery.vault.rotation import rotate_tenant_key
from tunery.vault.sealing import UnsealingFailed
from tunery.vault.signatures import verify

LARGE = bool(os.environ.get("LARGE"))
TENANTS = 8 if LARGE else 3
KEYS_EACH = 5_000 if LARGE else 300
"""Data keys of each of these tenants."""
KEY_OWNERS = 5_000 if LARGE else 200
"""Tenants that have a key pair and nothing else: for the root key's rotation."""
READER_COUNT, WRITER_COUNT, ROTATOR_COUNT = 8, 2, 2
KILLS = 20 if LARGE else 5
"""In each of the three rotations."""
LONGEST_WAIT = 0.1
"""Seconds, from the first progress to the kill."""

Work = Callable[..., None]
Refusals = Callable[[], dict[str, int]]


@dataclass
class Storm:
    """An installation under load."""

    services: Services
    owner: asyncpg.Pool
    tenants: list[UUID]
    kept: dict[str, list[Kept]] = field(default_factory=dict)
    canaries: Canaries = field(default_factory=Canaries)
    reads: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    kills: int = 0
    kills_amid_work: int = 0

    async def write(self, kind: str, tenant: UUID) -> None:
        self.kept.setdefault(kind, []).append(await WRITERS[kind](self.services, tenant, self.canaries))
        self.writes[kind] += 1

    async def read(self, kind: str, kept: Kept) -> None:
        """Counts it, and what goes wrong about it."""
        self.reads[kind] += 1
        try:
            content = await kept.read(self.services)
        except KeyDestroyed:
            if kept.expected is not None:
                self.failures.append(f"{kind}: its key is destroyed")
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.failures.append(f"reading {kind}: {error!r}")
        else:
            if content != kept.expected:
                self.failures.append(f"{kind}: {content!r} in place of {kept.expected!r}")

    async def read_everything(self) -> int:
        everything = [(kind, kept) for kind, all_of_kind in self.kept.items() for kept in all_of_kind]
        for kind, kept in everything:
            await self.read(kind, kept)
        return len(everything)

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Readers and writers, at it all the time."""

        async def keep_reading(chance: random.Random) -> None:
            while True:
                # What is rewrapped most is read most.
                kind = chance.choice([*self.kept, *["data key"] * len(self.kept)])
                await self.read(kind, chance.choice(self.kept[kind]))

        async def keep_writing(chance: random.Random) -> None:
            while True:
                kind = chance.choice(list(WRITERS))
                try:
                    await self.write(kind, chance.choice(self.tenants))
                except Exception as error:  # noqa: BLE001 - whatever it is
                    self.failures.append(f"writing {kind}: {error!r}")
                await asyncio.sleep(0.01)

        chances = [random.Random(number) for number in range(READER_COUNT + WRITER_COUNT)]  # noqa: S311
        tasks = [asyncio.create_task(keep_reading(chance)) for chance in chances[:READER_COUNT]]
        tasks += [asyncio.create_task(keep_writing(chance)) for chance in chances[READER_COUNT:]]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended

    async def until_moved(self, old: str, process: BaseProcess) -> None:
        """Until there is less to do, by whomever."""
        before = await self.owner.fetchval(old)
        while process.is_alive() and await self.owner.fetchval(old) == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def rotate_under_fire(self, settings: Settings, work: Work, old: str) -> None:
        """Have processes do the work, kill them at random moments, and start others, until one after another says that
        it is done. `old` is SQL for the number of rows that are still to be done.
        """
        whole, kills = await self.owner.fetchval(old), KILLS
        texts = setting_texts(settings, without=set())
        forks = multiprocessing.get_context("forkserver")
        forks.set_forkserver_preload([rotating.__name__])

        async def keep_rotating(chance: random.Random) -> None:
            nonlocal kills
            while True:
                here, there = forks.Pipe()
                process = forks.Process(target=work, args=(there, texts, self.tenants))
                process.start()
                there.close()
                assert await asyncio.to_thread(here.poll, 60)
                assert here.recv() == rotating.BEGUN
                if kills:
                    await self.until_moved(old, process)
                    await asyncio.sleep(chance.uniform(0, LONGEST_WAIT))
                    process.kill()
                await asyncio.to_thread(process.join, 600)
                here.close()
                status = process.exitcode
                process.close()
                if status == 0:
                    return
                assert status == -9, "only we end them"
                kills -= kills > 0
                self.kills += 1
                self.kills_amid_work += 0 < await self.owner.fetchval(old) < whole

        await asyncio.gather(*(keep_rotating(random.Random(number)) for number in range(ROTATOR_COUNT)))  # noqa: S311
        assert await self.owner.fetchval(old) == 0


def new_root_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


async def test_rotation_under_load_killed_in_the_middle_fails_no_read_and_leaves_nothing_behind(
    tmp_path: Path, valkey: RunningValkey, refusals: Refusals, capfd: pytest.CaptureFixture[str]
) -> None:
    began, control = time.monotonic(), Canaries()
    postgres = start_postgres(tmp_path / "postgres", durable=True)
    try:
        async with serving_embeddings() as server:
            embeddings = json.dumps([{"model": "test/words", "url": server.url}])
            storm = await storm_over(postgres, valkey, tmp_path, embeddings, refusals, control)
    finally:
        postgres.stop()
    # Nobody writes any more: no file is passed over because it is just renamed.
    assert find_in_folder(tmp_path, control.mark), "what stands in the clear is found"
    assert find_in_folder(tmp_path, storm.canaries.mark) == []
    logged = "".join(capfd.readouterr())
    assert "tenant key retired" in logged
    assert find_in(logged.encode(), storm.canaries.mark) == []
    size = sum(path.stat().st_size for path in files_in(tmp_path))
    with capfd.disabled():
        print(  # noqa: T201 - what came of it
            f"\n{sum(storm.reads.values()):,} reads {dict(storm.reads)}, {sum(storm.writes.values()):,} writes,"
            f" 0 failed; {storm.kills} kills, {storm.kills_amid_work} amid work; {storm.canaries.count:,} canaries not"
            f" found in {size:,} bytes; {time.monotonic() - began:.1f} s"
        )


async def storm_over(
    postgres: RunningPostgres,
    valkey: RunningValkey,
    folder: Path,
    embeddings: str,
    refusals: Refusals,
    control: Canaries,
) -> Storm:
    old_root, new_root = new_root_key(), new_root_key()

    def settings(*root_keys: str) -> Settings:
        return Settings(
            _env_file=None,
            database_url=postgres.url,
            redis_url=valkey.url,
            storage_url=(folder / "storage").as_uri(),
            root_key=",".join(root_keys),
            installation_secret=base64.b64encode(bytes(32)).decode(),
            embeddings=embeddings,
            stripe_secret_key="sk_test_tests",
            stripe_webhook_secret="whsec_tests",
        )

    await asyncio.to_thread(migrate, settings(old_root))
    async with contextlib.AsyncExitStack() as processes:

        async def restart(*root_keys: str) -> Services:
            """As a process with these root keys. The one before goes on with what it has begun."""
            return await processes.enter_async_context(compose(settings(*root_keys)))

        services = await restart(old_root)
        owner = await processes.enter_async_context(
            asyncpg.create_pool(postgres.url, min_size=1, max_size=ROTATOR_COUNT + 1)
        )
        storm = Storm(services, owner, await sign_up_tenants(services, control))
        for tenant in storm.tenants:
            for kind in WRITERS:
                for _ in range(5):
                    await storm.write(kind, tenant)
        await fill_with_keys(storm)
        first = await owner.fetchrow(
            "SELECT id, tenant_id, tenant_key_id, suite, wrapped_key FROM data_keys WHERE destroyed_at IS NULL LIMIT 1"
        )
        newest_key = storm.services.get(Keyring).root_keys.newest.id

        async with storm.load():
            for suite in (ML_KEM_1024_P384, X_WING):
                for tenant in storm.tenants:
                    async with services.get(Database).unit_of_work(tenant) as uow:
                        await rotate_tenant_key(uow, services.get(Keyring), suite)
                await storm.rotate_under_fire(settings(old_root), rotating.rewrap, UNDER_OLD_VERSIONS)

            # First every process opens what the new root key seals, then one after another seals with it.
            storm.services = await restart(old_root, new_root)
            async with asyncio.TaskGroup() as group:
                sealed_by_the_old = f"SELECT count(*) FROM ({ROOT_KEYS_IN_USE}) WHERE root_key = '{newest_key}'"
                resealing = storm.rotate_under_fire(settings(new_root, old_root), rotating.reseal, sealed_by_the_old)
                group.create_task(resealing)
                await asyncio.sleep(0.5)
                storm.services = await restart(new_root, old_root)
            storm.services = await restart(new_root)

        assert await owner.fetch(VERSIONS_LEFT) == []
        assert await owner.fetchval(f"SELECT count(DISTINCT root_key) FROM ({ROOT_KEYS_IN_USE})") == 1
        assert await storm.read_everything() > TENANTS * KEYS_EACH
        assert storm.failures == []
        assert storm.kills_amid_work >= KILLS
        await check_that_the_retired_version_is_refused(storm, first, refusals)
        await check_that_signatures_verify(storm)

        await owner.execute("CHECKPOINT")
        dump = [postgres.binaries / "pg_dump", postgres.url]
        dumped = (await asyncio.to_thread(subprocess.run, dump, capture_output=True, check=True)).stdout
        assert find_in(dumped, control.mark)
        assert find_in(dumped, storm.canaries.mark) == [], "also where PostgreSQL compresses"
    return storm


UNDER_OLD_VERSIONS = """
    SELECT count(*) FROM data_keys d JOIN tenant_keys t ON t.id = d.tenant_key_id WHERE d.destroyed_at IS NULL
    AND t.version < (SELECT max(version) FROM tenant_keys newest WHERE newest.tenant_id = t.tenant_id)
"""
VERSIONS_LEFT = """
    SELECT tenant_id, version FROM tenant_keys t
    WHERE version < (SELECT max(version) FROM tenant_keys newest WHERE newest.tenant_id = t.tenant_id)
    AND (sealed_private_key IS NOT NULL OR retired_at IS NULL)
"""
ROOT_KEYS_IN_USE = """
    SELECT root_key FROM tenant_keys WHERE destroyed_at IS NULL UNION ALL SELECT root_key FROM signing_keys
"""


async def sign_up_tenants(services: Services, names: Canaries) -> list[UUID]:
    tenants = []
    for number in range(TENANTS):
        async with services.get(Database).unit_of_work() as uow:
            result = await sign_up(
                uow,
                services.get(Events),
                services.get(Keyring),
                organisation=names.word(),
                email=f"owner@{number}.example",
                slug=f"tenant-{number}",
            )
        tenants.append(result.tenant.id)
    return tenants


async def fill_with_keys(storm: Storm) -> None:
    database, keyring = storm.services.get(Database), storm.services.get(Keyring)
    for tenant in storm.tenants:
        async with database.unit_of_work(tenant) as uow:
            for number in range(KEYS_EACH):
                key = generate_data_key()
                row = await keyring.store_data_key(uow, key, purpose=f"test {number}")
                storm.kept["data key"].append(kept_data_key(tenant, row.id, key))
    for _ in range(KEY_OWNERS):
        async with database.unit_of_work(uuid4()) as uow:
            await keyring.create_tenant_key(uow)


async def check_that_the_retired_version_is_refused(storm: Storm, before: asyncpg.Record, refusals: Refusals) -> None:
    """A row of before the rotation is put back, by somebody who may."""
    before_that = refusals().get("data key", 0)
    back = "UPDATE data_keys SET tenant_key_id = $2, suite = $3, wrapped_key = $4 WHERE id = $1"
    await storm.owner.execute(back, before["id"], before["tenant_key_id"], before["suite"], before["wrapped_key"])
    with pytest.raises(UnsealingFailed, match="version 1 of the tenant's key is retired"):
        await kept_data_key(before["tenant_id"], before["id"], None).read(storm.services)
    assert refusals()["data key"] == before_that + 1


async def check_that_signatures_verify(storm: Storm) -> None:
    async with storm.services.get(Database).unit_of_work(storm.tenants[0]) as uow:
        signer = await storm.services.get(Keyring).signer(uow)
    verify(b"message", signer.sign(b"message", "test"), signer.public_key, "test")
