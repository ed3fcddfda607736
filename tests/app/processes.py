"""Looking at processes from outside."""

import time
from collections.abc import Callable, Iterable

import psutil


def is_alive(pid: int) -> bool:
    """Zombies are dead: nobody may have collected them yet."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def wait_for(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def wait_until_gone(pids: Iterable[int], seconds: float = 20) -> None:
    remaining = list(pids)
    assert remaining
    wait_for(lambda: not any(is_alive(pid) for pid in remaining), seconds)
