"""`tunery up`: everything on one machine, from one folder."""

import asyncio
import contextlib
import errno
import functools
import importlib.util
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Self

import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from tunery.app.database_urls import role_url
from tunery.app.embedded.data_folder import DataFolder
from tunery.app.embedded.errors import AddressError, CannotStart
from tunery.app.embedded.guarded_process import free_port, service_environment
from tunery.app.embedded.postgres import RunningPostgres, start_postgres
from tunery.app.embedded.postgres import find_binaries as find_postgres
from tunery.app.embedded.programs import (
    PROGRAMS,
    PYTHON,
    PYTHONPATH,
    Program,
    program_environment,
    setting_texts,
    start_program,
)
from tunery.app.embedded.stripe_sandbox import answers, register_webhook_endpoint, start_sandbox
from tunery.app.embedded.supervisor import Child, Supervisor
from tunery.app.embedded.valkey import RunningValkey, start_valkey
from tunery.app.embedded.valkey import find_binary as find_valkey
from tunery.app.settings import Settings
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, NODE_ROLE
from tunery.core.errors import Unavailable

HEALTH_TIMEOUT = 120.0
LOGIN_TIMEOUT = 15.0
DATABASE = "tunery"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound


class Up:
    """Tunery and the services that its settings do not name, running while the context lasts.

        with Up(Settings(), data_dir=Path("data")) as up:
            httpx.post(f"{up.base_url}/graphql", ...)

    Raises CannotStart, having stopped what it had started. `settings` are the complete ones, `embedded` names the
    settings that an embedded service filled.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        data_dir: Path = Path("data"),
        report: Callable[[str], None] = lambda _line: None,
        durable: bool = True,
        programs: tuple[Program, ...] = PROGRAMS,
    ) -> None:
        self.settings = _for_development(settings)
        self.data_dir = data_dir
        self.embedded: list[str] = []
        self._report = report
        self._durable = durable
        self._programs = programs
        self._supervisor = Supervisor(report)
        self._exit = contextlib.ExitStack()

    @property
    def base_url(self) -> str:
        """How clients on this machine, or at the public address when one is set, reach the API."""
        return self.settings.base_url if self.settings.public_url else self.local_url

    @property
    def local_url(self) -> str:
        host = ANY_ADDRESS.get(self.settings.host, self.settings.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.settings.port}"

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each child, by its name."""
        return self._supervisor.pids()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether a required service was lost for good, and everything stopped, within that many seconds."""
        return self._supervisor.wait(timeout)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        with signals_ignored():
            self._exit.close()

    def _start(self) -> None:
        folder = self._exit.enter_context(DataFolder(self.data_dir))
        if self.settings.port == 0:
            self._fill(port=free_port(self.settings.host))
        check_address(self.settings.host, self.settings.port)
        folder.announce(self.local_url)
        self._check_prerequisites()

        folder.begin_initialisation()
        self._exit.callback(self._supervisor.stop)
        if self.settings.root_key is None and self.settings.root_key_file is None:
            self._fill(root_key_file=folder.root_key_file)
            if self.settings.installation_secret is None:
                self._fill(installation_secret=SecretStr(folder.installation_secret))
        if self.settings.database_url is None:
            self._start_postgres(folder)
        if self.settings.redis_url is None:
            self._start_valkey(folder)
        if self.settings.storage_url is None:
            self._fill_embedded(storage_url=folder.storage.as_uri())
        self._report("migrating the database")
        migrate_or_explain(self.settings)
        self._fill(
            database_app_url=role_url(self.settings, APPLICATION_ROLE),
            database_dispatcher_url=role_url(self.settings, DISPATCHER_ROLE),
            database_node_url=role_url(self.settings, NODE_ROLE),
            node_token=SecretStr(self.settings.load_node_token()),
        )
        if self.settings.stripe_secret_key is None:
            self._start_sandbox(folder)
        elif self.settings.stripe_webhook_secret is None:
            raise CannotStart(
                f"TUNERY_STRIPE_SECRET_KEY needs TUNERY_STRIPE_WEBHOOK_SECRET, too: make an endpoint for"
                f" {self.base_url}/webhooks/stripe in Stripe's dashboard and take its signing secret"
            )
        folder.finish_initialisation()

        self._start_programs(folder)
        folder.write_runtime(
            {"pid": os.getpid(), "base_url": self.base_url, "embedded": self.embedded}
            | {"settings": setting_texts(self.settings, without={"root_key", "installation_secret", "node_token"})}
        )
        self._supervisor.watch()

    def _check_prerequisites(self) -> None:
        """Before anything is stored: what is missing must not leave a half-initialised folder."""
        if self.settings.root_key is not None or self.settings.root_key_file is not None:
            check_root_keys(self.settings)
        if self.settings.database_url is None:
            find_postgres()
        if self.settings.redis_url is None:
            find_valkey()

    def _start_postgres(self, folder: DataFolder) -> None:
        port = 0

        def start() -> RunningPostgres:
            nonlocal port  # a server that is started again must be where its clients know it
            server = start_postgres(
                folder.postgres,
                port=port,
                durable=self._durable,
                password=folder.secret("database-password"),
                log=folder.log("postgres"),
            )
            port = server.port
            return server

        server = self._supervisor.start(Child("PostgreSQL", start, required=True))
        server.create_database(DATABASE)
        self._fill_embedded(database_url=server.database_url(DATABASE))

    def _start_valkey(self, folder: DataFolder) -> None:
        port = 0

        def start() -> RunningValkey:
            nonlocal port
            server = start_valkey(
                folder.valkey, port=port, password=folder.secret("valkey-password"), log=folder.log("valkey")
            )
            port = server.port
            return server

        self._fill_embedded(redis_url=self._supervisor.start(Child("Valkey", start, required=True)).url)

    def _start_sandbox(self, folder: DataFolder) -> None:
        port = free_port()
        secret_key = folder.secret("stripe-secret-key", prefix="sk_test_")
        sandbox = Child(
            "Stripe sandbox",
            lambda: start_sandbox(
                PYTHON,
                port=port,
                data=folder.sandbox_state,
                secret_key=secret_key,
                log=folder.log("stripe-sandbox"),
                environment=service_environment(PYTHONPATH=PYTHONPATH),
            ),
            required=True,
        )
        self._supervisor.start(sandbox)
        api_base = f"http://127.0.0.1:{port}"
        webhook_secret = register_webhook_endpoint(
            folder.secret_file("stripe-webhook-endpoint"),
            api_base=api_base,
            secret_key=secret_key,
            url=f"{self.local_url}/webhooks/stripe",  # the sandbox is on this machine, whatever the public address
        )
        self._fill_embedded(
            stripe_secret_key=SecretStr(secret_key),
            stripe_webhook_secret=SecretStr(webhook_secret),
            stripe_api_base=api_base,
        )

    def _start_programs(self, folder: DataFolder) -> None:
        for program in self._programs:
            if program.needs and importlib.util.find_spec(program.needs) is None:
                self._report(f"no {program.name}: it needs {program.needs} (pip install 'tunery[{program.name}]')")
                continue
            environment = program_environment(program, self.settings)
            process = self._supervisor.start(
                Child(program.name, functools.partial(start_program, program, environment, folder.log(program.name)))
            )
            if program.name == "api":
                api = process
        with_node = "node" in self.pids

        def is_ready(response: httpx.Response) -> bool:
            return response.is_success and (not with_node or response.json()["nodes"] > 0)

        api.wait_until(lambda: answers(f"{self.local_url}/health", is_ready), HEALTH_TIMEOUT)

    def _fill(self, **values: Any) -> None:
        self.settings = self.settings.model_copy(update=values)

    def _fill_embedded(self, **values: Any) -> None:
        self._fill(**values)
        self.embedded.extend(values)


def _for_development(settings: Settings) -> Settings:
    """Unless they say otherwise, or others than this machine can call it."""
    loopback = settings.host in ("127.0.0.1", "::1", "localhost") and settings.public_url is None
    if "environment" in settings.model_fields_set or not loopback:
        return settings
    return settings.model_copy(update={"environment": "development"})


def check_address(host: str, port: int) -> None:
    """Raises AddressError unless this process could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressError(
                f"port {port} of {host} is taken by another program: stop it, or choose another port with --port"
            ) from None
        if error.errno == errno.EACCES:
            raise AddressError(f"port {port} needs more rights: choose one above 1023 with --port") from None
        raise AddressError(f"cannot listen on {host}: {error.strerror}; choose another address with --host") from None


