from concurrent.futures import ThreadPoolExecutor

import pytest
import stripe
from sandbox_server import RunningSandbox


def test_repeated_key_replays_the_first_answer(sandbox: RunningSandbox) -> None:
    params = {"email": "a@shop.example", "metadata": {"a": "1"}}
    first = sandbox.stripe.v1.customers.create(params, {"idempotency_key": "key-1"})
    second = sandbox.stripe.v1.customers.create(params, {"idempotency_key": "key-1"})

    assert second.id == first.id
    assert "idempotent-replayed" not in first.last_response.headers
    assert second.last_response.headers["idempotent-replayed"] == "true"
    assert second.last_response.headers["original-request"] == first.last_response.request_id
    assert len(sandbox.stripe.v1.customers.list().data) == 1
    event = sandbox.stripe.v1.events.list().data[0]
    assert event.request.idempotency_key == "key-1"


def test_errors_of_execution_are_replayed_too(sandbox: RunningSandbox) -> None:
    params = {"amount": 500, "currency": "usd", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
    refusals = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            sandbox.stripe.v1.payment_intents.create(params, {"idempotency_key": "key-2"})
        refusals.append(declined.value)

    assert refusals[0].json_body == refusals[1].json_body
    assert refusals[1].headers["idempotent-replayed"] == "true"
    assert len(sandbox.stripe.v1.charges.list().data) == 1


def test_errors_of_validation_leave_the_key_free(sandbox: RunningSandbox) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.stripe.v1.products.create({}, {"idempotency_key": "key-3"})
    assert sandbox.stripe.v1.products.create({"name": "A"}, {"idempotency_key": "key-3"}).name == "A"


@pytest.mark.parametrize("target", ["customers", "products"])
def test_key_with_other_parameters_is_refused(sandbox: RunningSandbox, target: str) -> None:
    sandbox.stripe.v1.customers.create({"name": "A"}, {"idempotency_key": "key-4"})
    events = sandbox.event_types()

    with pytest.raises(stripe.IdempotencyError) as refused:
        getattr(sandbox.stripe.v1, target).create({"name": "B"}, {"idempotency_key": "key-4"})

    assert refused.value.http_status == 400
    assert sandbox.event_types() == events


def test_concurrent_use_of_one_key_conflicts(sandbox: RunningSandbox) -> None:
    sandbox.faults(fail_next=[{"path": "/v1/customers", "delay_ms": 300}])

    def create(_: int) -> int:
        answer = sandbox.request("POST", "/v1/customers", data={"name": "A"}, headers={"Idempotency-Key": "key-5"})
        return answer.status_code

    with ThreadPoolExecutor(4) as threads:
        statuses = sorted(threads.map(create, range(4)))

    assert statuses == [200, 409, 409, 409]
    assert len(sandbox.stripe.v1.customers.list().data) == 1


def test_ordered_500_is_kept_with_its_key(sandbox: RunningSandbox) -> None:
    sandbox.faults(fail_next=[{"path": "/v1/customers", "status": 500}])
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            sandbox.stripe.v1.customers.create({"name": "A"}, {"idempotency_key": "key-6"})
        assert failed.value.http_status == 500
    assert failed.value.headers["stripe-should-retry"] == "false"
    assert not sandbox.stripe.v1.customers.list().data
    assert sandbox.stripe.v1.customers.create({"name": "A"}, {"idempotency_key": "key-7"}).name == "A"


def test_retry_after_a_lost_answer_does_the_work_once(sandbox: RunningSandbox) -> None:
    sandbox.faults(fail_next=[{"path": "/v1/customers", "timeout_after_commit": True}])

    customer = sandbox.sdk(timeout=0.3, retries=1).v1.customers.create({"name": "A"})

    assert customer.last_response.headers["idempotent-replayed"] == "true"
    assert [each.id for each in sandbox.stripe.v1.customers.list()] == [customer.id]


def test_key_is_forgotten_after_a_day(sandbox: RunningSandbox, clock: list[float]) -> None:
    first = sandbox.stripe.v1.customers.create({"name": "A"}, {"idempotency_key": "key-8"})
    clock[0] += 86_401
    second = sandbox.stripe.v1.customers.create({"name": "B"}, {"idempotency_key": "key-8"})
    assert second.id != first.id
