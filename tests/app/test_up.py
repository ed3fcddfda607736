import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx
import psutil
import pytest
import stripe
from sqlalchemy import text

from tests.app import stand_ins
from tests.app.processes import descendants, is_alive, wait_for, wait_until_gone
from tests.app.stand_ins import NO_SANDBOX, NODE, STAND_INS
from tunery.app.compose import compose_node
from tunery.app.embedded.data_folder import read_json, read_runtime
from tunery.app.embedded.errors import AddressError, CannotStart, DataFolderError, StartError
from tunery.app.embedded.postgres import RunningPostgres
from tunery.app.embedded.programs import PROGRAMS, PYTHON, Program
from tunery.app.embedded.stripe_sandbox import stripe_client
from tunery.app.embedded.valkey import RunningValkey
from tunery.app.settings import Settings
from tunery.app.up import Up
from tunery.core.database import Database
from tunery.vault.keyring import Keyring


def start_up(data: Path, *, programs: tuple[Program, ...] = STAND_INS, **settings: object) -> Up:
    return Up(
        Settings(_env_file=None, **{"port": 0, **settings}),  # type: ignore[arg-type]
        data_dir=data,
        durable=False,
        programs=programs,
    )


async def test_everything_starts_from_nothing_and_a_second_start_keeps_it(tmp_path: Path) -> None:
    with start_up(tmp_path / "data") as up:
        assert list(up.pids) == ["PostgreSQL", "Valkey", "Stripe sandbox", "api", "worker"]
        family = descendants(os.getpid())
        runtime = read_runtime(tmp_path / "data")
        assert runtime is not None
        assert runtime["base_url"] == up.base_url
        owner = await asyncpg.connect(up.settings.database_url)
        assert await owner.fetchval("SELECT count(*) FROM alembic_version") == 1
        await owner.execute("CREATE TABLE kept AS SELECT 1 AS number")
        await owner.close()
        secrets = {file.name: file.read_text() for file in (tmp_path / "data" / "secrets").iterdir()}
        with pytest.raises(DataFolderError, match=rf"in use by process {os.getpid()} at {up.base_url}"):
            start_up(tmp_path / "data").__enter__()
    assert not [pid for pid in set(up.pids.values()) & set(family) if is_alive(pid)]
    assert read_runtime(tmp_path / "data") is None

    with start_up(tmp_path / "data") as up:
        owner = await asyncpg.connect(up.settings.database_url)
        assert await owner.fetchval("SELECT number FROM kept") == 1
        await owner.close()
        endpoint = json.loads(secrets.pop("stripe-webhook-endpoint"))
        for name, secret in secrets.items():
            assert (tmp_path / "data" / "secrets" / name).read_text() == secret
        kept = read_json(tmp_path / "data" / "secrets" / "stripe-webhook-endpoint")
        assert kept == endpoint | {"url": f"{up.base_url}/webhooks/stripe"}, "one endpoint, at the new address"
        assert up.settings.stripe_secret_key is not None
        with stripe_client(up.settings.stripe_secret_key.get_secret_value(), up.settings.stripe_api_base) as client:
            assert [item.id for item in client.v1.webhook_endpoints.list().data] == [kept["id"]]


async def test_programs_get_every_setting_but_the_owners_database(tmp_path: Path) -> None:
    cache = Path.cwd() / "cache"
    with start_up(tmp_path / "data", log_level="DEBUG", hub_cache_dir=Path("cache"), **NO_SANDBOX) as up:
        health = await asyncio.to_thread(httpx.get, f"{up.local_url}/health", trust_env=False)
        environment = health.json()["settings"]
        assert "TUNERY_DATABASE_URL" not in environment
        assert up.settings.database_url is not None
        owners_password = up.settings.database_url.split(":")[2].split("@")[0]
        assert not [name for name, value in environment.items() if owners_password in value]
        child = Settings(
            _env_file=None, **{key.removeprefix("TUNERY_").lower(): environment[key] for key in environment}
        )
        assert child.log_level == "DEBUG"
        assert child.hub_cache_dir == cache
        assert child.load_root_keys().ids == up.settings.load_root_keys().ids
        for url, role in (
            (child.database_app_url, "tunery_app"),
            (child.database_dispatcher_url, "tunery_dispatcher"),
        ):
            connection = await asyncpg.connect(url)
            assert await connection.fetchval("SELECT current_user") == role
            await connection.close()


def settings_of(pid: int) -> dict[str, str]:
    return {name: value for name, value in psutil.Process(pid).environ().items() if name.startswith("TUNERY_")}


async def test_a_node_gets_no_key_of_the_installation(tmp_path: Path) -> None:
    assert {program.name: program.withheld for program in PROGRAMS}["node"] == NODE.withheld
    with start_up(tmp_path, programs=(*STAND_INS, NODE), **NO_SANDBOX) as up:
        environment = settings_of(up.pids["node"])
        secrets = tmp_path / "secrets"
        kept = [(secrets / name).read_text() for name in ("root-key", "installation-secret", "database-password")]
        for secret in (*kept, str(secrets), NO_SANDBOX["stripe_secret_key"], NO_SANDBOX["stripe_webhook_secret"]):
            assert not [name for name, value in environment.items() if secret in value]
        assert "TUNERY_ROOT_KEY_FILE" in settings_of(up.pids["worker"])

        node = Settings(
            _env_file=None, **{name.removeprefix("TUNERY_").lower(): environment[name] for name in environment}
        )
        for missing in (node.load_root_keys, node.load_installation_secret):
            with pytest.raises(ValueError, match="no "):
                missing()
        assert node.load_node_token() == up.settings.load_installation_secret().derive("node gateway").hex()
        async with compose_node(node) as services:
            async with services.get(Database).dispatch() as uow:
                assert await uow.session.scalar(text("SELECT current_user")) == "tunery_node"
            with pytest.raises(LookupError):
                services.get(Keyring)


