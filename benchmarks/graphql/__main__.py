"""GraphQL as people would ask it: our server beside a bare endpoint with hand-written SQL, Strawberry, and Node's best.

How to read the table. A row is one query on one server. Each server has the first core to itself while PostgreSQL,
Valkey and the load share the second: `req/s` is what such a machine answers. `per core-s` is how many requests one
second of the server's own CPU time answers, whatever the database could follow with. `x bare` is that figure over the
bare endpoint's in the same round, the median of all rounds. The goals are ratios of the same kind. p50 and p99 are
milliseconds from sending to the last byte, with sixteen connections that each have one request under way.

Q1 one listing with its seller and three versions, Q2 the newest 5 to 36 (20.5 on average) as a connection with seller
and latest version, Q3 fifty found by a word and a base model, Q4 twenty deployments of one tenant under row-level
security, Q5 no data at all. Q2 identical: every connection asks for the same twenty. Q2 fallback: Q2 beside a root
field that only a resolver can answer.

Our server does all it does in production: authentication, tenant context, limits, cost headers, logs, tracing. The
others do none of it; they are told the tenant in a header, and read public rows as the superuser, free of row-level
security. Before anything is measured, each has given the same data as the bare endpoint; PostGraphile, whose schema is
its own, the same rows. The Node servers take part where npm can install them.

LARGE=1 measures longer, FAST=1 hardly at all, ONLY=bare,naive picks servers; neither of the last two keeps results.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.graphql.equality import check
from benchmarks.graphql.installation import install
from benchmarks.graphql.servers import NODE, PYTHON, Contenders, Missing, Server, pinned
from benchmarks.graphql.workloads import Call, workloads
from benchmarks.measure import report

LARGE, FAST, ONLY = "LARGE" in os.environ, "FAST" in os.environ, os.environ.get("ONLY")
ROUNDS, SECONDS, RAMP = (9, 4.0, 0.5) if LARGE else (1, 0.3, 0.1) if FAST else (5, 1.25, 0.2)
WARM_UP = 0.3 if FAST else 1.0
CONNECTIONS = 16
ONLY_OURS = {"Q2 identical": ("tunery", "bare"), "Q2 fallback": ("tunery",)}
PLANNED = ("Q1 listing", "Q2 newest", "Q3 search")


@dataclass(frozen=True)
class Figure:
    """Of one run: seconds of latency, requests per second and per second of the server's CPU time."""

    per_second: float
    per_server_second: float
    p50: float
    p99: float


Figures = dict[tuple[str, str], list[Figure]]
"""By query and server, one for each round."""


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        print("one core only: servers, database and load share it, latencies tell little")
    server_core, other_core = cores[0], cores[-1]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, pinned(other_core):
        installation = install(Path(folder), stack)
        contenders = Contenders(installation, Path(folder), server_core, stack)
        servers = start(contenders, ONLY.split(",") if ONLY else [*PYTHON, *NODE])
        figures = measure_all(servers, workloads(installation))
    keep = not (ONLY or FAST)
    report("graphql", table(figures), goals(figures), keep=keep)


def start(contenders: Contenders, names: list[str]) -> dict[str, Server]:
    servers = {}
    for name in names:
        if name not in PYTHON + NODE:
            sys.exit(f"there is no {name}, only {', '.join(PYTHON + NODE)}")
        try:
            servers[name] = contenders.start(name)
        except Missing as reason:
            print(f"without {name}: {reason}")
    return servers


def measure_all(servers: dict[str, Server], calls: dict[str, list[Call]]) -> Figures:
    plan: list[tuple[str, Server, list[str]]] = []
    for query, asked in calls.items():
        for server in servers.values():
            if server.name in ONLY_OURS.get(query, servers) and server.translate(asked[0]) is not None:
                if "bare" in servers:
                    check(servers["bare"], server, asked)
                translated = [server.translate(call) for call in asked]
                plan.append((query, server, [call.render() for call in translated if call is not None]))
    for _, server, requests in plan:
        run(server, requests, WARM_UP)
    figures: Figures = defaultdict(list)
    for _ in range(ROUNDS):
        for query, server, requests in plan:
            figures[query, server.name].append(run(server, requests, SECONDS))
    return figures


