"""A running `tunery up`: its processes to be killed, its database to be counted, its tenants."""

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
from openai import OpenAI

from tests.app.processes import is_alive
from tests.e2e.caller import Caller
from tunery.app.demo import play
from tunery.app.demo.play import Party
from tunery.app.up import Up
from tunery.core import ids

RESTART_SECONDS = 60


@dataclass(frozen=True)
class Tenant:
    """A fresh organisation on the free plan, and both clients of it."""

    id: UUID
    party: Party
    caller: Caller

    @property
    def api_key(self) -> str:
        assert self.party.client.api_key is not None
        return self.party.client.api_key


class Installation:
    """Everything runs in child processes, as on a user's machine; the tests are just another client."""

    def __init__(self, up: Up) -> None:
        self.up = up
        self._clients = contextlib.ExitStack()

    @property
    def base_url(self) -> str:
        return self.up.local_url

    def sign_up(self, name: str) -> Tenant:
        party = play.sign_up(self.base_url, name, f"{name.lower().replace(' ', '-')}-{secrets.token_hex(3)}")
        self._clients.callback(party.client.close)
        identifier = party.client.query("{ organisation { id } }")["organisation"]["id"]
        return Tenant(ids.decode("tenant", identifier), party, self.caller(party.client.api_key))

    def caller(self, api_key: str | None = None) -> Caller:
        caller = Caller(self.base_url, api_key)
        self._clients.callback(caller.http.close)
        return caller

    def openai(self, api_key: str) -> OpenAI:
        return self._clients.enter_context(
            OpenAI(base_url=f"{self.base_url}/v1", api_key=api_key, max_retries=0, timeout=30)
        )

    def close(self) -> None:
        self._clients.close()

    # Processes

    def alive(self, *names: str) -> dict[str, int]:
        """The process ids of those that live."""
        return {name: self.up.pids[name] for name in names if is_alive(self.up.pids[name])}

    def kill(self, name: str) -> int:
        """SIGKILL; the process id that is gone."""
        pid = self.up.pids[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_for_restart(self, name: str, killed: int) -> None:
        """Until another process of that name runs, and answers if it is the API."""
        wait_for(lambda: self.up.pids.get(name, killed) != killed, RESTART_SECONDS)
        if name == "api":
            wait_for(self.is_healthy, RESTART_SECONDS)

    def is_healthy(self) -> bool:
        try:
            return httpx.get(f"{self.base_url}/health", trust_env=False, timeout=5).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    @contextmanager
    def stopped(self, name: str) -> Iterator[int]:
        """SIGSTOP, and SIGCONT in the end."""
        with stopped(self.up.pids[name]):
            yield self.up.pids[name]

    # Looking inside

    def log(self, name: str) -> Path:
        return self.up.data_dir / "logs" / f"{name}.log"

    def rows(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """What the database's superuser finds, whoever owns it."""

        async def fetch() -> list[dict[str, Any]]:
            connection = await asyncpg.connect(self.up.settings.database_url)
            try:
                return [dict(row) for row in await connection.fetch(sql, *arguments)]
            finally:
                await connection.close()

        return run_async(fetch)

    def value(self, sql: str, *arguments: object) -> Any:
        (row,) = self.rows(sql, *arguments)
        (value,) = row.values()
        return value

    def holdings(self, *tenants: Tenant) -> dict[str, Any]:
        """The number of these tenants' rows in every table, their balances, and the files in object storage: what a
        refused request must leave as it was.
        """
        tables = [
            row["table_name"]
            for row in self.rows(
                "SELECT table_name FROM information_schema.columns"
                " WHERE table_schema = 'public' AND column_name = 'tenant_id' ORDER BY table_name"
            )
        ]
        counts = " UNION ALL ".join(
            f"SELECT '{table}' AS name, count(*) AS rows FROM {table} WHERE tenant_id = ANY($1)" for table in tables
        )
        owned = [tenant.id for tenant in tenants]
        accounts = self.rows(
            "SELECT tenant_id, kind, balance, reserved FROM accounts WHERE tenant_id = ANY($1) ORDER BY 1, 2", owned
        )
        folder = Path((self.up.settings.storage_url or "").removeprefix("file://"))
        files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        return {
            "rows": {row["name"]: row["rows"] for row in self.rows(counts, owned)},
            "accounts": accounts,
            "files": files,
        }


def run_async(function: Callable[[], Any]) -> Any:
    """In a thread and an event loop of its own: the test's thread may have one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(function())).result()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)
