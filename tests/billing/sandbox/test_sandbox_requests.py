from collections.abc import Callable
from typing import Any

import pytest
import stripe
from sandbox_server import RunningSandbox

from tunery.billing.sandbox import SandboxSettings
from tunery.billing.sandbox.errors import InvalidRequest
from tunery.billing.sandbox.form_encoding import decode_form


@pytest.mark.parametrize("key", ["sk_test_other", ""])
def test_wrong_or_missing_key_is_unauthenticated(sandbox: RunningSandbox, key: str) -> None:
    answer = sandbox.http.post("/v1/customers", headers={"Authorization": f"Bearer {key}"} if key else {})
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "invalid_request_error"
    with pytest.raises(stripe.AuthenticationError):
        sandbox.sdk(key="sk_test_other").v1.customers.create({"email": "a@shop.example"})
    assert sandbox.http.get("/_sandbox/deliveries").status_code == 401
    assert not sandbox.stripe.v1.customers.list().data


def test_live_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="test keys only"):
        SandboxSettings(secret_key="sk_live_x")


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"emial": "a@shop.example"}, "emial"),
        ({"address": {"planet": "earth"}}, "address[planet]"),
    ],
)
def test_unknown_parameter_is_refused(sandbox: RunningSandbox, params: dict[str, Any], name: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.stripe.v1.customers.create(params)

    assert (refused.value.http_status, refused.value.code, refused.value.param) == (400, "parameter_unknown", name)
    assert str(refused.value).endswith(f"Received unknown parameter: {name}")
    assert sandbox.event_types() == []
    assert not sandbox.stripe.v1.customers.list().data


@pytest.mark.parametrize(
    ("call", "status", "code", "param"),
    [
        (lambda v1: v1.products.create({}), 400, "parameter_missing", "name"),
        (lambda v1: v1.products.create({"name": ""}), 400, "parameter_invalid_empty", "name"),
        (lambda v1: v1.customers.retrieve("cus_none"), 404, "resource_missing", "id"),
        (lambda v1: v1.refunds.create({"charge": "ch_none"}), 400, "resource_missing", "charge"),
        (lambda v1: v1.customers.list({"limit": 101}), 400, "parameter_invalid_integer", "limit"),
        (lambda v1: v1.customers.list({"starting_after": "cus_no"}), 400, "resource_missing", "starting_after"),
        (lambda v1: v1.customers.list({"expand": ["data.email"]}), None, None, None),
    ],
)
def test_errors_have_stripes_shape(
    sandbox: RunningSandbox, call: Callable[[Any], Any], status: int | None, code: str | None, param: str | None
) -> None:
    if status is None:  # an empty list has nothing in which a property could fail to expand
        assert call(sandbox.stripe.v1).data == []
        return
    with pytest.raises(stripe.InvalidRequestError) as refused:
        call(sandbox.stripe.v1)
    assert (refused.value.http_status, refused.value.code, refused.value.param) == (status, code, param)
    assert refused.value.request_id.startswith("req_")


def test_unknown_url_is_404_and_other_methods_too(sandbox: RunningSandbox) -> None:
    for method, path in (("GET", "/v1/no_such_thing"), ("PUT", "/v1/customers")):
        answer = sandbox.request(method, path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "invalid_request_error")


def test_version_is_echoed_and_checked(sandbox: RunningSandbox) -> None:
    default = sandbox.request("GET", "/v1/customers")
    assert default.headers["stripe-version"] == "2026-10-28.endive"
    chosen = sandbox.request("GET", "/v1/customers", headers={"Stripe-Version": "2025-01-27.acacia"})
    assert chosen.headers["stripe-version"] == "2025-01-27.acacia"
    assert sandbox.request("GET", "/v1/customers", headers={"Stripe-Version": "latest"}).status_code == 400


def test_other_accounts_are_out_of_reach(sandbox: RunningSandbox) -> None:
    with pytest.raises(stripe.PermissionError):
        sandbox.stripe.v1.customers.create({"name": "A"}, {"stripe_account": "acct_other"})
    assert not sandbox.stripe.v1.customers.list().data


def test_lists_are_paginated_in_both_directions(sandbox: RunningSandbox) -> None:
    made = [sandbox.stripe.v1.customers.create({"name": f"Customer {n}"}).id for n in range(7)]
    newest_first = list(reversed(made))

    page = sandbox.stripe.v1.customers.list({"limit": 3})
    assert ([each.id for each in page], page.has_more) == (newest_first[:3], True)
    assert [each.id for each in page.auto_paging_iter()] == newest_first
    last = sandbox.stripe.v1.customers.list({"limit": 3, "starting_after": newest_first[3]})
    assert ([each.id for each in last], last.has_more) == (newest_first[4:], False)
    before = sandbox.stripe.v1.customers.list({"limit": 3, "ending_before": newest_first[5]})
    assert ([each.id for each in before], before.has_more) == (newest_first[2:5], True)


def test_customer_is_updated_listed_and_deleted(sandbox: RunningSandbox) -> None:
    customer = sandbox.stripe.v1.customers.create({"email": "a@shop.example", "metadata": {"one": "1", "two": "2"}})
    changed = sandbox.stripe.v1.customers.update(customer.id, {"name": "Ada", "metadata": {"one": "", "three": "3"}})
    assert (changed.name, changed.metadata.to_dict()) == ("Ada", {"two": "2", "three": "3"})
    updated = sandbox.stripe.v1.events.list({"type": "customer.updated"}).data[0]
    assert updated.data.previous_attributes.name is None
    assert [each.id for each in sandbox.stripe.v1.customers.list({"email": "a@shop.example"})] == [customer.id]
    assert not sandbox.stripe.v1.customers.list({"email": "b@shop.example"}).data
    assert sandbox.stripe.v1.customers.list({"created": {"gt": customer.created}}).data == []

    assert sandbox.stripe.v1.customers.delete(customer.id).deleted
    assert sandbox.stripe.v1.customers.retrieve(customer.id).deleted
    assert not sandbox.stripe.v1.customers.list().data
    with pytest.raises(stripe.InvalidRequestError):
        sandbox.stripe.v1.customers.update(customer.id, {"name": "Bob"})


def test_lookup_keys_find_and_move_between_prices(sandbox: RunningSandbox) -> None:
    product = sandbox.stripe.v1.products.create({"name": "Plan"})
    terms = {"product": product.id, "currency": "usd", "lookup_key": "team"}
    first = sandbox.stripe.v1.prices.create(terms | {"unit_amount": 100})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.stripe.v1.prices.create(terms | {"unit_amount": 200})
    assert refused.value.code == "resource_already_exists"
    second = sandbox.stripe.v1.prices.create(terms | {"unit_amount": 200, "transfer_lookup_key": True})

    found = sandbox.stripe.v1.prices.list({"lookup_keys": ["team"], "expand": ["data.product"]})
    assert [each.id for each in found] == [second.id]
    assert found.data[0].product.name == "Plan"
    assert sandbox.stripe.v1.prices.retrieve(first.id).lookup_key is None


def test_rate_limit_and_server_errors_can_be_ordered(sandbox: RunningSandbox) -> None:
    sandbox.faults(fail_next=[{"path": "/v1/customers", "status": 429}, {"path": "/v1/customers", "status": 503}])
    with pytest.raises(stripe.RateLimitError):
        sandbox.stripe.v1.customers.create({"name": "A"})
    with pytest.raises(stripe.APIError):
        sandbox.stripe.v1.customers.create({"name": "A"})
    assert not sandbox.stripe.v1.customers.list().data
    assert sandbox.stripe.v1.customers.create({"name": "A"}).name == "A"


def test_wrong_faults_are_refused_and_change_nothing(sandbox: RunningSandbox) -> None:
    sandbox.faults(duplicate=True)
    for body in (
        {"duplicat": True},
        {"delay_ms": -1},
        {"fail_next": [{"status": 500}]},
        {"fail_next": [{"path": "/"}]},
    ):
        assert sandbox.request("POST", "/_sandbox/faults", json=body).status_code == 400
    assert sandbox.request("GET", "/_sandbox/faults").json()["duplicate"] is True
    assert sandbox.request("DELETE", "/_sandbox/faults").json()["duplicate"] is False


def test_form_encoding_nests_and_appends() -> None:
    assert decode_form("a[0][b]=1&a[0][c][]=x&a[0][c][]=y&d=") == {
        "a": {"0": {"b": "1", "c": {"0": "x", "1": "y"}}},
        "d": "",
    }
    for malformed in ("a[b=1", "a=1&a[b]=2", "a[b]=2&a=1", "[a]=1", "a" + "[b]" * 20 + "=1", "a=%ff"):
        with pytest.raises(InvalidRequest):
            decode_form(malformed)
