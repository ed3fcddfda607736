"""Before anything is measured: every contender gives the same data, in the same order of keys."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from benchmarks.graphql.servers import Server
from benchmarks.graphql.workloads import MIXED, NEWEST, Call

SAMPLES = 40


def check(reference: Server, server: Server, calls: Sequence[Call]) -> None:
    """Compare the first calls' answers with the reference's. Raises AssertionError that shows the first difference."""
    for call in calls[:SAMPLES]:
        if server.translate(call) is None:
            return
        given = server.ask(call)["data"]
        asked_alone = Call(NEWEST, call.variables, call.buyer) if call.query == MIXED else call
        expected = reference.ask(asked_alone)["data"]
        if call.query == MIXED:
            assert given.pop("invoicePreview")["subtotal"] is not None
        if server.name == "postgraphile":  # ids, cursors and the lists of versions look different
            assert rows(given) == rows(expected), (
                f"{server.name} gives other rows for {call.query} with {call.variables}"
            )
        else:
            ours, theirs = comparable(given), comparable(expected)
            asked = f"{call.query} with {call.variables}"
            assert ours == theirs, f"{server.name} answers {asked} with\n{ours}\n{reference.name} with\n{theirs}"


def comparable(value: Any, key: str = "") -> Any:
    """With the order of keys, moments in any notation, cursors in anybody's."""
    if isinstance(value, dict):
        return [(name, comparable(member, name)) for name, member in value.items()]
    if isinstance(value, list):
        return [comparable(member) for member in value]
    if key.endswith("At") and isinstance(value, str):
        return datetime.fromisoformat(value)
    if key in ("cursor", "endCursor"):
        return bool(value)
    return value


def rows(data: dict[str, Any]) -> list[str]:
    """Which listings are in it, or which versions of one."""
    if "listings" in data:
        return [edge["node"]["name"] for edge in data["listings"]["edges"]]
    if "listing" in data:
        versions = data["listing"]["versions"]
        return [version["digest"] for version in (versions["nodes"] if isinstance(versions, dict) else versions)]
    return []
