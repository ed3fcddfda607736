"""Delivers queued events to the webhook endpoints, signed as Stripe signs them."""

import asyncio
import hashlib
import hmac
import json
import logging
from contextlib import suppress
from functools import partial

import httpx

from tunery.billing.sandbox.delivery_queue import Delivery, DeliveryQueue
from tunery.billing.sandbox.settings import SandboxSettings
from tunery.billing.sandbox.storage import Store

_log = logging.getLogger(__name__)

# A clock that a test moves wakes nobody, so waiting is cut into slices of this many seconds.
_LONGEST_WAIT = 0.25


def signature_header(payload: bytes, secret: str, timestamp: int) -> str:
    """The `Stripe-Signature` header: HMAC-SHA256 of `timestamp.payload` (https://docs.stripe.com/webhooks#verify)."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + payload, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class WebhookDeliverer:
    """A task that lives as long as the server. Deliveries run concurrently and in no promised order."""

    def __init__(self, store: Store, queue: DeliveryQueue, settings: SandboxSettings) -> None:
        self._store = store
        self._queue = queue
        self._settings = settings
        self._wake = asyncio.Event()
        self._attempts: dict[int, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Says that a transaction which may have queued deliveries has committed."""
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled. What was being sent then stays pending and is sent again by the next process."""
        # Deliveries go where they are addressed, whatever proxy this process was started behind.
        async with httpx.AsyncClient(timeout=self._settings.delivery_timeout, trust_env=False) as client:
            try:
                while True:
                    self._wake.clear()
                    self._start_due(client)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), self._wait_seconds())
            finally:
                attempts = list(self._attempts.values())
                for attempt in attempts:
                    attempt.cancel()
                await asyncio.gather(*attempts, return_exceptions=True)

    def _wait_seconds(self) -> float | None:
        if len(self._attempts) >= self._settings.delivery_concurrency:
            return None
        seconds = self._queue.seconds_until_next(excluding=list(self._attempts))
        return None if seconds is None else min(seconds, _LONGEST_WAIT)

    def _start_due(self, client: httpx.AsyncClient) -> None:
        free = self._settings.delivery_concurrency - len(self._attempts)
        for delivery in self._queue.due(free, excluding=list(self._attempts)):
            attempt = asyncio.create_task(self._attempt(client, delivery))
            self._attempts[delivery.sequence] = attempt
            attempt.add_done_callback(partial(self._finished, delivery.sequence))

    def _finished(self, sequence: int, _: asyncio.Task[None]) -> None:
        del self._attempts[sequence]
        self._wake.set()

    async def _attempt(self, client: httpx.AsyncClient, delivery: Delivery) -> None:
        endpoint = self._store.read(delivery.account, "webhook_endpoint", delivery.webhook_endpoint)
        event = self._store.read(delivery.account, "event", delivery.event)
        if endpoint is None or event is None or endpoint.deleted:
            self._queue.cancel(delivery.webhook_endpoint)
            return
        payload = json.dumps(event.document, indent=2).encode()
        status, error = None, None
        try:
            timestamp = int(self._settings.delivery_clock())
            response = await client.post(
                endpoint.document["url"],
                content=payload,
                headers={
                    "Content-Type": "application/json; charset=utf-8",
                    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                    "Stripe-Signature": signature_header(payload, endpoint.private["secret"], timestamp),
                },
            )
            status = response.status_code
        except Exception as failure:  # noqa: BLE001 - whatever the address does to the client, the row must back off
            error = f"{type(failure).__name__}: {failure}"
        with self._store.transaction():
            self._queue.record_attempt(delivery, status=status, error=error)
        _log.info(
            "webhook event=%s type=%s endpoint=%s attempt=%d status=%s error=%s",
            *(delivery.event, event.document["type"], delivery.webhook_endpoint),
            *(delivery.attempts + 1, status, error),
        )
