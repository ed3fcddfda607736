"""A child process that ends with its supervisor, seen from the supervisor."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tunery.app.embedded import guard
from tunery.app.embedded.errors import AddressTakenError, StartError

LOG_LIMIT_BYTES = 16 * 1024**2
LOG_TAIL_LINES = 15
REAP_SECONDS = 5


class GuardedProcess:
    """A command under `guard.py`. `pid` is the command's own process id."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout: float = 10,
        user: str | None = None,
        directory: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_timeout = stop_timeout
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".old.log"))
        options = ["--stop-signal", stop_signal.name.removeprefix("SIG"), "--stop-timeout", str(stop_timeout)]
        if user:
            options += ["--user", user]
        with log.open("ab") as output:
            self._log_start = output.tell()
            self._guard = subprocess.Popen(  # noqa: S603 - our own guard
                [sys.executable, "-I", "-S", guard.__file__, *options, "--", *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(environment),
                cwd=directory,
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor, which stops children in order
            )
        assert self._guard.stdin is not None  # noqa: S101 - both are pipes
        assert self._guard.stdout is not None  # noqa: S101
        self._life_line = self._guard.stdin
        self.pid = 0
        with self._guard.stdout as report:
            line = report.readline()
        if not line:
            self.stop()
            raise StartError(f"{name} could not be started:\n{self.log_tail()}")
        self.pid = int(line)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._guard.poll()

    def wait(self, timeout: float | None = None) -> int:
        return self._guard.wait(timeout)

    def stop(self) -> None:
        """Asks the command to end, kills it after `stop_timeout` seconds; returns when it is gone."""
        with contextlib.suppress(BrokenPipeError):
            self._life_line.close()
        try:
            self._guard.wait(self._stop_timeout + REAP_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        if self._guard.returncode < 0 and self.pid:
            # The guard itself was killed and could not end its command.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def log_tail(self) -> str:
        """The last lines that this run wrote, for a message."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode(errors="replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-LOG_TAIL_LINES:]) + f"\n  (log: {self.log})"

    def wait_until(self, is_ready: Callable[[], bool], timeout: float) -> None:
        """Returns as soon as `is_ready`. Raises StartError, having stopped the child, when it ended or took longer."""
        deadline = time.monotonic() + timeout
        try:
            while not is_ready():
                status = self.poll()
                if status is not None or time.monotonic() > deadline:
                    what = f"ended with status {status}" if status is not None else f"was not ready in {timeout:g} s"
                    tail = self.log_tail()
                    error = AddressTakenError if "address already in use" in tail.lower() else StartError
                    raise error(f"{self.name} {what}:\n{tail}")  # noqa: TRY301 - stopped below like any interruption
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def service_environment(**extra: str) -> dict[str, str]:
    """A service's environment: none of Tunery's secrets, nothing that changes PostgreSQL's defaults (`PG*`)."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **extra}
