"""The keys of the sandbox's objects are those of Stripe's own fixtures (stripe/openapi, fixtures3)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sandbox_server import Receiver, RunningSandbox

_FIXTURES = Path(__file__).parents[4] / "shared" / "stripe" / "fixtures3.json"


@pytest.fixture(scope="module")
def fixtures() -> dict[str, Any]:
    if not _FIXTURES.exists():
        pytest.skip(f"Stripe's fixtures are not at {_FIXTURES}; they come from github.com/stripe/openapi")
    return json.loads(_FIXTURES.read_text())["resources"]


def test_objects_have_the_keys_of_stripes_fixtures(
    sandbox: RunningSandbox, open_session: Callable[..., Any], receiver: Receiver, fixtures: dict[str, Any]
) -> None:
    v1 = sandbox.stripe.v1
    customer = v1.customers.create({"email": "a@shop.example"})
    endpoint = v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["charge.succeeded"]})
    session = open_session(customer=customer.id)
    declined = open_session()
    sandbox.pay(declined.url, outcome="decline")
    sandbox.pay(session.url)
    # `refunds` is in the fixture but left out of answers unless it is expanded.
    charge = v1.charges.list({"expand": ["data.refunds", "data.payment_intent.payment_method"]}).data[0]
    refund = v1.refunds.create({"charge": charge.id})
    item = v1.checkout.sessions.line_items.list(session.id).data[0]
    objects = [
        *(customer, session, charge, charge.payment_intent, charge.payment_intent.payment_method, refund, item),
        *(item.price, v1.products.retrieve(item.price.product), v1.events.list().data[0]),
        *(v1.checkout.sessions.retrieve(session.id), v1.checkout.sessions.retrieve(declined.id)),
        v1.balance_transactions.list().data[0],
        v1.webhook_endpoints.retrieve(endpoint.id),
    ]

    different = {
        each["object"]: set(each.to_dict()) ^ set(fixtures[each["object"]])
        for each in objects
        if set(each.to_dict()) != set(fixtures[each["object"]])
    }

    assert different == {}
    card, expected = charge.payment_method_details.card.to_dict(), fixtures["charge"]["payment_method_details"]["card"]
    assert set(card) == set(expected)
    assert set(v1.customers.delete(customer.id).to_dict()) == set(fixtures["deleted_customer"])
    assert set(v1.webhook_endpoints.delete(endpoint.id).to_dict()) == set(fixtures["deleted_webhook_endpoint"])
    with_sold_price = v1.products.create({"name": "unused"})
    assert set(v1.products.delete(with_sold_price.id).to_dict()) == set(fixtures["deleted_product"])
