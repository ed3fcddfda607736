"""The contenders' processes: how each is started, alone on the first core, and asked."""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from benchmarks.graphql import statements
from benchmarks.graphql.installation import Installation
from benchmarks.graphql.workloads import DEPLOYMENTS, LISTING, MIXED, NEWEST, SEARCH, TYPENAME, Call
from tunery.app.database_urls import role_url
from tunery.app.embedded.guarded_process import GuardedProcess, free_port, service_environment
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE

ROOT = Path(__file__).parents[2]
NODE_SOURCES = Path(__file__).parent / "contenders" / "node"
POSTGRAPHILE_NEEDS_NODE = 22
START_TIMEOUT = 60.0
INSTALL_TIMEOUT = 180.0
RATE_LIMITS = dict.fromkeys(("TUNERY_RATE_LIMIT_POINTS", "TUNERY_RATE_LIMIT_PER_SECOND"), "1000000000")
"""Beyond what one core can answer; every request is still counted against them."""

PYTHON = ("tunery", "bare", "naive", "tuned")
NODE = ("mercurius", "apollo", "postgraphile")


class Missing(Exception):
    """A contender cannot run on this machine; says why."""


@dataclass(frozen=True)
class Server:
    """One contender that answers. `translate` puts a call into its own dialect, None: it does not take part."""

    name: str
    process: GuardedProcess
    port: int
    client: httpx.Client
    translate: Callable[[Call], Call | None]

    @property
    def pid(self) -> int:
        return self.process.pid

    def ask(self, call: Call) -> dict[str, Any]:
        """The whole answer."""
        translated = self.translate(call)
        assert translated is not None
        head, _, body = translated.render().partition("\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
        response = self.client.post("/graphql", content=body, headers=headers)
        assert response.is_success, f"{self.name} answers {response.status_code}: {response.text[:2000]}"
        answer: dict[str, Any] = response.json()
        assert "errors" not in answer, f"{self.name}: {answer}"
        return answer


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """What this process starts meanwhile stays on that core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Contenders:
    """Starts contenders by name, for one installation. All end with the stack."""

    def __init__(self, installation: Installation, folder: Path, core: int, stack: ExitStack) -> None:
        self._installation = installation
        self._folder = folder
        self._core = core
        self._stack = stack
        self._peers: NodePeers | None = None

    def start(self, name: str) -> Server:
        """Raises Missing."""
        if name == "tunery":
            return self._start_tunery()
        if name in PYTHON:
            return self._start_python(name)
        if self._peers is None:
            self._peers = NodePeers(self._folder / "node", self._installation)
        return self._start_node(name, self._peers)

    def _start_tunery(self) -> Server:
        settings = self._installation.settings
        assert settings.redis_url is not None
        assert settings.storage_url is not None
        environment = {
            "TUNERY_DATABASE_APP_URL": role_url(settings, APPLICATION_ROLE),
            "TUNERY_DATABASE_DISPATCHER_URL": role_url(settings, DISPATCHER_ROLE),
            "TUNERY_REDIS_URL": settings.redis_url,
            "TUNERY_STORAGE_URL": settings.storage_url,
            "TUNERY_TRACING_ENDPOINT": f"http://127.0.0.1:{self._start_collector()}/v1/traces",
        }
        for name in ("root_key", "stripe_secret_key", "stripe_webhook_secret"):
            environment[f"TUNERY_{name.upper()}"] = getattr(settings, name).get_secret_value()
        port = free_port()
        command = [sys.executable, "-m", "tunery.app.cli", "api", "--port", str(port)]
        # In a folder of its own, where no .env lies.
        return self._serve("tunery", command, port, environment | RATE_LIMITS, self._folder, unchanged)

    def _start_collector(self) -> int:
        """Its port. It shares the core of the database."""
        port = free_port()
        self._run("collector", uvicorn("benchmarks.graphql.collector:app", port), port, {}, ROOT)
        return port

    def _start_python(self, name: str) -> Server:
        port = free_port()
        command = uvicorn(f"benchmarks.graphql.contenders.{name}:app", port)
        return self._serve(name, command, port, self._urls(), ROOT, not_mixed)

    def _start_node(self, name: str, peers: "NodePeers") -> Server:
        port = free_port()
        environment = self._urls() | {"PORT": str(port), "NODE_ENV": "production", "GRAPHILE_ENV": "production"}
        environment["STATEMENTS"] = str(peers.statements)
        translate = to_postgraphile if name == "postgraphile" else not_mixed
        return self._serve(name, peers.command(name), port, environment, peers.folder, translate)

    def _urls(self) -> dict[str, str]:
        return {"OWNER_URL": self._installation.owner_url, "APPLICATION_URL": self._installation.application_url}

    def _serve(
        self,
        name: str,
        command: list[str],
        port: int,
        environment: dict[str, str],
        directory: Path,
        translate: Callable[[Call], Call | None],
    ) -> Server:
        with pinned(self._core):
            process = self._run(name, command, port, environment, directory)
        client = self._stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=START_TIMEOUT))
        return Server(name, process, port, client, translate)

    def _run(
        self, name: str, command: list[str], port: int, environment: dict[str, str], directory: Path
    ) -> GuardedProcess:
        """A process that accepts connections, ended with the stack."""
        log = self._folder / f"{name}.log"
        process = GuardedProcess(
            name, command, log=log, environment=service_environment(**environment), directory=directory
        )
        self._stack.callback(process.stop)
        process.wait_until(partial(accepts, port), START_TIMEOUT)
        return process


class NodePeers:
    """The Node servers with their packages, installed from npm into a folder that is thrown away."""

    def __init__(self, folder: Path, installation: Installation) -> None:
        self.folder = folder
        self._installation = installation
        node, self._npm = shutil.which("node"), shutil.which("npm")
        if node is None or self._npm is None:
            raise Missing("needs Node and npm")
        self._node = node
        shutil.copytree(NODE_SOURCES, folder)
        self._install()
        self.statements = folder / "statements.json"
        self.statements.write_text(json.dumps(statements.templates()))

    def command(self, name: str) -> list[str]:
        """Raises Missing."""
        if name == "postgraphile":
            self._take_newer_node()
            asyncio.run(self._prepare_database())
        return [self._node, f"{name}.mjs"]

    def _install(self, *packages: str) -> None:
        options = ["--no-audit", "--no-fund", "--no-package-lock", "--no-save", "--ignore-scripts", "--loglevel=error"]
        assert self._npm is not None
        try:
            subprocess.run(  # noqa: S603 - our own arguments
                [self._npm, "install", *options, *packages],
                cwd=self.folder,
                check=True,
                capture_output=True,
                text=True,
                timeout=INSTALL_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            raise Missing(f"npm install took more than {INSTALL_TIMEOUT:g} s") from None
        except subprocess.CalledProcessError as error:
            raise Missing(f"npm install failed: {error.stderr.strip()[-500:]}") from None

    def _take_newer_node(self) -> None:
        version = subprocess.run([self._node, "--version"], check=True, capture_output=True, text=True).stdout  # noqa: S603
        if int(version.strip().removeprefix("v").partition(".")[0]) >= POSTGRAPHILE_NEEDS_NODE:
            return
        processor = {"x86_64": "x64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
        package = f"node-linux-{processor}"
        self._install(f"{package}@{POSTGRAPHILE_NEEDS_NODE}")
        self._node = str(self.folder / "node_modules" / package / "bin" / "node")

    async def _prepare_database(self) -> None:
        connection = await asyncpg.connect(self._installation.owner_url)
        try:
            await connection.execute((NODE_SOURCES / "postgraphile.sql").read_text())
        finally:
            await connection.close()


def uvicorn(app: str, port: int) -> list[str]:
    """The command that serves it as fast as uvicorn can."""
    quiet = ["--no-access-log", "--log-level", "warning"]
    return [
        sys.executable,
        "-m",
        "uvicorn",
        app,
        "--port",
        str(port),
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        *quiet,
    ]


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def unchanged(call: Call) -> Call | None:
    return call


def not_mixed(call: Call) -> Call | None:
    return None if call.query == MIXED else call


_VERSIONS = "listingVersionsByListingId(first: {count}, orderBy: [PRIMARY_KEY_DESC])"
_VERSION = "nodes { number digest baseModel createdAt }"
_SELLER = "seller: sellerByTenantId { namespace name }"
POSTGRAPHILE = {
    LISTING: (
        "query Listing($id: UUID!) { listing: listingByRowId(rowId: $id) { "
        "id: rowId name title description licence price currency publishedAt "
        f"{_SELLER} versions: {_VERSIONS.format(count=3)} {{ {_VERSION} }} }} }}"
    ),
    NEWEST: (
        "query Newest($first: Int!) { listings: allListings(first: $first, orderBy: [PRIMARY_KEY_DESC]) { "
        f"edges {{ cursor node {{ id: rowId name title price currency publishedAt {_SELLER} "
        f"latestVersion: {_VERSIONS.format(count=1)} {{ {_VERSION} }} }} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    ),
    SEARCH: (
        "query Search($text: String!, $baseModel: String!, $first: Int!) { "
        "listings: searchListings(words: $text, wanted: $baseModel, first: $first) { "
        f"edges {{ cursor node {{ id: rowId name title price currency baseModel {_SELLER} }} }} "
        "pageInfo { hasNextPage endCursor } } }"
    ),
    TYPENAME: TYPENAME,
}
"""The same rows in the schema that PostGraphile derives from the tables."""


def to_postgraphile(call: Call) -> Call | None:
    if call.query in (DEPLOYMENTS, MIXED):
        return None
    variables = call.variables
    if "id" in variables:
        digits = variables["id"].removeprefix("lst_")
        variables = {"id": re.sub("^(.{8})(.{4})(.{4})(.{4})", r"\1-\2-\3-\4-", digits)}
    return replace(call, query=POSTGRAPHILE[call.query], variables=variables)
