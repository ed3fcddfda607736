"""What the database makes wait too long ends, and is said to be the database's doing."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from arq.connections import ArqRedis
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from tests.conftest import Api
from tunery.app import node, tasks
from tunery.app.database_urls import role_url
from tunery.app.settings import Settings
from tunery.core.clock import SystemClock
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, Database, UnitOfWork, is_unavailable
from tunery.core.http import openai_errors
from tunery.core.outbox import relay_forever
from tunery.core.services import Services
from tunery.serving.sweep import release_expired_reservations

SECONDS = 0.2


@pytest.fixture
async def impatient(settings: Settings) -> AsyncIterator[Database]:
    urls = [role_url(settings, role) for role in (APPLICATION_ROLE, DISPATCHER_ROLE)]
    database = Database(*urls, SystemClock(), pool_size=2, statement_seconds=SECONDS)
    yield database
    await database.close()


async def sleep(uow: UnitOfWork, seconds: float) -> None:
    await uow.session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})


@pytest.mark.parametrize("role", ["unit_of_work", "dispatch"])
async def test_a_statement_that_takes_too_long_ends_its_unit_of_work(impatient: Database, role: str):
    begin = getattr(impatient, role)
    with pytest.raises(DBAPIError, match="statement timeout") as late:
        async with asyncio.timeout(5), begin() as uow:
            await sleep(uow, 10)
    # Loops that wait for the database wait for this, too.
    assert is_unavailable(late.value)
    async with begin() as uow:
        for _ in range(3):  # it is each statement's time, not the transaction's
            await sleep(uow, SECONDS / 2)


async def test_it_is_as_long_as_the_settings_say(services: Services, settings: Settings):
    for begin in (services.get(Database).unit_of_work, services.get(Database).dispatch):
        async with begin() as uow:
            shown = await uow.session.scalar(
                text("SELECT extract(epoch FROM current_setting('statement_timeout')::interval)")
            )
        assert shown == settings.database_statement_seconds == 30


async def relay(services: Services) -> None:
    await relay_forever(services.get(Database), services.get(ArqRedis))


async def beat(services: Services) -> None:
    await node._beat(services, "late", "http://late.example", b"")


@pytest.mark.parametrize(("loop", "table"), [(relay, "outbox"), (tasks.sweep_forever, "reservations"), (beat, "nodes")])
async def test_what_is_too_slow_each_time_is_said_each_time(
    services: Services,
    settings: Settings,
    impatient: Database,
    monkeypatch: pytest.MonkeyPatch,
    loop: Callable[[Services], Awaitable[None]],
    table: str,
):
    monkeypatch.setattr(tasks, "SWEEP_SECONDS", 0)
    monkeypatch.setattr(tasks, "SWEEPS", (release_expired_reservations,))
    monkeypatch.setattr(node, "HEARTBEAT_SECONDS", 0)
    slow = Services()
    slow.add(Database, impatient)
    slow.add(ArqRedis, services.get(ArqRedis))
    owner = await asyncpg.connect(settings.database_url)
    try:
        with capture_logs() as logs:
            async with owner.transaction():
                await owner.execute(f"LOCK TABLE {table}")
                running = asyncio.create_task(loop(slow))
                async with asyncio.timeout(10):
                    while len(logs) < 2 and not running.done():  # noqa: ASYNC110 - a list is no event
                        await asyncio.sleep(0.05)
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
    finally:
        await owner.close()
    assert len(logs) >= 2
    for entry in logs:
        assert entry["log_level"] == "warning"
        assert "statement timeout" in entry["error"]
        assert table in entry["error"]


async def test_clients_are_told_to_try_again(api: Api, impatient: Database, sign_up, monkeypatch: pytest.MonkeyPatch):
    async def sign_up_slowly(*_arguments: object, **_given: object) -> None:
        async with impatient.unit_of_work() as uow:
            await sleep(uow, 10)

    @openai_errors
    async def handler(_request: Request) -> Response:
        return await sign_up_slowly()  # type: ignore[return-value]

    response = await handler(Request({"type": "http", "request_id": "r"}))
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    error = json.loads(response.body)["error"]
    assert error["code"] == "unavailable"
    assert "or not in time" in error["message"]

    monkeypatch.setattr("tunery.tenants.api.sign_up", sign_up_slowly)
    document = 'mutation { signUp(input: {organisation: "Late", email: "late@late.example"}) { secret } }'
    answer = await api.graphql(document)
    [error] = answer["errors"]
    assert answer["data"] is None
    assert error["path"] == ["signUp"]
    assert error["extensions"]["code"] == "UNAVAILABLE"
