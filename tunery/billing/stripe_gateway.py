"""Stripe, as far as Tunery needs it. Every request to it is made here, and none inside a transaction."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import stripe

from tunery.core.errors import Conflict, DomainError, InvalidInput, Unavailable
from tunery.core.logs import get_logger

API_VERSION = "2026-10-28.endive"
"""Pinned: what an object looks like changes when we say so, not when Stripe or its SDK is updated."""

TIMEOUT_SECONDS = 20
NETWORK_RETRIES = 2
"""By the SDK, with the same idempotency key; also after 409, Stripe's answer to two uses of one key at once."""

SIGNATURE_TOLERANCE_SECONDS = 300

log = get_logger(__name__)


class InvalidSignature(InvalidInput):
    code = "INVALID_SIGNATURE"


class PaymentDeclined(Conflict):
    code = "PAYMENT_DECLINED"


@dataclass(frozen=True)
class CheckoutSession:
    """A Stripe Checkout session. `amount_total` is in minor units; `url` is None once nobody can pay any more."""

    id: str
    url: str | None
    status: str | None
    payment_status: str
    amount_total: int | None
    currency: str | None
    metadata: dict[str, str]


@dataclass(frozen=True)
class VerifiedEvent:
    """A webhook event that Stripe signed."""

    id: str
    type: str
    payload: dict[str, Any]


class StripeGateway:
    """One Stripe account. Errors: PaymentDeclined, InvalidInput and Conflict for what Stripe refuses, Unavailable for
    what may work at another time.
    """

    def __init__(self, secret_key: str, api_base: str, webhook_secret: str) -> None:
        self._webhook_secret = webhook_secret
        self._http = _HttpClient()
        self._client = stripe.StripeClient(
            secret_key,
            stripe_version=API_VERSION,
            base_addresses={"api": api_base},
            max_network_retries=NETWORK_RETRIES,
            http_client=self._http,
        )

    async def create_checkout_session(
        self,
        *,
        idempotency_key: str,
        reference: str,
        product_name: str,
        product_description: str,
        amount: int,
        currency: str,
        metadata: dict[str, str],
        success_url: str,
        cancel_url: str,
    ) -> CheckoutSession:
        """A page on which one product is paid once; `amount` is in minor units.

        The same key gives the same session for 24 hours, and Conflict with other arguments.
        """
        price_data: stripe.params.checkout.SessionCreateParamsLineItemPriceData = {
            "currency": currency,
            "unit_amount": amount,
            "product_data": {"name": product_name, "description": product_description},
        }
        with _translated():
            session = await self._client.v1.checkout.sessions.create_async(
                {
                    "mode": "payment",
                    "client_reference_id": reference,
                    "line_items": [{"price_data": price_data, "quantity": 1}],
                    "metadata": metadata,
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                },
                {"idempotency_key": idempotency_key},
            )
        return _checkout_session(session)

    async def retrieve_checkout_session(self, session_id: str) -> CheckoutSession:
        with _translated():
            return _checkout_session(await self._client.v1.checkout.sessions.retrieve_async(session_id))

    def verify_event(self, payload: bytes, signature: str) -> VerifiedEvent:
        """The event in a webhook's raw body. Raises InvalidSignature unless Stripe signed these very bytes lately."""
        try:
            stripe.WebhookSignature.verify_header(
                payload, signature, self._webhook_secret, tolerance=SIGNATURE_TOLERANCE_SECONDS
            )
            event = json.loads(payload)
            return VerifiedEvent(event["id"], event["type"], event)
        except (stripe.SignatureVerificationError, ValueError, LookupError, TypeError) as error:
            raise InvalidSignature("this is no event that Stripe signed for this endpoint") from error

    async def close(self) -> None:
        await self._http.close_async()


class _HttpClient(stripe.HTTPClient):
    """The SDK's transport over httpx. Its own one hands bodies to httpx in a way that httpx has deprecated."""

    name = "httpx"

    def __init__(self) -> None:
        super().__init__()
        self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | bytes | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            response = await self._client.request(method, url, headers=headers, content=post_data)
        except httpx.HTTPError as error:
            raise stripe.APIConnectionError(str(error), should_retry=True) from error  # type: ignore[no-untyped-call]
        return response.content, response.status_code, response.headers

    async def sleep_async(self, secs: float) -> None:
        await asyncio.sleep(secs)

    async def close_async(self) -> None:
        await self._client.aclose()


def _checkout_session(session: stripe.checkout.Session) -> CheckoutSession:
    return CheckoutSession(
        id=session.id,
        url=session.url,
        status=session.status,
        payment_status=session.payment_status,
        amount_total=session.amount_total,
        currency=session.currency,
        metadata=session.metadata.to_dict() if session.metadata else {},
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except stripe.StripeError as error:
        raise _domain_error(error) from error


def _domain_error(error: stripe.StripeError) -> DomainError:
    """What a caller may know; the log gets the request id under which Stripe's dashboard shows the rest."""
    log.warning("stripe refused", error=str(error), status=error.http_status, stripe_request=error.request_id)
    message = error.user_message or "the payment provider refused"
    match error:
        case stripe.CardError():
            return PaymentDeclined(message)
        case stripe.IdempotencyError():
            return Conflict("a payment with this key was begun with other details: use another idempotency key")
        case stripe.InvalidRequestError():
            return InvalidInput(message)
        case stripe.AuthenticationError() | stripe.PermissionError():
            return Unavailable("payments are not set up on this installation")
        case _:
            return Unavailable("the payment provider does not answer; try again in a moment")