def test_given_services_replace_the_embedded_ones(
    tmp_path: Path, settings: Settings, postgres: RunningPostgres, valkey: RunningValkey
) -> None:
    postgres.create_database("given")
    given = {
        "database_url": postgres.database_url("given"),
        "redis_url": valkey.url,
        "storage_url": (tmp_path / "objects").as_uri(),
        # Roles belong to the server: another root key would change their passwords under the other tests.
        "root_key": settings.root_key,
    }
    with start_up(tmp_path / "data", **given, **NO_SANDBOX) as up:
        assert list(up.pids) == ["api", "worker"]
        assert up.embedded == []
        assert {name: getattr(up.settings, name) for name in given} == given
    assert sorted(entry.name for entry in (tmp_path / "data").iterdir()) == ["lock", "logs", "tunery.json"]


def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(AddressError, match=rf"port {port} of 127.0.0.1 is taken .* --port"):
            start_up(tmp_path, port=port).__enter__()
    assert [entry.name for entry in tmp_path.iterdir()] == ["lock"]
    with pytest.raises(AddressError, match="--host"):
        start_up(tmp_path, host="192.0.2.1", port=8000).__enter__()


def test_a_database_that_does_not_answer_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match=r"PostgreSQL \(TUNERY_DATABASE_URL\) cannot be used"):
        start_up(tmp_path, database_url="postgresql://x:y@127.0.0.1:9/x", redis_url="redis://127.0.0.1:9").__enter__()


def test_an_api_that_does_not_start_stops_all_and_shows_its_log(tmp_path: Path) -> None:
    broken = (Program("api", (*PYTHON, "-c", "raise SystemExit('no template folder')")),)
    before = set(descendants(os.getpid()))
    with pytest.raises(StartError, match=r"(?s)api ended with status 1.*no template folder"):
        start_up(tmp_path, programs=broken, **NO_SANDBOX).__enter__()
    assert not set(descendants(os.getpid())) - before


def test_a_killed_postgres_comes_back_where_it_was(tmp_path: Path) -> None:
    with start_up(tmp_path, **NO_SANDBOX) as up:
        first = up.pids["PostgreSQL"]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: up.pids["PostgreSQL"] != first)
        connections = psutil.Process(up.pids["PostgreSQL"]).net_connections("tcp")
        ports = {connection.laddr.port for connection in connections if connection.status == "LISTEN"}
        assert ports == {urlsplit(up.settings.database_url).port}


@contextmanager
def command(data: Path) -> Iterator[subprocess.Popen[str]]:
    """`tunery up` with stand-ins, once it has printed its addresses."""
    arguments = [sys.executable, "-W", "error", stand_ins.__file__, str(data)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")}
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            while not process.stdout.readline().startswith("Stop"):
                assert process.poll() is None
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_child_in_reverse_order(tmp_path: Path, how: signal.Signals) -> None:
    with command(tmp_path / "data") as process:
        family = descendants(process.pid)
        assert len(family) > 8, "guards, services with their own children, programs"
        process.send_signal(how)
        process.send_signal(how)  # impatience does not leave anything running
        assert process.stdout is not None
        output = process.stdout.read()
        assert process.wait(30) == 0
    assert re.findall(r"(\S+) stopped", output) == ["worker", "api", "Valkey", "PostgreSQL"]
    assert not [pid for pid in family if is_alive(pid)]


def test_sigkill_leaves_no_process_and_a_folder_that_starts_again(tmp_path: Path) -> None:
    with command(tmp_path / "data") as process:
        family = descendants(process.pid)
        process.kill()
        process.wait()
        # At once: the next start waits for the old PostgreSQL's shutdown.
        with start_up(tmp_path / "data", **NO_SANDBOX) as up:
            assert up.pids["PostgreSQL"] not in family
    wait_until_gone(family)


def test_ctrl_c_while_starting_stops_what_had_started(tmp_path: Path) -> None:
    arguments = [sys.executable, stand_ins.__file__, str(tmp_path / "data")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("PostgreSQL runs")
        time.sleep(0.05)
        family = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(30) == 0
    wait_until_gone(family)
    with pytest.raises(DataFolderError, match="interrupted before anything was stored"):
        start_up(tmp_path / "data").__enter__()


def test_the_stripe_sdk_refuses_another_installations_key(tmp_path: Path) -> None:
    with (
        start_up(tmp_path) as up,
        stripe_client("sk_test_guess", up.settings.stripe_api_base) as client,
        pytest.raises(stripe.AuthenticationError),
    ):
        client.v1.webhook_endpoints.list()
