"""Programs that others wrote to find faults in GraphQL servers, run against ours on a loopback address.

schemathesis is installed with the `dev` extra. clairvoyance wants versions of its own, so it gets an environment of its
own: `python -m venv .venv/clairvoyance && .venv/clairvoyance/bin/pip install clairvoyance==2.5.5`. Where there is no
network, `make test` goes without; where `CI` is set, it may not.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from graphql import introspection_from_schema

from tests.marketplace.market import bind, server_of, wait_for
from tunery.app.application import create_app
from tunery.app.schema import core_schema
from tunery.app.settings import Settings
from tunery.core.services import Services

LARGE = bool(os.environ.get("LARGE"))
ENOUGH = {"rate_limit_points": 10**9, "rate_limit_per_second": 10**9, "anonymous_rate_limit_points": 10**9}
"""What a judge finds is not to depend on how much it may ask."""
EXAMPLES = 300 if LARGE else 3
"""Of each operation, valid documents and as many invalid ones."""
REFUSED_BY = {
    *("NOT_FOUND", "INVALID_INPUT", "UNAVAILABLE"),
    *("DOCUMENT_TOO_LARGE", "DOCUMENT_TOO_DEEP", "TOO_MANY_ALIASES", "QUERY_TOO_EXPENSIVE"),
}
"""Why a document that the schema allows may be refused all the same."""


@contextlib.asynccontextmanager
async def serving(services: Services, **settings: Any) -> AsyncIterator[str]:
    """The URL of our server on a loopback port."""
    chosen = Services()
    chosen._parts = {**services._parts, Settings: services.get(Settings).model_copy(update={**ENOUGH, **settings})}
    listening, url = bind()
    server = server_of(create_app(chosen))
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await wait_for(lambda: asyncio.sleep(0, server.started))
        yield f"{url}/graphql"
    finally:
        server.should_exit = True
        await running
        listening.close()


# schemathesis


async def test_schemathesis_finds_no_fault(services: Services, sign_up):
    """Documents made from the schema, valid and invalid ones, mutations included: the tenant is there for it."""
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'schemathesis>=4.32'")
    tenant = await sign_up()
    async with serving(services) as url:
        judged = await asyncio.to_thread(judge, url, tenant.headers)
    fields = len(core_schema.query_type.fields) + len(core_schema.mutation_type.fields)
    assert judged["positive"] >= fields
    assert judged["negative"] >= fields / 2


async def test_schemathesis_would_find_a_fault(services: Services, sign_up, monkeypatch):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'schemathesis>=4.32'")

    async def break_down(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tunery.billing.statements.current_statement", break_down)
    tenant = await sign_up()
    async with serving(services) as url:
        with pytest.raises(BaseException, match="INTERNAL_ERROR"):  # Hypothesis may make a group of it
            await asyncio.to_thread(judge, url, tenant.headers, only="usage")


def judge(url: str, headers: dict[str, str], only: str | None = None) -> dict[str, int]:
    """How many documents schemathesis sent, by its kind. Raises what it finds."""
    import requests
    import schemathesis
    from hypothesis import HealthCheck, given
    from hypothesis import settings as hypothesis_settings
    from schemathesis import GenerationMode
    from schemathesis.checks import load_all_checks
    from schemathesis.specs.openapi.checks import negative_data_rejection, response_schema_conformance

    load_all_checks()
    schema = schemathesis.graphql.from_dict(introspection_from_schema(core_schema))
    sent = {"positive": 0, "negative": 0}
    given_settings = hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=not LARGE,
        suppress_health_check=list(HealthCheck),
    )

    def no_server_error(_context: Any, response: Any, case: Any) -> None:
        """schemathesis's own takes each error with a path for one, an id that isn't there included."""
        assert response.status_code < 500, response.text
        assert response.status_code == 200 or "data" not in response.json(), response.text
        codes = [error.get("extensions", {}).get("code") for error in response.json().get("errors", [])]
        assert "INTERNAL_ERROR" not in codes, response.text
        if case.meta.generation.mode.is_positive:
            assert set(codes) <= REFUSED_BY, response.text

    with requests.Session() as session:
        session.trust_env = False
        for found in schema.get_all_operations():
            operation = found.ok()
            if only not in (None, operation.definition.field_name):
                continue
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                if mode.is_negative and not has_something_to_break(operation):
                    continue

                @given_settings
                @given(operation.as_strategy(generation_mode=mode))
                def check(case: Any) -> None:
                    kind = "positive" if case.meta.generation.mode.is_positive else "negative"
                    sent[kind] += 1
                    checks = [no_server_error, response_schema_conformance]
                    if kind == "negative":
                        checks.append(negative_data_rejection)
                    case.call_and_validate(url, session, {**headers, "accept": "application/json"}, checks)

                check()
    return sent


def has_something_to_break(operation: Any) -> bool:
    """schemathesis breaks arguments; without one it would send valid documents again."""
    return bool(operation.definition.raw.args)


# clairvoyance


RIGHT = ("organisation", "listings", "apiKeys", "billingAccount", "nodes", "name", "id", "first")
WRONG = {
    "trainingJob": "trainingJbo",
    "deployments": "deploymnets",
    "invoicePreview": "invoicePreveiw",
    "signingKeys": "signingKey",
    "purchases": "purchasess",
    "totalCount": "totalCuont",
    "pageInfo": "pageInfos",
    "earnings": "earning",
    "slug": "slugg",
    "after": "afterr",
    "text": "texts",
}
"""Names of ours, and misspelt so that a server's suggestion would mend them. All words together are fewer than the
root fields that a document may have: clairvoyance takes each word that no error speaks of for a field.
"""


@pytest.fixture
def every_mistake_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than ten, clairvoyance would take the rest for no mistakes. It is not to be stopped by that alone."""
    monkeypatch.setattr("tunery.graphql.documents.MOST_ERRORS", 1000)


