"""What every benchmark shares: interleaved runs, medians, one table, one JSON file."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def interleave(contenders: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of CPU per run of each contender, in turns, after one uncounted run of each."""
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            began = time.process_time()
            run()
            seconds[name].append(time.process_time() - began)
    return seconds


def median(values: list[float]) -> float:
    return statistics.median(values)


def report(name: str, rows: list[dict[str, Any]], goals: list[dict[str, Any]], *, keep: bool = True) -> None:
    """Print the rows and goals, and write `results/NAME.json`. `holds` is computed by the caller from this run.

    A run that leaves something out is printed only (`keep`).
    """
    console = Console()
    for title, entries in ((name, rows), ("goals", goals)):
        if not entries:
            continue
        table = Table(title=title)
        for column in entries[0]:
            table.add_column(column)
        for entry in entries:
            table.add_row(*(f"{value:.4g}" if isinstance(value, float) else str(value) for value in entry.values()))
        console.print(table)
    if not keep:
        return
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    result = {
        "name": name,
        "machine": machine,
        "date": datetime.now(UTC).date().isoformat(),
        "rows": rows,
        "goals": goals,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
