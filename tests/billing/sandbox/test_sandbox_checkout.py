from collections.abc import Callable
from typing import Any

import httpx
import pytest
import stripe
from sandbox_server import RunningSandbox


def test_paying_completes_the_session(sandbox: RunningSandbox, open_session: Callable[..., Any]) -> None:
    session = open_session(client_reference_id="order-7", metadata={"tenant": "t1"}, customer_email="ada@shop.example")
    assert (session.status, session.payment_status, session.amount_total) == ("open", "unpaid", 2500)
    assert session.url == f"{sandbox.url}/c/pay/{session.id}"
    assert session.payment_intent is None

    answer = sandbox.pay(session.url)

    assert answer.status_code == 303
    assert answer.headers["location"] == f"https://shop.example/done?session={session.id}"
    paid = sandbox.stripe.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent.latest_charge.balance_transaction", "line_items.data.price.product"]}
    )
    assert (paid.status, paid.payment_status, paid.client_reference_id) == ("complete", "paid", "order-7")
    assert paid.metadata.to_dict() == {"tenant": "t1"}
    assert paid.url is None
    assert paid.customer_details.email == "ada@shop.example"
    assert paid.line_items.data[0].price.product.name == "Shop <adapter>"
    intent = paid.payment_intent
    assert (intent.status, intent.amount_received) == ("succeeded", 2500)
    booked = intent.latest_charge.balance_transaction
    assert (booked.amount, booked.fee, booked.net) == (2500, 103, 2397)  # 72.5 rounds up to 73, plus 30
    assert sandbox.event_types() == [
        *("product.created", "price.created", "payment_intent.created"),
        *("charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"),
    ]


def test_decline_is_recorded_and_the_next_attempt_pays(
    sandbox: RunningSandbox, open_session: Callable[..., Any]
) -> None:
    session = open_session()

    declined = sandbox.pay(session.url, outcome="decline")

    assert declined.status_code == 402
    assert "Your card was declined." in declined.text
    after = sandbox.stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (after.status, after.payment_status) == ("open", "unpaid")
    assert after.payment_intent.status == "requires_payment_method"
    assert after.payment_intent.last_payment_error.code == "card_declined"
    assert sandbox.event_types()[-2:] == ["charge.failed", "payment_intent.payment_failed"]
    assert not list(sandbox.stripe.v1.balance_transactions.list())

    assert sandbox.pay(session.url, card="4000 0000 0000 9995").status_code == 402
    assert sandbox.pay(session.url, card="4242424242424242").status_code == 303
    paid = sandbox.stripe.v1.checkout.sessions.retrieve(session.id)
    assert paid.payment_intent == after.payment_intent.id
    assert [charge.status for charge in sandbox.stripe.v1.charges.list()] == ["succeeded", "failed", "failed"]


def test_paying_twice_is_refused(sandbox: RunningSandbox, open_session: Callable[..., Any]) -> None:
    session = open_session()
    sandbox.pay(session.url)
    events = sandbox.event_types()

    again = sandbox.pay(session.url)

    assert again.status_code == 409
    assert "already been paid" in again.text
    assert sandbox.event_types() == events
    assert len(sandbox.stripe.v1.charges.list().data) == 1


def test_expired_session_cannot_be_paid(sandbox: RunningSandbox, open_session: Callable[..., Any]) -> None:
    session = open_session()
    assert sandbox.stripe.v1.checkout.sessions.expire(session.id).status == "expired"
    events = sandbox.event_types()
    assert events[-1] == "checkout.session.expired"

    assert sandbox.pay(session.url).status_code == 410
    assert sandbox.http.get(f"/c/pay/{session.id}").status_code == 410
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        sandbox.stripe.v1.checkout.sessions.expire(session.id)
    assert sandbox.event_types() == events


def test_session_expires_in_time_without_a_request(
    sandbox: RunningSandbox, open_session: Callable[..., Any], clock: list[float]
) -> None:
    session = open_session(expires_at=int(clock[0]) + 3600)

    clock[0] += 3601

    expired = sandbox.stripe.v1.checkout.sessions.retrieve(session.id)
    assert (expired.status, expired.url) == ("expired", None)
    event = sandbox.stripe.v1.events.list({"type": "checkout.session.expired"}).data[0]
    assert event.created == session.expires_at
    assert sandbox.pay(session.url).status_code == 410


