import os
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.app.processes import is_alive, wait_for, wait_until_gone
from tunery.app.embedded import supervisor as supervision
from tunery.app.embedded.errors import StartError
from tunery.app.embedded.guarded_process import GuardedProcess, service_environment
from tunery.app.embedded.supervisor import Child, Supervisor

SLEEP = "import time; time.sleep(600)"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(supervision, "FIRST_PAUSE", 0.05)


class Script:
    """A Python program whose every start can be made to fail."""

    def __init__(self, name: str, folder: Path, program: str = SLEEP) -> None:
        self.name = name
        self.folder = folder
        self.program = program
        self.starts: list[float] = []
        self.broken = False

    def start(self) -> GuardedProcess:
        self.starts.append(time.monotonic())
        if self.broken:
            raise StartError(f"{self.name} has no disk")
        return GuardedProcess(
            self.name,
            [sys.executable, "-c", self.program],
            log=self.folder / f"{self.name}.log",
            environment=service_environment(),
        )


def test_children_stop_in_reverse_order(tmp_path: Path) -> None:
    lines: list[str] = []
    supervisor = Supervisor(lines.append)
    for name in ("first", "second", "third"):
        supervisor.start(Child(name, Script(name, tmp_path).start))
    pids = list(supervisor.pids().values())
    supervisor.watch()
    supervisor.stop()
    assert [line for line in lines if "stopped" in line] == ["third stopped", "second stopped", "first stopped"]
    wait_until_gone(pids)


def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    lines: list[str] = []
    supervisor = Supervisor(lines.append)
    supervisor.start(Child("api", Script("api", tmp_path).start))
    other = supervisor.start(Child("worker", Script("worker", tmp_path).start))
    supervisor.watch()
    first = supervisor.pids()["api"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.pids()["api"] != first)
    assert is_alive(supervisor.pids()["api"])
    assert supervisor.pids()["worker"] == other.pid, "the others stay"
    assert lines[2:4] == [
        "api ended with status 137; starting it again in 0.05 s",
        f"api runs again, as process {supervisor.pids()['api']}",
    ]
    supervisor.stop()


def test_a_child_that_keeps_failing_is_started_ever_less_often(tmp_path: Path) -> None:
    lines: list[str] = []
    supervisor = Supervisor(lines.append)
    script = Script("node", tmp_path, "raise SystemExit(3)")
    supervisor.start(Child("node", script.start))
    supervisor.watch()
    wait_for(lambda: len(script.starts) == 4)
    supervisor.stop()
    pauses = [line.rpartition(" in ")[2] for line in lines if line.startswith("node ended with status 3")]
    assert pauses[:3] == ["0.05 s", "0.1 s", "0.2 s"]
    elapsed = [later - earlier for earlier, later in zip(script.starts, script.starts[1:], strict=False)]
    assert all(real >= told for real, told in zip(elapsed, (0.05, 0.1, 0.2), strict=True))
    assert supervisor.failure is None, "its absence does not stop the others"


def test_a_required_child_that_cannot_come_back_stops_all(tmp_path: Path) -> None:
    lines: list[str] = []
    supervisor = Supervisor(lines.append)
    database = Script("PostgreSQL", tmp_path)
    supervisor.start(Child("PostgreSQL", database.start, required=True))
    supervisor.start(Child("api", Script("api", tmp_path).start))
    pids = list(supervisor.pids().values())
    supervisor.watch()
    assert not supervisor.wait(0.1)
    database.broken = True
    os.kill(pids[0], signal.SIGKILL)
    assert supervisor.wait(20)
    assert supervisor.failure == "PostgreSQL has no disk\nPostgreSQL could not be brought back; stopping all"
    assert lines[-2:] == [supervisor.failure, "api stopped"]
    wait_until_gone(pids)
    supervisor.stop()


def test_a_required_child_that_comes_back_keeps_all_running(tmp_path: Path) -> None:
    supervisor = Supervisor(lambda _line: None)
    supervisor.start(Child("Valkey", Script("Valkey", tmp_path).start, required=True))
    supervisor.watch()
    first = supervisor.pids()["Valkey"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervisor.pids()["Valkey"] != first)
    assert not supervisor.wait(0.1)
    supervisor.stop()
