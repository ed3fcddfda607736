"""A person and an organisation are erased; then yesterday's backup is restored."""

import asyncio
import base64
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select

from tests.canaries import Canaries, files_in, find_in, find_in_folder
from tests.conftest import Api, SignedUpTenant
from tests.memory.embedding_server import serving_embeddings
from tests.sealed_things import Kept, write_conversation, write_data_key, write_data_set, write_memory, write_secret
from tunery.app.application import create_app
from tunery.app.backup import back_up_data, back_up_keys
from tunery.app.compose import compose
from tunery.app.embedded.postgres import RunningPostgres
from tunery.app.embedded.programs import setting_texts
from tunery.app.migrate import migrate
from tunery.app.settings import Settings
from tunery.app.tasks import SWEEPS, WORKER_TASKS
from tunery.core.clock import TravellingClock
from tunery.core.database import Database
from tunery.core.errors import NotFound
from tunery.core.events import Events
from tunery.core.identity import Identity
from tunery.core.outbox import OutboxMessage, run_task
from tunery.core.services import Services
from tunery.memory.new_memory import NewMemory
from tunery.memory.recall import recall
from tunery.memory.remember import remember
from tunery.tenants.sign_up import sign_up
from tunery.training.data_sets import delete_data_set
from tunery.vault.keyring import KeyDestroyed, Keyring
from tunery.vault.sealing import MAGIC, _DoesNotOpen, _unseal, place

ANNA, BEN = "anna", "ben"
SHELF_ROWS = 10
"""A tenant with more memories has a shelf of its own."""

LEFT_OF_ERASED = """
    WITH erased AS (
        SELECT s.id, s.digest FROM subjects s JOIN data_keys k ON k.id = s.data_key_id WHERE k.destroyed_at IS NOT NULL
    )
    SELECT id FROM erased WHERE digest IS NOT NULL
    UNION ALL SELECT m.id FROM memories m JOIN erased ON erased.id = m.subject_id
    UNION ALL SELECT c.id FROM conversations c JOIN erased ON erased.id = c.subject_id
"""


@dataclass
class Shop:
    """A tenant, what must still be readable of it after the erasures, and what must not."""

    tenant: SignedUpTenant
    email: str
    living: list[Kept]
    erased: list[Kept]


@dataclass
class Installation:
    settings: Settings
    services: Services
    api: Api
    folder: Path

    async def sweep(self) -> None:
        """What a worker does in its first half minute."""
        for _ in range(2):
            for sweep in SWEEPS:
                await sweep(self.services)
            async with self.services.get(Database).dispatch() as uow:
                due = await uow.session.scalars(select(OutboxMessage.id).where(OutboxMessage.handled_at.is_(None)))
                identifiers = due.all()
            for identifier in identifiers:
                await run_task(self.services, WORKER_TASKS, identifier)

    async def fetch(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """As the superuser, whom row-level security doesn't bind."""
        connection = await asyncpg.connect(self.settings.database_url)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def dump(self, postgres: RunningPostgres) -> bytes:
        """The whole database as text."""
        command = [postgres.binaries / "pg_dump", self.settings.database_url]
        return (await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)).stdout


@pytest.fixture(scope="module")
async def embeddings() -> AsyncIterator[str]:
    async with serving_embeddings() as server:
        yield json.dumps([{"model": "test/words", "url": server.url}])


NewInstallation = Callable[[Path], Awaitable[Settings]]


@pytest.fixture(scope="module")
def new_installation(settings: Settings, postgres: RunningPostgres, embeddings: str) -> NewInstallation:
    """Settings with a database that is empty; the server, the roles and the root key are this test process's."""

    async def make(storage: Path) -> Settings:
        name = f"db_{secrets.token_hex(4)}"
        await asyncio.to_thread(postgres.create_database, name)
        texts = setting_texts(settings, without={"embeddings", "database_url", "storage_url", "memory_shelf_rows"})
        return Settings(
            _env_file=None,
            **texts,
            database_url=postgres.database_url(name),
            storage_url=storage.as_uri(),
            embeddings=embeddings,
            memory_shelf_rows=SHELF_ROWS,
        )

    return make