def check_root_keys(settings: Settings) -> None:
    """Raises CannotStart unless there are some, and the installation's secret."""
    try:
        settings.load_root_keys()
        settings.load_installation_secret()
    except (ValueError, OSError) as error:
        raise CannotStart(str(error)) from None


def migrate_or_explain(settings: Settings) -> None:
    """`migrate`, after checks that turn what the user can mend into CannotStart."""
    from tunery.app.migrate import migrate
    from tunery.vault.liboqs import LiboqsMissing

    check_root_keys(settings)
    # In a thread: the caller may be inside an event loop, and the migration runs one of its own.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(check_owner_login(settings.database_url))).result()
        try:
            thread.submit(migrate, settings).result()
        except (ValueError, LiboqsMissing, Unavailable) as error:
            raise CannotStart(str(error)) from error


async def check_owner_login(url: str | None) -> None:
    """Raises CannotStart unless PostgreSQL lets the owner in."""
    import asyncpg

    try:
        connection = await asyncpg.connect(url, timeout=LOGIN_TIMEOUT)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CannotStart(f"PostgreSQL (TUNERY_DATABASE_URL) cannot be used: {error or 'no answer'}") from error
    await connection.close()


@contextlib.contextmanager
def signals_ignored() -> Iterator[None]:
    """While children are stopped, an impatient second Ctrl-C must not leave some of them running."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def interrupt_once(_signal: int, _frame: FrameType | None) -> None:
    """Ends whatever the main thread is doing, starting included. Later signals must not interrupt the stopping."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def run_up(
    settings: Settings,
    data_dir: Path,
    programs: tuple[Program, ...] = PROGRAMS,
    once_started: Callable[[Up], None] = lambda _up: None,
) -> int:
    """The command: runs until Ctrl-C or SIGTERM (exit status 0), or until a service is lost for good (1)."""
    console = Console(highlight=False, soft_wrap=True)
    for number in STOP_SIGNALS:
        signal.signal(number, interrupt_once)
    try:
        with Up(
            settings,
            data_dir=data_dir,
            report=lambda line: console.print(line, markup=False),
            programs=programs,
        ) as up:
            console.print(addresses(up))
            once_started(up)
            up.wait()
            return 1
    except KeyboardInterrupt:
        return 0


def addresses(up: Up) -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("GraphQL", f"{up.base_url}/graphql")
    table.add_row("OpenAI-compatible", f"{up.base_url}/v1")
    table.add_row("Health", f"{up.base_url}/health")
    if "stripe_api_base" in up.embedded:
        table.add_row("Stripe sandbox", up.settings.stripe_api_base)
    table.add_row("Data and logs", str(up.data_dir.absolute()))
    table.add_row("Stop", "Ctrl-C")
    return table
