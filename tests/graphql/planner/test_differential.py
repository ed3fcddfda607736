"""Thousands of generated requests, each answered three ways: by one planned statement, by graphql-core over planned root
fields, and by the naive resolvers of `reference.py`. Data (order of keys included) and errors are equal.

The examples are drawn from Hypothesis' fixed seed, so that every run sees the same ones; `LARGE=1` draws more.
With `SHRINK=1` a failing example is made as small as can be, which takes minutes.
"""

import asyncio
import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from structlog.testing import capture_logs

from tests.graphql.planner.generate import Pools, Request, requests
from tests.graphql.planner.library import TEXTS
from tests.graphql.planner.reference import is_violation
from tests.graphql.planner.ways import Ways
from tunery.graphql import executor

NUMBER = 5000 if os.environ.get("LARGE") else 1000
SETTINGS = settings(
    max_examples=NUMBER,
    derandomize=True,
    deadline=None,
    database=None,
    phases=list(Phase) if os.environ.get("SHRINK") else [Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="package")
async def library_pools(library_ways: Ways) -> Pools:
    return await library_ways.pools(
        [*TEXTS, "Ada", "A", "One day", "x" * 21, "_", "%", "\0", " \t\n", "\u3000" * 21, "own 1", "_x"]
    )


def test_planner_graphql_core_and_naive_resolvers_agree_on_the_library(
    loop: asyncio.AbstractEventLoop, library_ways: Ways, library_pools: Pools
):
    check_all(loop, library_ways, library_pools, ["A", "A", "A", "A", "A", "A without maps", "B", None])


@pytest.fixture(scope="package")
async def tunery_pools(tunery_ways: Ways) -> Pools:
    return await tunery_ways.pools([*TEXTS, "plain", '"say hi" -plain', "hi or é", "tunery/tiny", "x" * 201, " \n"])


def test_planner_graphql_core_and_naive_resolvers_agree_on_tunery_s_schema(
    loop: asyncio.AbstractEventLoop, tunery_ways: Ways, tunery_pools: Pools
):
    check_all(loop, tunery_ways, tunery_pools, ["A", "A", "A", "A", "A", "A", "B", None])


def check_all(loop: asyncio.AbstractEventLoop, ways: Ways, pools: Pools, who: list[str | None]) -> None:
    """Compare the ways on generated requests, most of which the planner answers."""

    @SETTINGS
    @given(request=requests(ways.schema, pools, who))
    def agree(request: Request) -> None:
        loop.run_until_complete(ways.compare(request))

    with capture_logs() as logs, pytest.MonkeyPatch.context() as patch:
        patch.setattr(executor, "QUERY_SECONDS", 60.0)  # a busy machine is no finding
        try:
            agree()
        finally:
            faults = [entry.get("exc_info", entry) for entry in logs if not is_violation(entry.get("exc_info"))]
            assert not faults
    print(f"\n{ways.answered} planned, {ways.fell_back} left to graphql-core, {ways.refused} with errors")  # noqa: T201
    assert ways.valid >= NUMBER // 3
    assert ways.answered >= ways.valid // 2
    assert ways.fell_back
    assert ways.refused