@asynccontextmanager
async def running(settings: Settings, clock: TravellingClock) -> AsyncIterator[Installation]:
    folder = Path(settings.storage_url.removeprefix("file://"))
    async with compose(settings, clock) as services:
        transport = httpx.ASGITransport(create_app(services), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://tunery.test") as client:
            yield Installation(settings, services, Api(client), folder)


async def open_shop(live: Installation, name: str) -> Shop:
    slug, keyring = f"{name}-{secrets.token_hex(4)}", live.services.get(Keyring)
    email = f"owner@{slug}.example"
    async with live.services.get(Database).unit_of_work() as uow:
        made = await sign_up(
            uow, live.services.get(Events), keyring, organisation=f"Shop {slug}", email=email, slug=slug
        )
    identity = Identity(made.tenant.id, made.api_key.id, made.api_key.created_by)
    return Shop(SignedUpTenant(made.tenant.id, slug, made.secret, identity), email, [], [])


async def furnish(live: Installation, shop: Shop, canaries: Canaries) -> list[Kept]:
    """One of everything that is the organisation's and not one person's."""
    writers = (write_data_key, write_secret, write_data_set)
    return [await write(live.services, shop.tenant.tenant_id, canaries) for write in writers]


async def store_another_data_set(live: Installation, shop: Shop, canaries: Canaries) -> UUID:
    """One that will be deleted: its id."""
    shop.erased.append(await write_data_set(live.services, shop.tenant.tenant_id, canaries))
    [row] = await live.fetch("SELECT id FROM data_sets ORDER BY created_at DESC LIMIT 1")
    return row["id"]


async def delete(installation: Installation, shop: Shop, data_set: UUID) -> None:
    async with installation.services.get(Database).unit_of_work(shop.tenant.tenant_id) as uow:
        await delete_data_set(uow, installation.services.get(Keyring), data_set)


async def talk_with(live: Installation, shop: Shop, person: str, canaries: Canaries, *, memories: int) -> list[Kept]:
    tenant = shop.tenant.tenant_id
    kept = [await write_memory(live.services, tenant, canaries, subject=person) for _ in range(memories)]
    return [*kept, await write_conversation(live.services, tenant, canaries, subject=person)]


@dataclass
class Day:
    """What is left of a day on which somebody was erased."""

    clock: TravellingClock
    large: Shop
    """Erases one person, and deletes a data set."""
    small: Shop
    """Is erased."""
    deleted: UUID
    yesterday: Path
    """Both dumps, and the storage."""
    keys: Path
    """Today's dump of them."""
    indexed: list[tuple[object, ...]]
    certificates: list[dict[str, Any]]
    public_keys: list[str]
    canaries: Canaries
    """Of what stays."""
    gone: Canaries


@pytest.fixture(scope="module")
async def day(new_installation: NewInstallation, tmp_path_factory: pytest.TempPathFactory) -> Day:
    clock, canaries, gone = TravellingClock(), Canaries(), Canaries()
    folder = tmp_path_factory.mktemp("day")
    yesterday, keys = folder / "yesterday", folder / "keys.dump"
    settings = await new_installation(folder / "storage")
    await asyncio.to_thread(migrate, settings)
    async with running(settings, clock) as live:
        large, small = await open_shop(live, "large"), await open_shop(live, "small")
        large.living = await furnish(live, large, canaries)
        large.living += await talk_with(live, large, BEN, canaries, memories=SHELF_ROWS)
        large.erased = await talk_with(live, large, ANNA, gone, memories=3)
        deleted = await store_another_data_set(live, large, gone)
        small.erased = await furnish(live, small, gone) + await talk_with(live, small, ANNA, gone, memories=3)
        await live.sweep()
        await asyncio.to_thread(back_up, settings, yesterday)

        clock.travel(timedelta(days=1))
        certificates = [
            await erase(live, large, "eraseSubject", subject=ANNA),
            await erase(live, small, "eraseTenant", confirm=small.tenant.slug),
        ]
        await delete(live, large, deleted)
        await live.sweep()
        indexed = await index_of(live)
        await asyncio.to_thread(back_up_keys, settings, keys)
        found = await live.fetch("SELECT public_key FROM signing_keys")
    public_keys = [base64.b64encode(row["public_key"]).decode() for row in found]
    return Day(clock, large, small, deleted, yesterday, keys, indexed, certificates, public_keys, canaries, gone)


def test_no_dump_shows_what_is_sealed(day: Day, postgres: RunningPostgres) -> None:
    for dump in (day.yesterday / "data.dump", day.yesterday / "keys.dump", day.keys):
        for content in (dump.read_bytes(), unpacked(postgres, dump)):
            assert find_in(content, day.canaries.mark) == find_in(content, day.gone.mark) == []


async def test_nothing_but_the_missing_keys_keeps_it_from_being_read(
    day: Day, new_installation: NewInstallation, tmp_path: Path
) -> None:
    """With yesterday's keys, all of yesterday's backup opens."""
    settings = await new_installation(copy_of(day.yesterday / "storage", tmp_path))
    await asyncio.to_thread(restore, settings, day.yesterday / "data.dump", day.yesterday / "keys.dump")
    async with running(settings, day.clock) as restored:
        await restored.sweep()
        for kept in (*day.large.living, *day.large.erased, *day.small.erased):
            assert await kept.read(restored.services) == kept.expected
        assert await try_every_key(restored, day.gone) > 0


async def test_what_was_erased_stays_erased_in_yesterdays_backup(
    day: Day, new_installation: NewInstallation, postgres: RunningPostgres, tmp_path: Path
) -> None:
    settings = await new_installation(copy_of(day.yesterday / "storage", tmp_path))
    await asyncio.to_thread(restore, settings, day.yesterday / "data.dump", day.keys)
    async with running(settings, day.clock) as restored:
        assert await index_of(restored) == []
        # Before the worker has come to it: the index must be made whole nonetheless, and the erased have namesakes.
        early = await remember_early(restored, day.large)
        for is_swept in (False, True):
            if is_swept:
                await restored.sweep()
            for kept in (*day.large.erased, *day.small.erased):
                assert day.gone.mark.encode() not in await read_or_nothing(restored, kept)
            assert day.gone.mark not in await asked_by_api(restored, day.large)
            assert await try_every_key(restored, day.canaries) > 0
            assert await try_every_key(restored, day.gone) == 0
            assert find_in(await restored.dump(postgres), day.gone.mark) == []
            assert find_in_folder(restored.folder, day.gone.mark) == []

        for kept in day.large.living:
            assert await kept.read(restored.services) == kept.expected
        assert [row for row in await index_of(restored) if not early & set(row)] == day.indexed
        assert await restored.fetch(LEFT_OF_ERASED) == []
        await assert_gone_in_the_clear(restored, day.small, postgres)
        found = await recall(restored.services, day.large.tenant.tenant_id, "parcel", subject=ANNA)
        assert [one.memory.id for one in found.memories if one.memory.id not in early] == []
        await delete(restored, day.large, day.deleted)
        certificates = await restored.fetch("SELECT certificate FROM erasures ORDER BY 1")
        assert [row["certificate"] for row in certificates] == sorted(
            certificate["certificate"].encode() for certificate in day.certificates
        )


def test_certificates_verify_with_the_public_key_alone(day: Day, tmp_path: Path) -> None:
    for certificate in day.certificates:
        assert verified(certificate, day.public_keys, tmp_path) == 0
        forged = certificate | {"certificate": certificate["certificate"].replace('"number":1', '"number":2')}
        assert verified(forged, day.public_keys, tmp_path) == 1


def back_up(settings: Settings, folder: Path) -> None:
    folder.mkdir()
    back_up_data(settings, folder / "data.dump")
    back_up_keys(settings, folder / "keys.dump")
    shutil.copytree(settings.storage_url.removeprefix("file://"), folder / "storage")


def copy_of(storage: Path, folder: Path) -> Path:
    return Path(shutil.copytree(storage, folder / "storage"))


def tunery(settings: Settings | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, as an operator runs it."""
    given = {} if settings is None else setting_texts(settings, without=set())
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")}
    return subprocess.run(
        [sys.executable, "-m", "tunery.app.cli", *arguments],
        capture_output=True,
        text=True,
        env=inherited | {f"TUNERY_{name.upper()}": text for name, text in given.items()},
    )


def restore(settings: Settings, data: Path, keys: Path) -> None:
    result = tunery(settings, "restore", str(data), str(keys))
    assert result.returncode == 0, result.stderr


def unpacked(postgres: RunningPostgres, dump: Path) -> bytes:
    """What pg_dump has compressed."""
    command = [postgres.binaries / "pg_restore", "--file=-", dump]
    return subprocess.run(command, check=True, capture_output=True).stdout


async def erase(live: Installation, shop: Shop, field: str, **given: str) -> dict[str, Any]:
    payload = await live.api.mutate(field, "erasure { certificate signature }", shop.tenant, **given)
    assert payload["userErrors"] == []
    return payload["erasure"]


async def index_of(installation: Installation) -> list[tuple[object, ...]]:
    """All that search has, whatever the order."""
    rows = await installation.fetch(
        "SELECT tenant_id, memory_id, subject_id, embedding_model, embedding::text, terms::text, agent, kind, shelf > 0"
        " FROM memory_index"
    )
    terms = await installation.fetch("SELECT tenant_id, term, memory_id FROM memory_terms")
    return sorted(map(tuple, [*rows, *terms]), key=str)


async def try_every_key(installation: Installation, canaries: Canaries) -> int:
    """How many sealed values and objects show one of these canaries under any key that whoever has everything else has:
    database, storage and root key.
    """
    keys = [key async for key in living_keys(installation)]
    found = 0
    async for context, sealed in sealed_bytes(installation):
        found += any(find_in(opened(key, context, sealed), canaries.mark) for key in keys)
    return found


async def living_keys(installation: Installation) -> AsyncIterator[bytes]:
    keyring, database = installation.services.get(Keyring), installation.services.get(Database)
    for row in await installation.fetch("SELECT id, tenant_id, destroyed_at FROM data_keys"):
        async with database.unit_of_work(row["tenant_id"]) as uow:
            try:
                yield await keyring.open_data_key(uow, row["id"])
            except KeyDestroyed:
                continue


async def sealed_bytes(installation: Installation) -> AsyncIterator[tuple[bytes, bytes]]:
    """With where each belongs."""
    for table, column in (
        ("subjects", "sealed_name"),
        ("memories", "sealed_content"),
        ("memories", "sealed_embedding"),
        ("conversations", "sealed_messages"),
        ("secrets", "sealed_value"),
    ):
        query = f"SELECT id, {column} AS sealed FROM {table} WHERE {column} IS NOT NULL"
        for row in await installation.fetch(query):
            yield place(table, column, row["id"]), row["sealed"]
    for path in files_in(installation.folder):
        yield str(path.relative_to(installation.folder)).encode(), await asyncio.to_thread(path.read_bytes)


def opened(key: bytes, context: bytes, sealed: bytes) -> bytes:
    """As the vault opens it, without a line in the log for each key that doesn't fit."""
    try:
        if sealed.startswith(MAGIC):
            return _unseal(key, context, sealed)
        return AESGCM(key).decrypt(sealed[1:13], sealed[13:], context)
    except (InvalidTag, _DoesNotOpen):
        return b""


async def read_or_nothing(restored: Installation, kept: Kept) -> bytes:
    """Nothing, too, where it is not found."""
    try:
        return await kept.read(restored.services)
    except NotFound:
        return b""


async def asked_by_api(restored: Installation, shop: Shop) -> str:
    """All answers to who asks for the person by name, and for everybody."""
    answers = [
        await restored.api.graphql(document, shop.tenant, subject=ANNA)
        for document in (
            'query($subject: String!) { recall(query: "parcel", subject: $subject) { memories { memory { text } } } }',
            "query($subject: String!) { memories(subject: $subject) { nodes { text provenance } } }",
            "query($subject: String!) { conversations(subject: $subject) { nodes { messages { content } } } }",
            'query { recall(query: "parcel", k: 100) { memories { memory { text } } } }',
        )
    ]
    export = await restored.api.client.get("/v1/memories/export", headers=shop.tenant.headers)
    assert export.status_code == httpx.codes.OK
    assert BEN in export.text
    return json.dumps(answers) + export.text


async def assert_gone_in_the_clear(restored: Installation, shop: Shop, postgres: RunningPostgres) -> None:
    """A data dump has names and addresses; the worker lets go of them again."""
    answer = await restored.api.graphql("{ organisation { name } }", shop.tenant)
    assert answer["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    dump = await restored.dump(postgres)
    assert shop.email.encode() not in dump
    assert f"Shop {shop.tenant.slug}".encode() not in dump
    left = await restored.fetch("SELECT object_path FROM data_sets WHERE tenant_id = $1", shop.tenant.tenant_id)
    assert not [row for row in left if (restored.folder / row["object_path"]).exists()]


async def remember_early(restored: Installation, shop: Shop) -> set[object]:
    """Of somebody new, and of somebody who is called like one who was erased: what is remembered."""
    tenant = shop.tenant.tenant_id
    before = {row["id"] for row in await restored.fetch("SELECT id FROM subjects WHERE tenant_id = $1", tenant)}
    items = [NewMemory(subject=name, text=f"{name} lives in Mill Lane.") for name in ("carl", ANNA)]
    remembered = await remember(restored.services, tenant, items)
    found = await recall(restored.services, tenant, "Mill Lane", subject=ANNA)
    assert [one.memory.text for one in found.memories] == [f"{ANNA} lives in Mill Lane."]
    assert found.memories[0].memory.subject_id not in before
    return {one.id for one in remembered}


def verified(certificate: dict[str, Any], keys: list[str], folder: Path) -> int:
    """The exit status of `tunery verify`, which has nothing but the file and the public key."""
    file = folder / "certificates.ndjson"
    file.write_text(json.dumps(certificate) + "\n")
    return tunery(None, "verify", str(file), *(part for key in keys for part in ("--key", key))).returncode
