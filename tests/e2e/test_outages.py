"""PostgreSQL and the API itself are killed under load: clients get an answer or a clean refusal, never a hang."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.installation import Installation, run_async, wait_for
from tunery.app.compose import compose
from tunery.app.demo import play
from tunery.core.clock import TravellingClock
from tunery.serving.metering import HOLD
from tunery.serving.sweep import release_expired_reservations

CLIENTS = 12
LONGEST_ANSWER_SECONDS = 15
BEFORE_SECONDS, AFTER_SECONDS = 1.0, 2.0

ORGANISATION = {"query": "{ organisation { name } }"}
CREATE_KEY = "mutation($name: String!) { createApiKey(input: {name: $name}) { apiKey { name } userErrors { code } } }"


@dataclass(frozen=True)
class Answered:
    """One request and what came of it: `verdict` is success, unavailable, or what should not happen."""

    kind: str
    ended: float
    seconds: float
    verdict: str


class Load:
    """Clients that read and write without a pause until told to stop."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.answers: list[Answered] = []
        self.made: list[str] = []
        """Names of API keys whose making was confirmed."""
        self._running = True
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {api_key}"},
            timeout=LONGEST_ANSWER_SECONDS,
            limits=httpx.Limits(max_connections=CLIENTS),
            trust_env=False,
        )

    def stop(self) -> None:
        self._running = False

    async def run(self) -> None:
        async with self._http:
            await asyncio.gather(*(self._client(number) for number in range(CLIENTS)))

    async def _client(self, number: int) -> None:
        turn = number
        while self._running:
            kind = ("query", "mutation", "models")[turn % 3]
            began = time.monotonic()
            try:
                verdict = await self._ask(kind)
            except httpx.HTTPError as error:
                verdict = repr(error)
            now = time.monotonic()
            self.answers.append(Answered(kind, now, now - began, verdict))
            turn += 1
            await asyncio.sleep(0.01)

    async def _ask(self, kind: str) -> str:
        name = secrets.token_hex(8)
        if kind == "models":
            response = await self._http.get("/v1/models")
        else:
            mutation = {"query": CREATE_KEY, "variables": {"name": name}}
            response = await self._http.post("/graphql", json=ORGANISATION if kind == "query" else mutation)
        verdict = judge(response)
        if kind == "mutation" and verdict == "success":
            self.made.append(name)
        return verdict


def judge(response: httpx.Response) -> str:
    """success, unavailable, or the answer itself where it is neither."""
    try:
        answer = response.json()
    except ValueError:
        return f"{response.status_code}, no JSON: {response.text!r}"
    if not response.headers.get("x-request-id", "").startswith("req_"):
        return f"{response.status_code}, no request id: {answer}"
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return "unavailable" if answer["error"]["code"].upper() == "UNAVAILABLE" else str(answer)
    if response.status_code == httpx.codes.OK:
        codes = [error["extensions"]["code"] for error in answer.get("errors") or []]
        if codes == ["UNAVAILABLE"]:  # GraphQL's way, once a request has got as far as its resolver
            return "unavailable"
        if not codes and (answer.get("data") is not None):
            return "success"
    return f"{response.status_code} {answer}"


async def test_a_killed_postgres_is_a_short_unavailability_and_loses_no_answered_write(
    installation: Installation,
) -> None:
    tenant = installation.sign_up("Busy")
    others = installation.alive("api", "worker", "node")
    load = Load(installation.base_url, tenant.api_key)
    running = asyncio.create_task(load.run())
    await asyncio.sleep(BEFORE_SECONDS)
    began = time.monotonic()
    killed = installation.kill("PostgreSQL")
    while installation.up.pids["PostgreSQL"] == killed:
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.05)
    restarted = time.monotonic()
    await asyncio.sleep(AFTER_SECONDS)
    load.stop()
    await running

    assert {answer.verdict for answer in load.answers} <= {"success", "unavailable"}
    assert max(answer.seconds for answer in load.answers) < LONGEST_ANSWER_SECONDS
    refused = [answer for answer in load.answers if answer.verdict == "unavailable"]
    assert {answer.kind for answer in refused} == {"query", "mutation", "models"}, "the outage was noticed"
    before = [answer for answer in load.answers if answer.ended < began]
    after = [answer for answer in load.answers if answer.ended - answer.seconds > restarted + 1]
    for phase in (before, after):
        assert {(answer.kind, answer.verdict) for answer in phase} == {
            (kind, "success") for kind in ("query", "mutation", "models")
        }
    kept = await asyncio.to_thread(
        installation.rows, "SELECT name FROM api_keys WHERE tenant_id = $1 AND name = ANY($2)", tenant.id, load.made
    )
    assert len(load.made) > CLIENTS
    assert {row["name"] for row in kept} == set(load.made)
    assert installation.alive("api", "worker", "node") == others, "nothing else had to be restarted"


def reserved(installation: Installation, tenant_id: object) -> Decimal:
    held = "SELECT reserved FROM accounts WHERE tenant_id = $1 AND kind = 'credit'"
    return Decimal(installation.value(held, tenant_id))


def sweep(installation: Installation, distance: timedelta) -> int:
    async def run() -> int:
        clock = TravellingClock()
        clock.travel(distance)
        async with compose(installation.up.settings, clock) as services:
            return await release_expired_reservations(services)

    return int(run_async(run))


def test_a_chat_cut_off_by_the_apis_death_is_given_back_by_the_sweeper(installation: Installation) -> None:
    tenant = installation.sign_up("Talker")
    model = play.deploy(tenant.party, "base", baseModel=play.BASE_MODEL)
    question: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "Tell me a story"}],
        # So hot that it does not come to an end by itself.
        "temperature": 2,
        "max_tokens": 900,
        "seed": 7,
    }
    with installation.openai(tenant.api_key) as client:
        chunks = client.chat.completions.create(**question, stream=True)
        received = 0
        killed = 0
        with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError, httpx.ReadError)):
            for chunk in chunks:
                received += bool(chunk.choices and chunk.choices[0].delta.content)
                if received == 3:
                    killed = killed or installation.kill("api")
        assert killed
        installation.wait_for_restart("api", killed)
        held = reserved(installation, tenant.id)
        assert held > 0, "who died could not settle"
        whole = client.chat.completions.create(**question | {"temperature": 0, "max_tokens": 8})
    assert whole.choices[0].message.content

    account = play.account(tenant.party)
    assert account["reserved"] == held, "the new chat is settled, the old one is not forgotten"
    assert whole.usage is not None
    told = {"input_tokens": whole.usage.prompt_tokens, "output_tokens": whole.usage.completion_tokens}
    assert account["usage"] == told, "nobody pays for what the client was not sure to get"
    assert sweep(installation, timedelta(0)) == 0, "too early"
    assert reserved(installation, tenant.id) == held
    assert sweep(installation, HOLD + timedelta(seconds=1)) == 1
    assert sweep(installation, HOLD + timedelta(seconds=1)) == 0
    after = play.account(tenant.party)
    assert after["reserved"] == 0
    assert after["granted"] - after["balance"] == after["used"] == account["used"]
    wait_for(installation.is_healthy)
