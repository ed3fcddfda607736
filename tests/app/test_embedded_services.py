import os
import signal
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis

from tests.app.processes import descendants, is_alive, wait_for, wait_until_gone
from tunery.app.embedded.errors import AddressTakenError, StartError
from tunery.app.embedded.postgres import start_postgres
from tunery.app.embedded.valkey import start_valkey


async def execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_keeps_its_data_and_leaves_no_process(tmp_path: Path) -> None:
    server = start_postgres(tmp_path / "postgres", durable=False)
    server.create_database("tunery")
    server.create_database("tunery")
    url = server.database_url("tunery")
    assert str(await execute(url, "SHOW server_version")).startswith("18")
    await execute(url, "CREATE EXTENSION vector")
    await execute(url, "CREATE TABLE kept AS SELECT '[1,2,3]'::vector AS embedding, uuidv7() AS id")
    family = [server.pid, *descendants(server.pid)]
    assert len(family) > 3
    server.stop()
    wait_until_gone(family)

    again = start_postgres(tmp_path / "postgres", durable=False)
    assert await execute(again.database_url("tunery"), "SELECT embedding::text FROM kept") == "[1,2,3]"
    again.stop()


async def test_postgres_survives_a_kill_and_a_pid_file_that_names_a_stranger(tmp_path: Path) -> None:
    server = start_postgres(tmp_path / "postgres")
    await execute(server.url, "CREATE TABLE kept AS SELECT 1 AS number")
    os.kill(server.pid, signal.SIGKILL)
    wait_for(lambda: server.poll() is not None)
    server.stop()
    pid_file = tmp_path / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(server.pid), str(os.getpid()), 1))

    again = start_postgres(tmp_path / "postgres")
    assert await execute(again.url, "SELECT number FROM kept") == 1
    assert await execute(again.url, "SHOW fsync") == "on"
    again.stop()


async def test_postgres_asks_for_passwords_and_does_not_run_as_root(tmp_path: Path) -> None:
    server = start_postgres(tmp_path / "postgres", durable=False, password="p@ss/word?")
    assert psutil.Process(server.pid).uids().effective != 0
    assert await execute(server.url, "SELECT 1") == 1
    with pytest.raises(asyncpg.InvalidPasswordError):
        await execute(f"postgresql://postgres:guess@127.0.0.1:{server.port}/postgres", "SELECT 1")
    assert await execute(server.url, "SHOW unix_socket_directories") == ""
    environment = psutil.Process(server.pid).environ()
    assert "MALLOC_TOP_PAD_" in environment
    assert not [name for name in environment if name.startswith(("TUNERY_", "PYTEST_"))]
    with pytest.raises(AddressTakenError, match="already in use"):
        start_postgres(tmp_path / "other", durable=False, port=server.port)
    server.stop()


def test_an_interrupted_initdb_is_begun_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    server = start_postgres(tmp_path / "postgres", durable=False)
    server.stop()
    assert not unfinished.exists()


def test_a_damaged_cluster_shows_postgres_own_words(tmp_path: Path) -> None:
    start_postgres(tmp_path / "postgres", durable=False).stop()
    (tmp_path / "postgres" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(StartError, match=r"(?s)PostgreSQL ended with status 2.*pg_control"):
        start_postgres(tmp_path / "postgres", durable=False)


def test_valkey_asks_for_its_password_and_keeps_nothing(tmp_path: Path) -> None:
    server = start_valkey(tmp_path / "valkey")
    with redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        assert client.get("key") == b"value"
    with redis.Redis(port=server.port) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert server.password not in " ".join(psutil.Process(server.pid).cmdline())
    with pytest.raises(AddressTakenError):
        start_valkey(tmp_path / "other", port=server.port)
    server.stop()
    assert not is_alive(server.pid)

    again = start_valkey(tmp_path / "valkey", port=server.port)
    with redis.Redis.from_url(server.url) as client:
        assert client.get("key") is None
    again.stop()
