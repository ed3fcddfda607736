"""`tunery backup` and `tunery restore`: dumps of the database in which what was erased stays erased.

Keys are dumped apart from data. A data dump opens nothing of what is sealed in it, so it may be kept for long. Of the
keys' dumps only the newest is kept; what was destroyed is missing there. So an old data dump is restored with today's
keys, and what was erased since stands in it as ciphertext that nobody opens. What is derived from sealed texts is in
neither dump.
"""

import asyncio
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
from alembic.util import CommandError
from sqlalchemy.ext.asyncio import create_async_engine

from tunery.app.embedded.errors import CannotStart, StartError
from tunery.app.embedded.guarded_process import service_environment
from tunery.app.embedded.postgres import find_binaries
from tunery.app.migrate import ensure_roles, upgrade
from tunery.app.settings import Settings
from tunery.app.up import check_owner_login, check_root_keys, migrate_or_explain
from tunery.core.database import sqlalchemy_url
from tunery.core.outbox import WORKER_QUEUE
from tunery.tenants.erase import FINISH_ERASURE

KEY_TABLES = ("tenant_keys", "data_keys", "signing_keys", "erasures")
"""Certificates of erasure go with the keys: they say of those that are missing why they are."""
NEITHER = ("memory_index", "memory_terms", "lease_grants")
"""The first two are made anew from sealed texts, the last holds keys for nodes that are gone by then."""
VERSION_TABLE = "alembic_version"
OLDEST_PROGRAMS = 18

_FOREIGN_KEY = re.compile(r"^ALTER TABLE [^;]* FOREIGN KEY [^;]*(?=;)", re.MULTILINE)
_CATALOGUE = re.compile(r" POLICY public (\w+) catalogue ")
_REVISION = re.compile(rf"^COPY public\.{VERSION_TABLE} .*\n(.+)$", re.MULTILINE)
_MADE_AT = re.compile(r"^;\s+Archive created at (.+)$", re.MULTILINE)
_FINISH_ERASURES = """
    INSERT INTO outbox (tenant_id, task, queue, arguments, attempts, created_at, available_at)
    SELECT id, $1, $2, jsonb_build_object('tenant_id', id), 0, now(), now() FROM tenants WHERE id IN (
        SELECT tenant_id FROM tenant_keys GROUP BY tenant_id HAVING bool_and(destroyed_at IS NOT NULL)
    )
"""
"""For organisations that were erased after the data was dumped: a worker lets go of what is theirs in the clear."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Dump:
    """What a dump says of itself: the time in UTC, the schema's revision as Alembic numbers it."""

    file: Path
    made_at: str
    revision: str
    entries: str
    """pg_restore's list of what is in it."""


def back_up_data(settings: Settings, file: Path) -> None:
    """Dump everything but keys and what is derived, as it was at one moment. Raises CannotStart."""
    _dump(settings, file, [f"--exclude-table-data-and-children=public.{table}" for table in (*KEY_TABLES, *NEITHER)])


def back_up_keys(settings: Settings, file: Path) -> None:
    """Dump the keys, wrapped and sealed as they are, and the certificates of erasure. Raises CannotStart."""
    _dump(settings, file, ["--data-only", *_only(*KEY_TABLES, VERSION_TABLE)])


def restore(settings: Settings, data_file: Path, keys_file: Path, report: Report) -> None:
    """Fill the empty database of `database_url` from a data dump and the newest dump of keys, and migrate it.

    The data dump may be of an older release than the keys', and both of an older one than this. Raises CannotStart;
    what is in the database then is to be dropped.
    """
    url = _owner_url(settings)
    check_root_keys(settings)
    data, keys = _read_dump(data_file), _read_dump(keys_file)
    _check_pair(data, keys)
    asyncio.run(_prepare(url))
    report(f"restoring the data of {data.made_at}")
    for section in ("pre-data", "data"):
        _restore(url, data, f"--section={section}")
    report("making its constraints and indexes")
    with tempfile.NamedTemporaryFile("w") as others:
        others.writelines(line for line in data.entries.splitlines(keepends=True) if not _is_made_here(line))
        others.flush()
        _restore(url, data, "--section=post-data", f"--use-list={others.name}")
    asyncio.run(_complete_and_upgrade(url, [*_foreign_keys(data), *_catalogue_policies(data)], keys.revision))
    report(f"restoring the keys of {keys.made_at}")
    asyncio.run(_restore_keys(url, keys))
    report("migrating the database")
    migrate_or_explain(settings)