@pytest.mark.usefixtures("every_mistake_is_listed")
async def test_clairvoyance_learns_no_name_that_it_did_not_bring(services: Services, sign_up, tmp_path: Path):
    """It rebuilds a schema from errors. A word that is right is confirmed by any server that validates documents: it
    draws no "Cannot query field". What it lives on is the server's mending its wrong guesses ("Did you mean"), which
    multiplies its word list. So: of what it has written down at the end, nothing but its own words.
    """
    learned = await blind_introspection(services, sign_up, tmp_path, environment="production")
    assert {"organisation", "listings", "apiKeys", "billingAccount"} <= learned, "it has worked"
    assert learned <= set(RIGHT)


@pytest.mark.usefixtures("every_mistake_is_listed")
async def test_clairvoyance_would_learn_from_suggestions(services: Services, sign_up, tmp_path: Path):
    learned = await blind_introspection(services, sign_up, tmp_path, environment="development")
    assert {"trainingJob", "deployments", "invoicePreview", "totalCount", "pageInfo", "slug"} <= learned


async def blind_introspection(services: Services, sign_up: Any, tmp_path: Path, **settings: Any) -> set[str]:
    """Names of fields and arguments in the schema that clairvoyance wrote."""
    program = clairvoyance()
    tenant = await sign_up()
    listed, written = tmp_path / "words.txt", tmp_path / "schema.json"
    listed.write_text("\n".join([*RIGHT, *WRONG.values()]))
    async with serving(services, **settings) as url:
        header = f"Authorization: Bearer {tenant.api_key}"
        command = [program, "-w", str(listed), "-o", str(written), "-H", header, "-c", "4", url]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=120, check=False, text=True)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(written.read_text())["data"]["__schema"]["types"]
    fields = [field for kind in found for field in kind.get("fields") or []]
    names = {field["name"] for field in fields} | {argument["name"] for field in fields for argument in field["args"]}
    return names - {"dummy"}  # its own, in types of which it knows nothing


def clairvoyance() -> str:
    found = shutil.which("clairvoyance", path=f"{sys.prefix}/clairvoyance/bin{os.pathsep}{os.environ['PATH']}")
    if found is None:
        do_without = pytest.fail if os.environ.get("CI") else pytest.skip
        do_without("clairvoyance is not installed: see the head of this file")
    return found


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_judge_is_missed_where_it_has_to_be_there(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[Exception]):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(shutil, "which", lambda *_arguments, **_given: None)
    with pytest.raises(outcome, match="clairvoyance is not installed"):
        clairvoyance()
