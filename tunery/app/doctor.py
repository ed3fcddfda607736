"""`tunery doctor`: what this installation has, whether each part answers, and what to do where it does not."""

import asyncio
import functools
import importlib.metadata
import importlib.util
import platform
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import tunery
from tunery.app.instance import Instance, find_instance
from tunery.app.settings import Settings
from tunery.training.nodes import HEARTBEAT_TIMEOUT

TIMEOUT = 10.0
NODE_PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors")
NEEDED = ("database_url", "redis_url", "storage_url", "stripe_secret_key", "stripe_webhook_secret", "root_key_file")
COLOURS = {"ok": "green", "note": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Finding:
    """One line of the report. `failed` is what Tunery cannot work without; `note` what it can."""

    part: str
    state: Literal["ok", "note", "failed"]
    text: str
    advice: str = ""


async def examine(instance: Instance) -> list[Finding]:
    """Every check, at the same time."""
    settings = instance.settings
    checks: list[tuple[str, Callable[[], Awaitable[list[Finding]]]]] = [
        ("PostgreSQL", functools.partial(check_postgres, settings)),
        ("Application role", functools.partial(check_application_role, settings)),
        ("Redis or Valkey", functools.partial(check_redis, settings)),
        ("Storage", functools.partial(check_storage, settings)),
        ("Stripe", functools.partial(check_stripe, settings)),
    ]
    if instance.base_url is not None:
        checks.append(("API", functools.partial(check_api, instance.base_url)))
    results = await asyncio.gather(*(run_check(part, check) for part, check in checks))
    here = (*check_python(), *check_root_keys(settings), check_signatures(settings))
    return [*here, *(finding for result in results for finding in result)]


async def run_check(part: str, check: Callable[[], Awaitable[list[Finding]]]) -> list[Finding]:
    """A check that fails in a way of its own is a finding, not the end of the report."""
    try:
        async with asyncio.timeout(TIMEOUT):
            return await check()
    except TimeoutError:
        return [
            Finding(part, "failed", f"no answer within {TIMEOUT:g} s", "is the address right, is a firewall between?")
        ]
    except Exception as error:  # noqa: BLE001 - whatever a driver raises belongs in the table
        return [Finding(part, "failed", f"{type(error).__name__}: {error}", ADVICE.get(part, ""))]


ADVICE = {
    "PostgreSQL": "is it running, and is TUNERY_DATABASE_URL right? `tunery up` brings its own",
    "Application role": "run `tunery migrate` with the same installation secret (or root key), or mend its URL",
    "Redis or Valkey": "is it running, and is TUNERY_REDIS_URL right? `tunery up` brings its own",
    "Storage": "check TUNERY_STORAGE_URL, the bucket's rights and the AWS_* variables",
    "Stripe": "check TUNERY_STRIPE_SECRET_KEY and that this machine reaches api.stripe.com",
    "API": "see logs/api.log in the data folder",
}


def check_python() -> Iterator[Finding]:
    yield Finding("Tunery", "ok", f"{tunery.__version__} on Python {platform.python_version()}, {platform.platform()}")
    missing = [name for name in NODE_PACKAGES if importlib.util.find_spec(name) is None]
    found = [f"{name} {importlib.metadata.version(name)}" for name in NODE_PACKAGES if name not in missing]
    if missing:
        yield Finding(
            "Node packages",
            "note",
            "missing: " + ", ".join(missing),
            "only nodes need them: pip install 'tunery[node]'",
        )
    else:
        yield Finding("Node packages", "ok", ", ".join(found))


def check_root_keys(settings: Settings) -> Iterator[Finding]:
    try:
        keys = settings.load_root_keys()
    except (ValueError, OSError) as error:
        advice = "`tunery up` makes one; elsewhere: openssl rand -base64 32. Losing it loses every sealed value"
        yield Finding("Root key", "failed", str(error), advice)
    else:
        older = f"; older: {', '.join(keys.ids[1:])}" if keys.ids[1:] else ""
        yield Finding("Root key", "ok", f"{keys.newest.id}{older}")


def check_signatures(settings: Settings) -> Finding:
    from tunery.vault import liboqs
    from tunery.vault.signatures import ALGORITHMS

    algorithm = ALGORITHMS[settings.signature_algorithm]
    try:
        second = f"; {liboqs.describe()}"
    except liboqs.LiboqsMissing as error:
        if algorithm.providers[0] == "liboqs":
            return Finding("Signatures", "failed", algorithm.description, error.message)
        second = ""
    return Finding("Signatures", "note" if algorithm.experimental else "ok", algorithm.description + second)


async def check_postgres(settings: Settings) -> list[Finding]:
    import asyncpg

    if settings.database_url is None:
        advice = "start `tunery up`, or set TUNERY_DATABASE_URL"
        if settings.database_app_url is None and settings.database_node_url is None:
            return [Finding("PostgreSQL", "failed", "no database", advice)]
        return [Finding("PostgreSQL", "note", "the owner's URL is not set", "only `tunery migrate` needs it")]
    connection = await asyncpg.connect(settings.database_url, timeout=TIMEOUT)
    try:
        version = await connection.fetchval("SELECT current_setting('server_version')")
        number = int(await connection.fetchval("SELECT current_setting('server_version_num')"))
        vector = await connection.fetchrow(
            "SELECT installed_version, default_version FROM pg_available_extensions WHERE name = 'vector'"
        )
        has_revision = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        revision = await connection.fetchval("SELECT version_num FROM alembic_version") if has_revision else None
        has_nodes = await connection.fetchval("SELECT to_regclass('nodes') IS NOT NULL")
        nodes = await connection.fetch("SELECT name, heartbeat_at FROM nodes ORDER BY name") if has_nodes else []
    finally:
        await connection.close()
    return [
        Finding("PostgreSQL", "ok", f"{version} at {without_password(settings.database_url)}")
        if number >= 180000  # noqa: PLR2004
        else Finding("PostgreSQL", "failed", f"{version} is too old", "Tunery needs PostgreSQL 18: it uses uuidv7()"),
        check_vector(vector),
        check_revision(revision),
        check_nodes(nodes),
    ]


def check_nodes(nodes: Sequence[Mapping[str, Any]]) -> Finding:
    live_since = datetime.now(UTC) - HEARTBEAT_TIMEOUT
    live = [node["name"] for node in nodes if node["heartbeat_at"] >= live_since]
    text = f"{len(live)} alive of {len(nodes)} known: {', '.join(live) or 'none'}"
    return Finding(
        "Nodes", "ok" if live else "note", text, "" if live else "training and serving need one: `tunery node`"
    )


def check_vector(versions: Any) -> Finding:
    if versions is None:
        return Finding("pgvector", "note", "not on this server", "install pgvector there; memory needs it")
    installed, available = versions["installed_version"], versions["default_version"]
    return Finding("pgvector", "ok", installed or f"{available} available")


def check_revision(revision: str | None) -> Finding:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    import tunery.migrations

    config = Config()
    config.set_main_option("script_location", tunery.migrations.__path__[0])
    head = ScriptDirectory.from_config(config).get_current_head()
    if revision == head:
        return Finding("Schema", "ok", f"revision {revision}, the newest")
    return Finding("Schema", "failed", f"revision {revision or 'none'}, the newest is {head}", "run `tunery migrate`")


async def check_application_role(settings: Settings) -> list[Finding]:
    """As the role itself, since what counts is what PostgreSQL does with its connections."""
    import asyncpg

    from tunery.app.database_urls import role_url
    from tunery.core.database import APPLICATION_ROLE, NODE_ROLE

    is_node = settings.database_url is None and settings.database_app_url is None
    try:
        url = role_url(settings, NODE_ROLE if is_node and settings.database_node_url else APPLICATION_ROLE)
    except ValueError as error:
        return [Finding("Application role", "failed", str(error), "see above")]
    connection = await asyncpg.connect(url, timeout=TIMEOUT)
    try:
        # Memberships count: with SET ROLE they are one statement away.
        row = await connection.fetchrow("""
            WITH reachable AS (SELECT * FROM pg_roles WHERE pg_has_role(current_user, oid, 'MEMBER'))
            SELECT current_user AS name,
                   (SELECT bool_or(rolsuper OR rolbypassrls) FROM reachable) AS bypasses,
                   (SELECT count(*) FROM pg_class WHERE relowner IN (SELECT oid FROM reachable)) AS owned,
                   (SELECT array_agg(relname::text ORDER BY relname) FROM pg_class
                     JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id' AND NOT attisdropped
                    WHERE relkind IN ('r', 'p') AND NOT row_security_active(pg_class.oid)
                      AND has_table_privilege(pg_class.oid, 'SELECT')) AS open_tables
        """)
    finally:
        await connection.close()
    problems = [
        text
        for text, is_so in (
            ("can bypass row-level security", row["bypasses"]),
            (f"owns {row['owned']} tables or indexes", row["owned"]),
            (f"reads without row-level security: {', '.join(row['open_tables'] or [])}", row["open_tables"]),
        )
        if is_so
    ]
    if problems:
        advice = "tenants are not isolated: its URL must be of the role that `tunery migrate` makes"
        return [Finding("Application role", "failed", f"{row['name']} " + "; ".join(problems), advice)]
    text = f"{row['name']} owns nothing and is bound by row-level security on every tenant's table"
    return [Finding("Application role", "ok", text)]


async def check_redis(settings: Settings) -> list[Finding]:
    from redis.asyncio import Redis

    if settings.redis_url is None:
        return [Finding("Redis or Valkey", "failed", "none", "start `tunery up`, or set TUNERY_REDIS_URL")]
    async with Redis.from_url(settings.redis_url, socket_connect_timeout=TIMEOUT) as client:
        server = await client.info("server")
    name, version = (
        ("Valkey", server["valkey_version"]) if "valkey_version" in server else ("Redis", server["redis_version"])
    )
    return [Finding("Redis or Valkey", "ok", f"{name} {version} at {without_password(settings.redis_url)}")]


async def check_storage(settings: Settings) -> list[Finding]:
    from tunery.core.storage import ObjectStorage

    if settings.storage_url is None:
        return [Finding("Storage", "failed", "none", "start `tunery up`, or set TUNERY_STORAGE_URL")]
    storage, path, content = ObjectStorage(settings.storage_url), f"doctor/{uuid.uuid4()}", uuid.uuid4().bytes
    await storage.put(path, content)
    same = await storage.get(path) == content
    await storage.delete(path)
    text = f"wrote, read and deleted at {without_password(settings.storage_url)}"
    return [Finding("Storage", "ok" if same else "failed", text if same else "what was read is not what was written")]


async def check_stripe(settings: Settings) -> list[Finding]:
    if settings.stripe_secret_key is None:
        advice = "start `tunery up`, which has a sandbox, or set TUNERY_STRIPE_SECRET_KEY"
        return [Finding("Stripe", "failed", "no key", advice)]
    key = settings.stripe_secret_key.get_secret_value()
    is_stripe = urlsplit(settings.stripe_api_base).hostname == "api.stripe.com"
    account, endpoints = await asyncio.to_thread(ask_stripe, key, settings.stripe_api_base, is_stripe)
    mode = ("live" if "_live_" in key else "test") if is_stripe else f"sandbox at {settings.stripe_api_base}"
    findings = [Finding("Stripe", "ok", f"{account + ', ' if account else ''}{mode}")]
    if settings.stripe_webhook_secret is None:
        advice = "set TUNERY_STRIPE_WEBHOOK_SECRET to the endpoint's whsec_…"
        findings.append(Finding("Stripe webhooks", "failed", "no signing secret", advice))
    elif not any(endpoint.endswith("/webhooks/stripe") for endpoint in endpoints):
        advice = f"register {settings.base_url}/webhooks/stripe at Stripe, or run `stripe listen`"
        findings.append(Finding("Stripe webhooks", "note", "no endpoint /webhooks/stripe is enabled", advice))
    else:
        findings.append(Finding("Stripe webhooks", "ok", ", ".join(endpoints)))
    return findings


def ask_stripe(key: str, api_base: str, is_stripe: bool) -> tuple[str, list[str]]:
    """The account's id (the sandbox has no such resource) and the URLs of its enabled webhook endpoints."""
    from tunery.app.embedded.stripe_sandbox import stripe_client

    with stripe_client(key, api_base) as client:
        account = client.v1.accounts.retrieve_current().id if is_stripe else ""
        endpoints = client.v1.webhook_endpoints.list({"limit": 100}).data
        return account, [endpoint.url for endpoint in endpoints if endpoint.status == "enabled"]


async def check_api(base_url: str) -> list[Finding]:
    import httpx

    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
        (await client.get(f"{base_url}/health")).raise_for_status()
    return [Finding("API", "ok", f"healthy at {base_url}")]


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def source(instance: Instance, name: str) -> str:
    if name in instance.embedded:
        return "embedded"
    if name in instance.given:
        return "set"
    if getattr(instance.settings, name) != Settings.model_fields[name].default:
        return "running instance"
    # Of two settings for the same thing one is enough.
    instead = {"root_key_file": "root_key", "database_url": "database_app_url"}.get(name)
    missing = name in NEEDED and not (instead and getattr(instance.settings, instead))
    return "missing" if missing else "default"


def shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return "(secret)"
    return without_password(value) if isinstance(value, str) and "://" in value else str(value)


def run_doctor(settings: Settings, data_dir: Path) -> int:
    """The command: prints both tables; 1 when something that is needed failed."""
    instance = find_instance(settings, data_dir)
    findings = asyncio.run(examine(instance))
    console = Console(highlight=False)
    table = Table("setting", "source", "value", box=None, padding=(0, 2, 0, 0))
    for name in Settings.model_fields:
        table.add_row(f"TUNERY_{name.upper()}", source(instance, name), escape(shown(getattr(instance.settings, name))))
    console.print(table)
    console.print()
    report = Table("part", "", "finding", "what to do", box=None, padding=(0, 2, 0, 0))
    for finding in findings:
        report.add_row(
            finding.part, f"[{COLOURS[finding.state]}]{finding.state}[/]", escape(finding.text), escape(finding.advice)
        )
    console.print(report)
    return 1 if any(finding.state == "failed" for finding in findings) else 0
