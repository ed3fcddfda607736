"""Nodes, workers and Valkey are killed, paused and emptied; jobs and purchases come to their one right end."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from tests.e2e.installation import Installation, Tenant, stopped, wait_for
from tests.e2e.shop import Played, assert_paid_for_once, order, purchase_status, quote, start_job
from tunery.app.demo import play
from tunery.app.embedded.programs import PROGRAMS, program_environment, start_program

LONG_ENOUGH = {"rows": 60, "epochs": 10}
"""To be struck after the first of ten checkpoints and long before the last."""


def starts_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["data"] for event in events if event["kind"] == "started"]


def assert_each_start_goes_on_from_the_last_checkpoint(events: list[dict[str, Any]]) -> None:
    """Nothing durable is trained twice, nothing is skipped, and only the last attempt is heard after it began."""
    durable, position = 0, 0
    for event in events:
        step = event["data"].get("step")
        if event["kind"] == "started":
            assert step == durable
            position = durable
        elif event["kind"] in {"metrics", "checkpoint"}:
            assert step >= position
            position = step
        if event["kind"] == "checkpoint":
            assert step > durable
            durable = step
    assert [event["sequence"] for event in events] == list(range(1, len(events) + 1))
    assert [event["kind"] for event in events][-1] == "succeeded"


def test_a_node_killed_in_mid_job_loses_no_durable_step_and_bills_none_twice(installation: Installation) -> None:
    tenant = installation.sign_up("Unlucky")
    quoted = quote(tenant, **LONG_ENOUGH)
    job_id = start_job(tenant, quoted)
    events: list[dict[str, Any]] = []
    killed = 0
    for event in tenant.caller.follow(job_id):
        events.append(event)
        if event["kind"] == "checkpoint" and not killed:
            killed = installation.kill("node")
    assert installation.up.pids["node"] != killed
    first, *_, last = starts_of(events)
    assert (first["attempt"], first["step"]) == (1, 0)
    assert last["attempt"] == len(starts_of(events)) == 2
    assert last["step"] > 0
    assert_each_start_goes_on_from_the_last_checkpoint(events)
    assert_paid_for_once(installation, tenant, quoted, job_id)


@contextmanager
def second_node(installation: Installation) -> Iterator[int]:
    """One more `tunery node` with this installation's settings; its process id once it has said that it lives."""
    (program,) = [program for program in PROGRAMS if program.name == "node"]
    settings = installation.up.settings.model_copy(update={"node_name": "second-node"})
    process = start_program(program, program_environment(program, settings), installation.log("second-node"))
    try:
        lives = "SELECT count(*) FROM nodes WHERE name = 'second-node'"
        wait_for(lambda: installation.value(lives) == 1, 60)
        yield process.pid
    finally:
        process.stop()


def test_a_node_paused_past_its_lease_writes_nothing_after_another_took_over(installation: Installation) -> None:
    tenant = installation.sign_up("Patient")
    quoted = quote(tenant, **LONG_ENOUGH)
    with second_node(installation) as second_pid:
        pids = {"first-node": installation.up.pids["node"], "second-node": second_pid}
        logs = {"first-node": installation.log("node"), "second-node": installation.log("second-node")}
        job_id = start_job(tenant, quoted)
        stream = tenant.caller.follow(job_id)
        events: list[dict[str, Any]] = []
        for event in stream:
            events.append(event)
            if event["kind"] == "checkpoint":
                break
        paused = starts_of(events)[0]["node"]
        log_before = logs[paused].stat().st_size
        with stopped(pids[paused]):
            for event in stream:
                events.append(event)
                if event["kind"] == "started":
                    break
        # It runs again, in the middle of a step, and does not know yet that its time is over.
        events.extend(stream)

        def refused() -> bool:
            return b'"lease lost"' in logs[paused].read_bytes()[log_before:]

        wait_for(refused, 20)
    starts = starts_of(events)
    assert [start["attempt"] for start in starts] == [1, 2]
    assert starts[1]["node"] not in {paused, None}
    assert_each_start_goes_on_from_the_last_checkpoint(events)
    assert_paid_for_once(installation, tenant, quoted, job_id)
    tokens = installation.rows("SELECT lease_token FROM checkpoints WHERE tenant_id = $1 ORDER BY sequence", tenant.id)
    assert tokens == sorted(tokens, key=lambda row: row["lease_token"]), "none of the first lease's after the second's"
    prefix = installation.value("SELECT object_prefix FROM adapter_versions WHERE tenant_id = $1", tenant.id)
    assert prefix.endswith("/2/adapter")


