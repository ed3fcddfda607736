"""Keeps a set of child processes running, and stops them in the reverse of the order in which they were started."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tunery.app.embedded.errors import StartError

POLL_SECONDS = 0.2
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
STABLE_SECONDS = 60.0  # a child that ran this long begins again with the first pause
SERVICE_ATTEMPTS = 3

Report = Callable[[str], None]


class Running(Protocol):
    """A started child: `GuardedProcess`, `RunningPostgres`, `RunningValkey`."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def stop(self) -> None: ...


RunningT_co = TypeVar("RunningT_co", bound=Running, covariant=True)


@dataclass(frozen=True)
class Child(Generic[RunningT_co]):
    """What to run. `start` returns once the child is as ready as its dependants need, or raises StartError; it is
    called again, for the same address, after the child ended. Without a `required` child nothing else can work.
    """

    name: str
    start: Callable[[], RunningT_co]
    required: bool = False


@dataclass
class Started:
    child: Child[Running]
    process: Running
    since: float
    failures: int = 0
    retry_at: float | None = None


class Supervisor:
    """Restarts what ends, with a growing pause. When a required child cannot be brought back it stops all.

    A thread of its own watches, so that the caller's thread is free (`tunery up` waits for Ctrl-C, the demo works).
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._started: list[Started] = []
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._watcher: threading.Thread | None = None
        self.failure: str | None = None

    def start(self, child: Child[RunningT_co]) -> RunningT_co:
        """Starts one child; not while watching. Raises StartError."""
        began = time.monotonic()
        process = child.start()
        self._started.append(Started(child, process, time.monotonic()))
        self._report(f"{child.name} runs as process {process.pid} ({time.monotonic() - began:.1f} s)")
        return process

    def watch(self) -> None:
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Whether everything ended within that many seconds; `failure` then says why."""
        return self._ended.wait(timeout)

    def pids(self) -> dict[str, int]:
        return {started.child.name: started.process.pid for started in self._started}

    def stop(self) -> None:
        """Stops all, last started first. May be called again."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        self._stop_children()

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for started in self._started:
                self._look_after(started)
                if self.failure:
                    self._report(self.failure)
                    self._stop_children()
                    return
                if self._stopping.is_set():
                    return

    def _look_after(self, started: Started) -> None:
        now = time.monotonic()
        if started.retry_at is not None:
            if now >= started.retry_at:
                self._restart(started)
            return
        status = started.process.poll()
        if status is None:
            if started.failures and now - started.since > STABLE_SECONDS:
                started.failures = 0
            return
        # Ends a command whose guard was killed, which no guard ends any more.
        started.process.stop()
        self._schedule(started, f"{started.child.name} ended with status {status}")

    def _restart(self, started: Started) -> None:
        try:
            started.process = started.child.start()
        except StartError as error:
            self._schedule(started, str(error))
            return
        started.since = time.monotonic()
        started.retry_at = None
        self._report(f"{started.child.name} runs again, as process {started.process.pid}")

    def _schedule(self, started: Started, reason: str) -> None:
        started.failures += 1
        if started.child.required and started.failures > SERVICE_ATTEMPTS:
            self.failure = f"{reason}\n{started.child.name} could not be brought back; stopping all"
            return
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (started.failures - 1))
        started.retry_at = time.monotonic() + pause
        self._report(f"{reason}; starting it again in {pause:g} s")

    def _stop_children(self) -> None:
        while self._started:
            started = self._started[-1]
            running = started.process.poll() is None
            started.process.stop()
            self._started.pop()
            if running:
                self._report(f"{started.child.name} stopped")
        self._ended.set()