def run(server: Server, requests: list[str], seconds: float) -> Figure:
    """Raises RuntimeError with what a server gave instead of an answer."""
    order = {"port": server.port, "pid": server.pid, "connections": CONNECTIONS, "ramp": RAMP, "seconds": seconds}
    load = subprocess.run(  # noqa: S603 - our own
        [sys.executable, str(Path(__file__).with_name("load.py"))],
        input=json.dumps(order | {"requests": requests}),
        capture_output=True,
        text=True,
        check=False,
    )
    if load.returncode:
        raise RuntimeError(f"{server.name}: {load.stderr}")
    seen = json.loads(load.stdout)
    count = seen["requests"]
    return Figure(count / seen["wall"], count / seen["cpu"], seen["p50"], seen["p99"])


def table(figures: Figures) -> list[dict[str, Any]]:
    rows = []
    for (query, server), runs in figures.items():
        bare = "Q2 newest" if query == "Q2 fallback" else query
        compared = (bare, "bare") in figures
        row = {
            "query": query,
            "server": server,
            "req/s": round(median(run.per_second for run in runs)),
            "p50 ms": round(1000 * median(run.p50 for run in runs), 2),
            "p99 ms": round(1000 * median(run.p99 for run in runs), 2),
            "per core-s": round(median(run.per_server_second for run in runs)),
            "x bare": round(per_server_second(figures, (query, server), (bare, "bare")), 3) if compared else None,
        }
        rows.append(row)
    return rows


def per_server_second(figures: Figures, ours: tuple[str, str], theirs: tuple[str, str]) -> float:
    """The ratio in one round, the median of all."""
    rounds = zip(figures[ours], figures[theirs], strict=True)
    return median(one.per_server_second / other.per_server_second for one, other in rounds)


def p99(figures: Figures, query: str) -> float:
    rounds = zip(figures[query, "tunery"], figures[query, "bare"], strict=True)
    return median(one.p99 / other.p99 for one, other in rounds)


def goals(figures: Figures) -> list[dict[str, Any]]:
    """Those whose servers took part."""
    found: list[dict[str, Any]] = []

    def at_least(goal: float, what: str, ours: tuple[str, str], theirs: tuple[str, str]) -> None:
        if ours in figures and theirs in figures:
            value = per_server_second(figures, ours, theirs)
            found.append({"what": f"{what}, at least", "goal": goal, "value": value, "holds": value >= goal})

    for goal, name in ((1.0, ""), (1.2, " (stretch)"), (0.8, " (least acceptable)")):
        for query in PLANNED:
            at_least(goal, f"{query}, tunery : bare{name}", (query, "tunery"), (query, "bare"))
    own, same = "Q4 tenant", "Q2 identical"
    at_least(0.8, f"{own}, tunery : bare", (own, "tunery"), (own, "bare"))
    at_least(3.0, f"{same}, tunery : bare", (same, "tunery"), (same, "bare"))
    for query in ("Q2 newest", "Q3 search"):
        for peer in NODE:
            at_least(1.0, f"{query}, tunery : {peer}", (query, "tunery"), (query, peer))
    at_least(3.0, "Q2 fallback, tunery : naive's Q2", ("Q2 fallback", "tunery"), ("Q2 newest", "naive"))
    for query in (*PLANNED, own):
        if (query, "tunery") in figures and (query, "bare") in figures:
            value, goal = p99(figures, query), 1.3
            what = f"{query}, p99, tunery : bare, at most"
            found.append({"what": what, "goal": goal, "value": value, "holds": value <= goal})
    return found


if __name__ == "__main__":
    main()