def assert_bought_once(installation: Installation, buyer: Tenant, purchase_id: str, *, seconds: float = 60) -> None:
    """Paid in the end, and exactly one entitlement, sale and earning came of it, now and after everything has settled."""
    wait_for(lambda: purchase_status(buyer, purchase_id) == "paid", seconds)
    # What a killed worker left is run again some seconds later; then there is nothing more to come.
    unhandled = "SELECT count(*) FROM outbox WHERE handled_at IS NULL"
    wait_for(lambda: installation.value(unhandled) == 0, seconds)
    (counted,) = installation.rows(
        "SELECT (SELECT count(*) FROM entitlements WHERE tenant_id = $1 AND revoked_at IS NULL) AS entitlements,"
        " (SELECT count(*) FROM sales WHERE purchase_id = p.id) AS sales,"
        " (SELECT count(*) FROM ledger_entries WHERE source = 'purchase:' || p.id) AS earnings"
        " FROM purchases p WHERE tenant_id = $1",
        buyer.id,
    )
    assert counted == {"entitlements": 1, "sales": 1, "earnings": 1}


def test_a_worker_killed_before_and_while_it_applies_a_payment_grants_it_once(
    installation: Installation, played: Played
) -> None:
    buyer = installation.sign_up("Buyer")
    ordered = order(buyer, played.listing_id)
    killed = installation.kill("worker")
    installation.wait_for_restart("worker", killed)

    session = "SELECT id FROM stripe_events WHERE type = 'checkout.session.completed' AND payload::text LIKE $1"
    message = "SELECT id, attempts FROM outbox WHERE arguments->>'event_id' = $1"
    with installation.stopped("worker"):
        play.press_pay(ordered["checkoutUrl"])
        wait_for(lambda: installation.rows(session, f"%{ordered['id']}%"))
        (event,) = installation.rows(session, f"%{ordered['id']}%")
        assert purchase_status(buyer, ordered["id"]) == "pending", "nobody believes the webhook alone"
        # The worker asks Stripe what became of the session; it will still be waiting for the answer when it dies.
        sandbox = stopped(installation.up.pids["Stripe sandbox"])
        sandbox.__enter__()
    try:
        (task,) = installation.rows(message, event["id"])
        with redis.Redis.from_url(installation.up.settings.redis_url) as valkey:
            wait_for(lambda: valkey.exists(f"arq:in-progress:{task['id']}:1"))
        killed = installation.kill("worker")
    finally:
        sandbox.__exit__(None, None, None)
    assert purchase_status(buyer, ordered["id"]) == "pending"
    installation.wait_for_restart("worker", killed)
    assert_bought_once(installation, buyer, ordered["id"])
    (task,) = installation.rows(message, event["id"])
    assert task["attempts"] >= 2, "the first attempt died"
    downloaded = buyer.caller.http.get(f"/hub/api/models/{played.repository}/auth-check")
    assert downloaded.status_code == 200


def test_an_emptied_or_killed_valkey_loses_nothing(installation: Installation, played: Played) -> None:
    buyer, tenant = installation.sign_up("Buyer"), installation.sign_up("Trainer")
    quoted = quote(tenant, rows=12, epochs=1)
    ordered = order(buyer, played.listing_id)
    others = installation.alive("api", "worker", "node")
    with redis.Redis.from_url(installation.up.settings.redis_url) as valkey, installation.stopped("node"):
        job_id = start_job(tenant, quoted)
        wait_for(lambda: valkey.zcard("tunery:node"))
        valkey.flushall()
        assert valkey.dbsize() == 0
    events = list(tenant.caller.follow(job_id))
    assert [event["kind"] for event in events][-1] == "succeeded"
    assert_paid_for_once(installation, tenant, quoted, job_id)

    killed = installation.kill("Valkey")
    play.press_pay(ordered["checkoutUrl"])
    assert purchase_status(buyer, ordered["id"]) == "pending"
    installation.wait_for_restart("Valkey", killed)
    assert_bought_once(installation, buyer, ordered["id"])
    wait_for(installation.is_healthy)
    assert installation.alive("api", "worker", "node") == others, "all went on"
