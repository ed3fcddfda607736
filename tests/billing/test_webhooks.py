import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import stripe
from sqlalchemy import select
from starlette.applications import Starlette

from tunery.billing.models import StripeEvent
from tunery.billing.stripe_gateway import StripeGateway
from tunery.billing.tasks import APPLY_STRIPE_EVENT, StripeEventHandlers, apply_stripe_event
from tunery.billing.webhooks import LARGEST_EVENT, routes
from tunery.core.database import Database
from tunery.core.outbox import OutboxMessage
from tunery.core.services import Services

SECRET = "whsec_of_the_tests"


class Endpoint:
    """The webhook endpoint, and whoever posts to it."""

    def __init__(self, services: Services, client: httpx.AsyncClient, applied: list[str]) -> None:
        self.services = services
        self.applied = applied
        self._client = client

    async def post(self, payload: bytes, signature: str | None) -> int:
        headers = {} if signature is None else {"stripe-signature": signature.encode("latin-1")}
        return (await self._client.post("/webhooks/stripe", content=payload, headers=headers)).status_code

    async def kept(self, event_id: str) -> tuple[StripeEvent | None, list[OutboxMessage]]:
        async with self.services.get(Database).dispatch() as uow:
            messages = await uow.session.scalars(select(OutboxMessage).where(OutboxMessage.task == APPLY_STRIPE_EVENT))
            own = [message for message in messages if message.arguments == {"event_id": event_id}]
            return await uow.session.get(StripeEvent, event_id), own


@pytest.fixture
async def endpoint(services: Services) -> AsyncIterator[Endpoint]:
    parts, applied = Services(), []

    async def handle(_: Services, object_id: str) -> None:
        applied.append(object_id)
        if object_id == "obj_failing" and len(applied) == 1:
            raise RuntimeError("for once")

    gateway = StripeGateway("sk_test_none", "http://127.0.0.1:9", SECRET)
    parts.add(Database, services.get(Database))
    parts.add(StripeGateway, gateway)
    parts.add(StripeEventHandlers, StripeEventHandlers({"thing.happened": handle}))
    transport = httpx.ASGITransport(Starlette(routes=routes(parts)))
    async with httpx.AsyncClient(transport=transport, base_url="http://tunery") as client:
        yield Endpoint(parts, client, applied)
    await gateway.close()


def event(event_type: str = "thing.happened", object_id: str = "obj_1") -> tuple[str, bytes]:
    event_id = f"evt_{secrets.token_hex(8)}"
    body = {"id": event_id, "object": "event", "type": event_type, "data": {"object": {"id": object_id}}}
    return event_id, json.dumps(body).encode()


def signed(payload: bytes, *, secret: str = SECRET, at: float | None = None) -> str:
    timestamp = None if at is None else int(at)
    return stripe.WebhookSignature.generate_signature_header(payload.decode(), secret, timestamp)


async def test_event_delivered_ten_times_at_once_is_kept_and_enqueued_once(endpoint: Endpoint) -> None:
    event_id, payload = event()

    statuses = await asyncio.gather(*(endpoint.post(payload, signed(payload)) for _ in range(10)))

    assert statuses == [200] * 10
    row, messages = await endpoint.kept(event_id)
    assert row is not None
    assert (row.type, row.payload, row.handled_at) == ("thing.happened", json.loads(payload), None)
    assert len(messages) == 1
    assert messages[0].tenant_id is None
    assert endpoint.applied == []

    await apply_stripe_event(endpoint.services, event_id)
    await apply_stripe_event(endpoint.services, event_id)
    assert endpoint.applied == ["obj_1"]
    assert await endpoint.post(payload, signed(payload)) == 200
    row, messages = await endpoint.kept(event_id)
    assert row is not None
    assert row.handled_at is not None
    assert len(messages) == 1


@pytest.mark.parametrize("kind", ["none", "garbled", "not ASCII", "other secret", "other body", "stale", "no version"])
async def test_bad_signature_keeps_nothing(endpoint: Endpoint, kind: str) -> None:
    event_id, payload = event()
    signature: dict[str, Any] = {
        "none": None,
        "garbled": "t=soon,v1=",
        "not ASCII": f"t={int(time.time())},v1=\xe9",
        "other secret": signed(payload, secret="whsec_other"),
        "other body": signed(payload + b" "),
        "stale": signed(payload, at=time.time() - 301),
        "no version": signed(payload).replace("v1=", "v0="),
    }
    assert await endpoint.post(payload, signature[kind]) == 400
    assert await endpoint.kept(event_id) == (None, [])


@pytest.mark.parametrize("payload", [b"", b"[]", b"{}", b"null", b'{"id": "evt_1"', b"\xff\xfe"])
async def test_signed_nonsense_is_refused(endpoint: Endpoint, payload: bytes) -> None:
    signature = signed(payload) if payload.isascii() else "t=1,v1=1"
    assert await endpoint.post(payload, signature) == 400


async def test_oversized_body_is_not_read(endpoint: Endpoint) -> None:
    payload = b" " * (LARGEST_EVENT + 1)
    assert await endpoint.post(payload, signed(payload)) == 413


async def test_event_that_nobody_handles_is_done_with(endpoint: Endpoint) -> None:
    event_id, payload = event("other.thing")
    await endpoint.post(payload, signed(payload))
    await apply_stripe_event(endpoint.services, event_id)
    row, _ = await endpoint.kept(event_id)
    assert row is not None
    assert row.handled_at is not None
    assert endpoint.applied == []


async def test_failed_handler_is_tried_again(endpoint: Endpoint) -> None:
    event_id, payload = event(object_id="obj_failing")
    await endpoint.post(payload, signed(payload))
    with pytest.raises(RuntimeError):
        await apply_stripe_event(endpoint.services, event_id)
    row, _ = await endpoint.kept(event_id)
    assert row is not None
    assert row.handled_at is None

    await apply_stripe_event(endpoint.services, event_id)

    row, _ = await endpoint.kept(event_id)
    assert row is not None
    assert row.handled_at is not None
    assert endpoint.applied == ["obj_failing"] * 2


async def test_unknown_event_is_nothing(endpoint: Endpoint) -> None:
    await apply_stripe_event(endpoint.services, "evt_unknown")
    assert endpoint.applied == []
