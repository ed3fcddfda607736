"""The load: so many keep-alive connections, each with one request under way, from a process of its own.

Reads the order from standard input as JSON (`port`, `pid` of the server, `connections`, `ramp` and `seconds`, and the
`requests` to send in turns, over and over) and writes what it measured to standard output. After the ramp it counts
the requests that end within the seconds, and the CPU time that the server's processes take in them.
"""

import asyncio
import itertools
import json
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import uvloop

END_OF_HEAD = b"\r\n\r\n"


@dataclass
class Run:
    """One measurement. `failure` ends it early."""

    requests: Iterator[bytes]
    ended: asyncio.Future[None]
    latencies: array = field(default_factory=lambda: array("d"))
    """Seconds from sending a request to the last byte of its answer."""

    def fail(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError(reason))


class Connection(asyncio.Protocol):
    def __init__(self, run: Run) -> None:
        self._run = run
        self._answer = bytearray()
        self._length = 0
        """Of the whole answer; 0 until its head is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._answer.clear()
        self._length = 0
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._run.requests))

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if not self._length and not self._read_head():
            return
        if len(self._answer) < self._length:
            return
        self._run.latencies.append(time.perf_counter() - self._sent_at)
        if not self._answer.startswith(b"HTTP/1.1 200 ") or b'"errors"' in self._answer:
            self._run.fail(self._answer[:2000].decode(errors="replace"))
        elif not self._run.ended.done():
            self._send()

    def _read_head(self) -> bool:
        end = self._answer.find(END_OF_HEAD)
        if end < 0:
            return False
        head = bytes(self._answer[: end + 2]).lower()
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if not found:
            self._run.fail(f"an answer without content-length: {head.decode(errors='replace')}")
            return False
        self._length = end + len(END_OF_HEAD) + int(rest.partition(b"\r\n")[0])
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._run.fail(f"the server closed a connection: {error}")


def cpu_seconds(pid: int) -> float:
    """That the process and its descendants have been on a core, from the kernel's scheduler."""
    total = 0.0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            total += int((thread / "schedstat").read_text().split()[0]) / 1e9
            total += sum(cpu_seconds(int(child)) for child in (thread / "children").read_text().split())
    return total


async def measure(
    *, port: int, pid: int, connections: int, ramp: float, seconds: float, requests: list[str]
) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    run = Run(itertools.cycle([request.encode() for request in requests]), loop.create_future())
    transports = []
    for _ in range(connections):
        transport, _ = await loop.create_connection(lambda: Connection(run), "127.0.0.1", port)
        transports.append(transport)
    await asyncio.wait([run.ended], timeout=ramp)
    del run.latencies[:]
    began, cpu_before = time.perf_counter(), cpu_seconds(pid)
    await asyncio.wait([run.ended], timeout=seconds)
    wall, cpu = time.perf_counter() - began, cpu_seconds(pid) - cpu_before
    latencies = sorted(run.latencies)
    if not run.ended.done():
        run.ended.set_result(None)
    run.ended.result()
    for transport in transports:
        transport.close()
    if not latencies:
        raise RuntimeError(f"no answer within {seconds:g} s")
    return {
        "requests": len(latencies),
        "wall": wall,
        "cpu": cpu,
        "p50": latencies[len(latencies) // 2],
        "p99": latencies[len(latencies) * 99 // 100],
    }


def main() -> None:
    order = json.load(sys.stdin)
    try:
        print(json.dumps(uvloop.run(measure(**order))))
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
