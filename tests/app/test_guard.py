import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.app.processes import descendants, is_alive, wait_for, wait_until_gone
from tunery.app.embedded.errors import StartError
from tunery.app.embedded.guarded_process import GuardedProcess, service_environment

SLEEP = "import time; time.sleep(600)"
# Notes how it was asked to end; `ends` says whether it then does.
NOTES_SIGNALS = """
import signal, sys, time
from pathlib import Path
def note(number, frame):
    Path(sys.argv[1]).write_text(signal.Signals(number).name)
    if sys.argv[2] == "ends":
        sys.exit(7)
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, note)
print("ready", flush=True)
while True:
    time.sleep(600)
"""
SUPERVISOR = f"""
import time
from pathlib import Path
import sys
from tunery.app.embedded.guarded_process import GuardedProcess, service_environment
command = [sys.executable, "-c", {SLEEP!r}]
child = GuardedProcess("child", command, log=Path(sys.argv[1]), environment=service_environment())
print(child.pid, flush=True)
time.sleep(600)
"""


def start(
    tmp_path: Path, *command: str, stop_signal: signal.Signals = signal.SIGTERM, stop_timeout: float = 10
) -> GuardedProcess:
    return GuardedProcess(
        "child",
        [sys.executable, "-c", *command],
        log=tmp_path / "child.log",
        environment=service_environment(),
        stop_signal=stop_signal,
        stop_timeout=stop_timeout,
    )


def start_noting(tmp_path: Path, ends: str, **options: object) -> tuple[GuardedProcess, Path]:
    note = tmp_path / "note"
    process = start(tmp_path, NOTES_SIGNALS, str(note), ends, **options)  # type: ignore[arg-type]
    process.wait_until(lambda: "ready" in process.log.read_text(), 20)
    return process, note


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
def test_a_command_is_asked_to_end_with_its_own_signal(tmp_path: Path, stop_signal: signal.Signals) -> None:
    process, note = start_noting(tmp_path, "ends", stop_signal=stop_signal)
    process.stop()
    assert note.read_text() == stop_signal.name
    assert process.poll() == 7
    assert not is_alive(process.pid)


def test_a_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    process, note = start_noting(tmp_path, "stays", stop_timeout=0.3)
    began = time.monotonic()
    process.stop()
    assert note.read_text() == "SIGTERM"
    assert 0.3 <= time.monotonic() - began < 5
    assert process.poll() == 128 + signal.SIGKILL


def test_the_guard_passes_on_sigterm(tmp_path: Path) -> None:
    process, note = start_noting(tmp_path, "ends")
    guard_pid = next(pid for pid in descendants(os.getpid()) if process.pid in descendants(pid))
    os.kill(guard_pid, signal.SIGTERM)
    assert process.wait(20) == 7
    assert note.read_text() == "SIGTERM"
    process.stop()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_ends_with_its_supervisor(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", SUPERVISOR, str(tmp_path / "child.log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        family = descendants(supervisor.pid)
        assert pid in family
        supervisor.send_signal(how)
    wait_until_gone(family)


def test_what_a_command_left_behind_ends_with_it(tmp_path: Path) -> None:
    program = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid, flush=True)"
    process = start(tmp_path, program)
    assert process.wait(20) == 0
    wait_until_gone([int(process.log.read_text())])
    process.stop()


def test_a_killed_guard_does_not_save_its_command(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    guard_pid = next(pid for pid in descendants(os.getpid()) if process.pid in descendants(pid))
    os.kill(guard_pid, signal.SIGKILL)
    wait_for(lambda: process.poll() is not None)
    process.stop()
    wait_until_gone([process.pid])


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot start /no/such/program"):
        GuardedProcess("child", ["/no/such/program"], log=tmp_path / "log", environment={})


def test_a_command_that_ends_too_early_shows_its_log(tmp_path: Path) -> None:
    process = start(tmp_path, "import sys; sys.exit('the disk is full')")
    with pytest.raises(StartError, match=r"(?s)child ended with status 1:.*the disk is full.*child\.log"):
        process.wait_until(lambda: False, 20)


def test_a_command_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    with pytest.raises(StartError, match=r"not ready in 0\.1 s"):
        process.wait_until(lambda: False, 0.1)
    assert not is_alive(process.pid)
