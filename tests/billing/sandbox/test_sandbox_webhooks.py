import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stripe
from sandbox_server import SECRET_KEY, Receiver, RunningSandbox, wait_for


def listen(sandbox: "RunningSandbox | Process", receiver: Receiver, *events: str) -> str:
    """Registers the receiver and gives its signing secret."""
    endpoint = sandbox.stripe.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": list(events or ["*"])}
    )
    return endpoint.secret


def states(sandbox: RunningSandbox) -> list[str]:
    return [each["state"] for each in sandbox.request("GET", "/_sandbox/deliveries").json()["data"]]


def test_events_arrive_signed_as_the_sdk_expects(
    sandbox: RunningSandbox, receiver: Receiver, open_session: Callable[..., Any]
) -> None:
    secret = listen(sandbox, receiver, "payment_intent.succeeded", "charge.succeeded", "checkout.session.completed")
    session = open_session()
    sandbox.pay(session.url)
    wait_for(lambda: len(receiver.received) == 3)

    events = [stripe.Webhook.construct_event(body, signature, secret) for body, signature in receiver.received]

    assert {event.type for event in events} == {
        *("payment_intent.succeeded", "charge.succeeded", "checkout.session.completed"),
    }
    completed = next(event for event in events if event.type == "checkout.session.completed")
    assert completed.data.object.id == session.id
    assert completed.data.object.payment_status == "paid"
    body, signature = receiver.received[0]
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(body + b" ", signature, secret)
    wait_for(lambda: sandbox.stripe.v1.events.retrieve(completed.id).pending_webhooks == 0)


def test_secret_is_shown_once(sandbox: RunningSandbox, receiver: Receiver) -> None:
    assert listen(sandbox, receiver).startswith("whsec_")
    endpoint = sandbox.stripe.v1.webhook_endpoints.list().data[0]
    assert not hasattr(endpoint, "secret")
    assert not hasattr(sandbox.stripe.v1.webhook_endpoints.update(endpoint.id, {"description": "x"}), "secret")


def test_failed_delivery_is_retried_until_it_succeeds(sandbox: RunningSandbox, receiver: Receiver) -> None:
    receiver.answers = [500, 302, 500]
    listen(sandbox, receiver)
    customer = sandbox.stripe.v1.customers.create({"name": "A"})
    wait_for(lambda: states(sandbox) == ["delivered"])

    assert len(receiver.received) == 4
    assert {event["id"] for event in receiver.events()} == {sandbox.stripe.v1.events.list().data[0].id}
    assert receiver.events()[0]["data"]["object"]["id"] == customer.id


def test_delivery_is_given_up_at_the_horizon(run_sandbox: Callable[..., RunningSandbox], receiver: Receiver) -> None:
    sandbox = run_sandbox(retry_schedule=(0.02,), retry_horizon=0.1)
    receiver.answers = [500] * 50
    listen(sandbox, receiver)
    sandbox.stripe.v1.customers.create({"name": "A"})
    wait_for(lambda: states(sandbox) == ["failed"])
    assert 2 <= len(receiver.received) <= 7


def test_deleted_and_disabled_endpoints_get_nothing_more(sandbox: RunningSandbox, receiver: Receiver) -> None:
    receiver.answers = [500] * 50
    listen(sandbox, receiver)
    endpoint = sandbox.stripe.v1.webhook_endpoints.list().data[0]
    sandbox.stripe.v1.customers.create({"name": "A"})
    wait_for(lambda: receiver.received)
    sandbox.stripe.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    sandbox.stripe.v1.customers.create({"name": "B"})
    assert states(sandbox) == ["cancelled"]
    sandbox.stripe.v1.webhook_endpoints.delete(endpoint.id)
    sandbox.stripe.v1.customers.create({"name": "C"})
    assert states(sandbox) == ["cancelled"]
    assert not sandbox.stripe.v1.webhook_endpoints.list().data


def test_duplicates_and_shuffled_order_can_be_ordered(sandbox: RunningSandbox, receiver: Receiver) -> None:
    listen(sandbox, receiver)
    sandbox.faults(duplicate=True, shuffle=True)
    made = [sandbox.stripe.v1.customers.create({"name": f"Customer {n}"}).id for n in range(8)]
    wait_for(lambda: len(receiver.received) == 16)

    arrived = [event["data"]["object"]["id"] for event in receiver.events()]

    assert sorted(arrived) == sorted(made * 2)
    assert arrived != [customer for customer in made for _ in range(2)]
    assert len({event["id"] for event in receiver.events()}) == 8


def test_deliveries_can_be_delayed(sandbox: RunningSandbox, receiver: Receiver) -> None:
    listen(sandbox, receiver)
    sandbox.faults(delay_ms=60_000)
    sandbox.stripe.v1.customers.create({"name": "late"})
    sandbox.faults()
    sandbox.stripe.v1.customers.create({"name": "prompt"})
    wait_for(lambda: states(sandbox) == ["pending", "delivered"])
    assert [event["data"]["object"]["name"] for event in receiver.events()] == ["prompt"]


def test_event_can_be_delivered_again(sandbox: RunningSandbox, receiver: Receiver) -> None:
    listen(sandbox, receiver)
    sandbox.stripe.v1.customers.create({"name": "A"})
    wait_for(lambda: receiver.received)
    event = receiver.events()[0]["id"]

    assert sandbox.request("POST", f"/_sandbox/events/{event}/deliver").status_code == 200

    wait_for(lambda: len(receiver.received) == 2)
    assert receiver.events()[1]["id"] == event
    assert sandbox.request("POST", "/_sandbox/events/evt_none/deliver").status_code == 404


class Process:
    """The sandbox as its users start it."""

    def __init__(self, data: str) -> None:
        command = [sys.executable, "-m", "tunery.billing.sandbox", "--port", "0", "--data", data]
        self._process = subprocess.Popen(
            [*command, "--secret-key", SECRET_KEY, "--retry-seconds", "0.05"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if "running on" in line)
        self.url = re.search(r"http://127\.0\.0\.1:\d+", line)[0]
        self._drain = threading.Thread(target=self._process.stderr.read)
        self._drain.start()
        self.stripe = stripe.StripeClient(SECRET_KEY, base_addresses={"api": self.url}, max_network_retries=0)

    def end(self, how: signal.Signals) -> str:
        os.kill(self._process.pid, how)
        self._process.wait(10)
        self._drain.join()
        printed = self._process.stdout.read()
        self._process.stdout.close()
        self._process.stderr.close()
        self.stripe._requestor._client.close()
        return printed


def test_killed_sandbox_resumes_its_deliveries(tmp_path: Path, receiver: Receiver) -> None:
    data = str(tmp_path / "stripe.sqlite")
    receiver.answers = [500] * 1000
    first = Process(data)
    try:
        secret = listen(first, receiver)
        customer = first.stripe.v1.customers.create({"name": "A"}, {"idempotency_key": "key"})
        wait_for(lambda: receiver.received)
    finally:
        first.end(signal.SIGKILL)
    receiver.received.clear()
    receiver.answers.clear()

    second = Process(data)
    try:
        wait_for(lambda: receiver.received)
        event = stripe.Webhook.construct_event(*receiver.received[0], secret)
        assert event.data.object.id == customer.id
        again = second.stripe.v1.customers.create({"name": "A"}, {"idempotency_key": "key"})
        assert again.id == customer.id
    finally:
        assert second.end(signal.SIGTERM) == ""
