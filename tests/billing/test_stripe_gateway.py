from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from tunery.billing.stripe_gateway import API_VERSION, NETWORK_RETRIES, InvalidSignature, PaymentDeclined, StripeGateway
from tunery.core.errors import Conflict, DomainError, InvalidInput, Unavailable

ORDER: dict[str, Any] = {
    "idempotency_key": "purchase-1",
    "reference": "pur_1",
    "product_name": "acme/support-tone",
    "product_description": "LoRA adapter, licence mit",
    "amount": 1250,
    "currency": "usd",
    "metadata": {"purchase_id": "pur_1"},
    "success_url": "https://a.example",
    "cancel_url": "https://b.example",
}

Answer = Callable[[httpx.Request], httpx.Response]


class Gateway(StripeGateway):
    """Against an answer of the test's choosing, without waiting between attempts."""

    def __init__(self, answer: Answer) -> None:
        super().__init__("sk_test_secret", "http://stripe.test", "whsec_tests")
        self.requests: list[httpx.Request] = []

        def respond(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return answer(request)

        self._http._client = httpx.AsyncClient(transport=httpx.MockTransport(respond))
        self._http.sleep_async = self._no_sleep

    async def _no_sleep(self, seconds: float) -> None:
        pass


@pytest.fixture
async def gateways() -> AsyncIterator[Callable[[Answer], Gateway]]:
    made: list[Gateway] = []

    def make(answer: Answer) -> Gateway:
        made.append(Gateway(answer))
        return made[-1]

    yield make
    for gateway in made:
        await gateway.close()


def refusing(status: int, **error: str) -> Answer:
    return lambda _: httpx.Response(status, json={"error": {"message": "no", **error}}, headers={"request-id": "req_1"})


@pytest.mark.parametrize(
    ("status", "error", "kind", "attempts"),
    [
        (400, {"type": "invalid_request_error", "param": "success_url"}, InvalidInput, 1),
        (404, {"type": "invalid_request_error", "code": "resource_missing"}, InvalidInput, 1),
        (400, {"type": "idempotency_error"}, Conflict, 1),
        (402, {"type": "card_error", "code": "card_declined"}, PaymentDeclined, 1),
        (401, {"type": "invalid_request_error"}, Unavailable, 1),
        (403, {"type": "invalid_request_error"}, Unavailable, 1),
        (409, {"type": "idempotency_error"}, Unavailable, 1 + NETWORK_RETRIES),
        (429, {"type": "invalid_request_error", "code": "rate_limit"}, Unavailable, 1),
        (500, {"type": "api_error"}, Unavailable, 1 + NETWORK_RETRIES),
        (503, {"type": "api_error"}, Unavailable, 1 + NETWORK_RETRIES),
    ],
)
async def test_refusals_are_domain_errors(
    gateways: Callable[[Answer], Gateway], status: int, error: dict[str, str], kind: type[DomainError], attempts: int
) -> None:
    gateway = gateways(refusing(status, **error))
    with pytest.raises(DomainError) as refused:
        await gateway.create_checkout_session(**ORDER)
    assert type(refused.value) is kind
    assert "sk_test" not in refused.value.message
    assert len(gateway.requests) == attempts
    assert {request.headers["idempotency-key"] for request in gateway.requests} == {"purchase-1"}


async def test_silent_stripe_is_unavailable(gateways: Callable[[Answer], Gateway]) -> None:
    def break_off(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silence", request=request)

    gateway = gateways(break_off)
    with pytest.raises(Unavailable):
        await gateway.retrieve_checkout_session("cs_1")
    assert len(gateway.requests) == 1 + NETWORK_RETRIES


async def test_session_is_asked_for_under_the_pinned_version(gateways: Callable[[Answer], Gateway]) -> None:
    session = {
        "id": "cs_1",
        "object": "checkout.session",
        "url": "https://checkout.example",
        "status": "open",
        "payment_status": "unpaid",
        "amount_total": 1250,
        "currency": "usd",
        "metadata": {"purchase_id": "pur_1"},
    }
    gateway = gateways(lambda _: httpx.Response(200, json=session))

    created = await gateway.create_checkout_session(**ORDER)

    assert (created.id, created.url, created.metadata) == ("cs_1", session["url"], {"purchase_id": "pur_1"})
    [request] = gateway.requests
    assert request.headers["stripe-version"] == API_VERSION
    form = {name: value for name, [value] in parse_qs(request.content.decode()).items()}
    assert form == {
        "mode": "payment",
        "client_reference_id": "pur_1",
        "metadata[purchase_id]": "pur_1",
        "line_items[0][quantity]": "1",
        "line_items[0][price_data][currency]": "usd",
        "line_items[0][price_data][unit_amount]": "1250",
        "line_items[0][price_data][product_data][name]": "acme/support-tone",
        "line_items[0][price_data][product_data][description]": "LoRA adapter, licence mit",
        "success_url": "https://a.example",
        "cancel_url": "https://b.example",
    }


async def test_without_a_webhook_secret_every_event_is_refused() -> None:
    gateway = StripeGateway("sk_test_secret", "http://stripe.test", "")
    try:
        with pytest.raises(InvalidSignature):
            gateway.verify_event(b"{}", "t=1,v1=1")
    finally:
        await gateway.close()