def test_page_shows_the_order_and_escapes_it(sandbox: RunningSandbox, open_session: Callable[..., Any]) -> None:
    page = sandbox.http.get(httpx.URL(open_session().url).path)

    assert page.status_code == 200
    assert "Shop &lt;adapter&gt;" in page.text
    assert "25.00 USD" in page.text
    assert 'href="https://shop.example/cancel"' in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("form", [{"outcome": "maybe"}, {"card": "4111111111111111"}, {"amount": "1"}])
def test_wrong_form_changes_nothing(
    sandbox: RunningSandbox, open_session: Callable[..., Any], form: dict[str, str]
) -> None:
    session = open_session()
    events = sandbox.event_types()

    assert sandbox.pay(session.url, **form).status_code == 400

    assert sandbox.stripe.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert sandbox.event_types() == events
    assert sandbox.pay(session.url.replace(session.id, "cs_test_other")).status_code == 404


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"mode": "subscription"}, "mode"),
        ({"line_items": [{"price": "price_none", "quantity": 1}]}, "line_items[0][price]"),
        ({"customer": "cus_none"}, "customer"),
        ({"expires_at": 5}, "expires_at"),
    ],
)
def test_refused_session_leaves_nothing_behind(
    sandbox: RunningSandbox, open_session: Callable[..., Any], changed: dict[str, Any], param: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        open_session(**changed)

    assert refused.value.param == param
    assert sandbox.event_types() == []
    assert not sandbox.stripe.v1.checkout.sessions.list().data


def test_line_items_keep_their_order_and_their_price(sandbox: RunningSandbox, open_session: Callable[..., Any]) -> None:
    product = sandbox.stripe.v1.products.create({"name": "Adapter"})
    prices = [
        sandbox.stripe.v1.prices.create({"product": product.id, "currency": "eur", "unit_amount": amount})
        for amount in (100, 200, 300)
    ]
    session = open_session(line_items=[{"price": price.id, "quantity": 3} for price in prices])

    items = sandbox.stripe.v1.checkout.sessions.line_items.list(session.id, {"limit": 2})

    assert [item.amount_total for item in items.auto_paging_iter()] == [300, 600, 900]
    assert (items.has_more, session.currency, session.amount_total) == (True, "eur", 1800)


def test_refunds_in_part_and_in_full(sandbox: RunningSandbox, open_session: Callable[..., Any]) -> None:
    session = open_session()
    sandbox.pay(session.url)
    intent = sandbox.stripe.v1.checkout.sessions.retrieve(session.id).payment_intent

    first = sandbox.stripe.v1.refunds.create({"payment_intent": intent, "amount": 1000})
    charge = sandbox.stripe.v1.charges.retrieve(first.charge, {"expand": ["refunds"]})
    assert (charge.amount_refunded, charge.refunded, len(charge.refunds.data)) == (1000, False, 1)

    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded") as refused:
        sandbox.stripe.v1.refunds.create({"charge": first.charge, "amount": 1501})
    assert refused.value.param == "amount"
    assert len(sandbox.stripe.v1.refunds.list().data) == 1

    rest = sandbox.stripe.v1.refunds.create({"charge": first.charge, "reason": "requested_by_customer"})
    assert rest.amount == 1500
    charge = sandbox.stripe.v1.charges.retrieve(first.charge)
    assert (charge.amount_refunded, charge.refunded) == (2500, True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        sandbox.stripe.v1.refunds.create({"payment_intent": intent})
    assert refused.value.code == "charge_already_refunded"
    assert sandbox.event_types().count("charge.refunded") == 2
    moved = [each.amount for each in sandbox.stripe.v1.balance_transactions.list()]
    assert moved == [-1500, -1000, 2500]


def test_declined_payment_intent_is_a_card_error(sandbox: RunningSandbox) -> None:
    with pytest.raises(stripe.CardError) as declined:
        sandbox.stripe.v1.payment_intents.create(
            {"amount": 500, "currency": "usd", "confirm": True, "payment_method": "pm_card_chargeDeclined"}
        )

    assert (declined.value.http_status, declined.value.code) == (402, "card_declined")
    assert declined.value.error.decline_code == "generic_decline"
    intent = sandbox.stripe.v1.payment_intents.retrieve(declined.value.error.payment_intent.id)
    assert intent.status == "requires_payment_method"
    assert (
        sandbox.stripe.v1.payment_intents.confirm(intent.id, {"payment_method": "pm_card_visa"}).status == "succeeded"
    )
