"""Runs one command and makes sure that it does not outlive whoever asked for it.

    python guard.py [--stop-signal INT] [--stop-timeout 10] [--user NAME] -- COMMAND...

Standard input is a pipe whose other end the supervisor holds for life. It closes when the supervisor ends, however it
ends (SIGKILL included), and the guard then stops the command. Linux could do this with prctl(PR_SET_PDEATHSIG), macOS
could not. The command's process id is written to standard output as one line; the command's own output goes to the
guard's standard error. Standard library only, so that it starts in a few milliseconds under `python -I -S`.

Exit status: the command's own, 128 + n when signal n ended it, 127 when it could not be started.
"""

import argparse
import contextlib
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from types import FrameType

CANNOT_START = 127
SIGNAL_BASE = 128
SUPERVISOR = 0  # standard input


class Stop:
    """Whether the command was asked to end; signal handlers set it."""

    requested = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True


def start(command: list[str], user: str | None) -> subprocess.Popen[bytes]:
    """The command in a process group of its own, so that the terminal's Ctrl-C does not reach it."""
    identity = pwd.getpwnam(user) if user else None
    return subprocess.Popen(  # noqa: S603 - the command line comes from the supervisor
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        stderr=sys.stderr,
        process_group=0,
        user=identity.pw_uid if identity else None,
        group=identity.pw_gid if identity else None,
        extra_groups=[] if identity else None,
    )


def guard(command: subprocess.Popen[bytes], stop: Stop, wake_up: int, stop_signal: int, stop_timeout: float) -> int:
    """Waits for the command's end, the supervisor's end or a signal, and returns the command's exit status."""
    deadline: float | None = None
    while command.poll() is None:
        if stop.requested and deadline is None:
            command.send_signal(stop_signal)
            deadline = time.monotonic() + stop_timeout
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            os.killpg(command.pid, signal.SIGKILL)
            command.wait()
            break
        watched = [wake_up] if stop.requested else [wake_up, SUPERVISOR]
        ready, _, _ = select.select(watched, [], [], left)
        if wake_up in ready:
            os.read(wake_up, 1024)
        if SUPERVISOR in ready and not os.read(SUPERVISOR, 1024):
            stop.requested = True
    # What the command started and left behind. macOS answers EPERM for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(command.pid, signal.SIGKILL)
    return command.returncode if command.returncode >= 0 else SIGNAL_BASE - command.returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="guard")
    parser.add_argument("--stop-signal", default="TERM", help="TERM, INT, ...: asks the command to end")
    parser.add_argument("--stop-timeout", type=float, default=10, help="seconds between asking and killing")
    parser.add_argument("--user", help="run the command as this user (needs root)")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()

    stop = Stop()
    wake_up, wake_up_write = os.pipe()
    os.set_blocking(wake_up_write, False)
    signal.set_wakeup_fd(wake_up_write, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)  # ends the select below

    try:
        command = start(options.command, options.user)
    except (OSError, KeyError) as error:
        print(f"cannot start {options.command[0]}: {error}", file=sys.stderr)  # noqa: T201 - goes to the child's log
        return CANNOT_START
    with contextlib.suppress(BrokenPipeError):
        os.write(1, f"{command.pid}\n".encode())
    os.close(1)
    stop_signal = signal.Signals[f"SIG{options.stop_signal}"]
    return guard(command, stop, wake_up, stop_signal, options.stop_timeout)


if __name__ == "__main__":
    sys.exit(main())