def _dump(settings: Settings, file: Path, what: Sequence[str]) -> None:
    url = _owner_url(settings)
    unfinished = file.with_name(file.name + ".unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)  # from its first byte on
        _run("pg_dump", "--format=custom", f"--file={unfinished}", *what, url=url)
        unfinished.replace(file)
    except OSError as error:
        raise CannotStart(f"{file} can't be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _read_dump(file: Path) -> Dump:
    if not file.is_file():
        raise CannotStart(f"there is no file {file}")
    entries = _run("pg_restore", "--list", str(file))
    made_at = _MADE_AT.search(entries)
    revision = _REVISION.search(_run("pg_restore", "--data-only", *_only(VERSION_TABLE), "--file=-", str(file)))
    if made_at is None or revision is None:
        raise CannotStart(f"{file} was not made by `tunery backup`")
    return Dump(file, made_at[1], revision[1], entries)


def _check_pair(data: Dump, keys: Dump) -> None:
    """Raises CannotStart unless they are what they are given as, and belong together."""
    for dump, holds_keys in ((data, False), (keys, True)):
        found = [table for table in KEY_TABLES if f" TABLE DATA public {table} " in dump.entries]
        if found != (list(KEY_TABLES) if holds_keys else []):
            kind = "keys" if holds_keys else "data"
            raise CannotStart(f"{dump.file} was not made by `tunery backup {kind}`: write `tunery restore DATA KEYS`")
    if keys.made_at < data.made_at:
        raise CannotStart(
            f"the keys in {keys.file} are from {keys.made_at}, the data in {data.file} from {data.made_at}: keys that"
            " were made in between are missing. Take a newer dump of the keys, or an older one of the data"
        )


def _is_made_here(entry: str) -> bool:
    """Whether `restore` makes this of a dump's list itself."""
    return " FK CONSTRAINT " in entry or _CATALOGUE.search(entry) is not None


def _foreign_keys(dump: Dump) -> list[str]:
    """The statements that make them. What refers to keys can't be checked before they are here, and they may be of a
    newer schema than the data.
    """
    statements = _FOREIGN_KEY.findall(_run("pg_restore", "--section=post-data", "--file=-", str(dump.file)))
    return [f"{statement} NOT VALID" for statement in statements]


def _catalogue_policies(dump: Dump) -> list[str]:
    """The statements that let the tables' owner read what its public views show: in the dump they name the one of then,
    who need not be this one, nor be there.
    """
    tables = _CATALOGUE.findall(dump.entries)
    return [f"CREATE POLICY catalogue ON {table} FOR SELECT TO CURRENT_USER USING (true)" for table in tables]


async def _prepare(url: str) -> None:
    """Raises CannotStart unless the database can be used and is empty. Makes the roles that rows are protected for."""
    await check_owner_login(url)
    async with _connect(url) as connection:
        tables = await connection.fetchval(
            "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
        )
        if tables:
            raise CannotStart(
                f"the database of TUNERY_DATABASE_URL is not empty, it has {tables} tables: create another one to"
                " restore into"
            )
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with engine.begin() as sqlalchemy:
            await sqlalchemy.run_sync(ensure_roles)
    except ValueError as error:
        raise CannotStart(str(error)) from error
    finally:
        await engine.dispose()


async def _complete_and_upgrade(url: str, statements: Sequence[str], revision: str) -> None:
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with engine.begin() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)
            await connection.run_sync(upgrade, revision)
    except CommandError as error:
        raise CannotStart(f"the dumps are of a newer release, restore them with that one: {error}") from error
    finally:
        await engine.dispose()


async def _restore_keys(url: str, keys: Dump) -> None:
    """Raises CannotStart when some are missing."""
    async with _connect(url) as connection, _row_security_lifted(connection):
        await asyncio.to_thread(_restore, url, keys, "--data-only", *_only(*KEY_TABLES))
        unchecked = await connection.fetch(
            "SELECT conrelid::regclass::text AS name, quote_ident(conname) AS key FROM pg_constraint"
            " WHERE NOT convalidated AND contype = 'f'"
        )
        for row in unchecked:
            try:
                await connection.execute(f"ALTER TABLE {row['name']} VALIDATE CONSTRAINT {row['key']}")
            except asyncpg.ForeignKeyViolationError as error:
                raise CannotStart(f"the dump of the keys lacks what the data refers to: {error.detail}") from error
        if await connection.fetchval("SELECT to_regclass('memory_stores')") is not None:
            # The sweep then makes their part of the index, also where something new is remembered first.
            await connection.execute("UPDATE memory_stores SET incomplete = true, claimed_until = NULL")
        await connection.execute(_FINISH_ERASURES, FINISH_ERASURE, WORKER_QUEUE)
        await connection.execute("ANALYZE")


@asynccontextmanager
async def _row_security_lifted(connection: asyncpg.Connection) -> AsyncIterator[None]:
    """An owner who is no superuser is bound by it, and would find every reference to be right: there are no rows."""
    found = await connection.fetch("SELECT oid::regclass::text AS name FROM pg_class WHERE relrowsecurity")
    for table in found:
        await connection.execute(f"ALTER TABLE {table['name']} NO FORCE ROW LEVEL SECURITY")
    try:
        yield
    finally:
        for table in found:
            await connection.execute(f"ALTER TABLE {table['name']} FORCE ROW LEVEL SECURITY")


@asynccontextmanager
async def _connect(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _owner_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise CannotStart("no database: set TUNERY_DATABASE_URL")
    return settings.database_url


def _only(*tables: str) -> list[str]:
    return [f"--table={table}" for table in tables]


def _restore(url: str, dump: Dump, *what: str) -> None:
    options = ("--exit-on-error", "--single-transaction", "--no-owner", "--no-comments")
    _run("pg_restore", *options, *what, str(dump.file), url=url)


def _run(program: str, *arguments: str, url: str | None = None) -> str:
    """What it wrote. Raises CannotStart with what it complained of."""
    environment = service_environment()
    if url is not None:
        # Everybody on the machine sees the arguments of others' processes.
        parts = urlsplit(url)
        environment["PGPASSWORD"] = unquote(parts.password or "")
        user, _, host = parts.netloc.rpartition("@")
        without = urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}"))
        arguments = (f"--dbname={without}", "--no-password", *arguments)
    result = subprocess.run(  # noqa: S603 - our own arguments
        [_find_program(program), *arguments], check=False, capture_output=True, text=True, env=environment
    )
    if result.returncode:
        raise CannotStart(f"{program} failed:\n{result.stderr.strip()}")
    return result.stdout


def _find_program(name: str) -> str:
    """PATH's, when it is new enough, or the embedded PostgreSQL's. Raises CannotStart."""
    found = shutil.which(name)
    if found is not None:
        version = subprocess.run([found, "--version"], check=False, capture_output=True, text=True).stdout  # noqa: S603
        number = re.search(r"(\d+)", version)
        if number is not None and int(number[1]) >= OLDEST_PROGRAMS:
            return found
    try:
        return str(find_binaries() / name)
    except StartError:
        raise CannotStart(
            f"{name} {OLDEST_PROGRAMS} or newer is not on PATH: install PostgreSQL's client programs, or"
            " pip install 'tunery[embedded]'"
        ) from None
