"""A market for the tests: sellers with adapters, buyers who pay at the Stripe sandbox, webhooks that arrive."""

import asyncio
import contextlib
import hashlib
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import uvicorn
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp

from tunery.billing.accounts import balances
from tunery.billing.models import LedgerEntry, Reservation, StripeEvent
from tunery.billing.sandbox import SandboxSettings, create_sandbox
from tunery.billing.tasks import TASKS as BILLING_TASKS
from tunery.core.database import Database
from tunery.core.outbox import OutboxMessage, run_task
from tunery.core.services import Services
from tunery.core.storage import ObjectStorage
from tunery.marketplace.models import Entitlement, Listing, Purchase, Sale
from tunery.marketplace.publish import publish_listing
from tunery.marketplace.purchase import purchase_listing
from tunery.marketplace.tasks import TASKS as MARKETPLACE_TASKS
from tunery.training.models import Adapter, AdapterVersion, BaseModel, DataSet, Quote, TrainingJob
from tunery.vault.keyring import Keyring, generate_data_key

SECRET_KEY = "sk_test_of_the_market"
TASKS = {**BILLING_TASKS, **MARKETPLACE_TASKS}
URLS = {"success_url": "https://shop.example/done", "cancel_url": "https://shop.example/cancel"}
FILES = {"README.md": b"# A card\n", "adapter_config.json": b"{}", "adapter_model.safetensors": bytes(range(256)) * 40}


class Server(uvicorn.Server):
    """Looks every few milliseconds whether it is to stop, and leaves the process's signal handlers alone."""

    async def main_loop(self) -> None:
        await self.on_tick(0)
        while not self.should_exit:  # noqa: ASYNC110 - uvicorn sets a flag, not an event
            await asyncio.sleep(0.005)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind() -> tuple[socket.socket, str]:
    """A free loopback port, and its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


def server_of(app: ASGIApp) -> Server:
    return Server(uvicorn.Config(app, log_config=None, ws="none", timeout_graceful_shutdown=1))


class Sandbox:
    """The Stripe sandbox on a thread of its own, and what a buyer or an operator does there."""

    def __init__(self) -> None:
        listening, self.url = bind()
        settings = SandboxSettings(secret_key=SECRET_KEY, retry_schedule=(0.02, 0.1), timer_interval=0.05)
        self._server = server_of(create_sandbox(settings))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listening]})
        self._thread.start()
        headers = {"authorization": f"Bearer {SECRET_KEY}"}
        self.http = httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False)

    async def wait_until_started(self) -> None:
        await wait_for(lambda: asyncio.sleep(0, self._server.started))

    async def post(self, path: str, **form: str) -> dict[str, Any]:
        response = await self.http.post(path, data=form)
        assert response.status_code == 200, response.text
        return response.json()

    async def faults(self, **faults: Any) -> None:
        assert (await self.http.post("/_sandbox/faults", json=faults)).status_code == 200

    async def pay(self, session_id: str) -> None:
        assert (await self.http.post(f"/c/pay/{session_id}", data={"outcome": "pay"})).status_code == 303

    async def sessions(self) -> list[dict[str, Any]]:
        response = await self.http.get("/v1/checkout/sessions", params={"limit": 100})
        assert response.status_code == 200, response.text
        return response.json()["data"]

    async def stop(self) -> None:
        await self.http.aclose()
        self._server.should_exit = True
        await asyncio.to_thread(self._thread.join)


class Market:
    def __init__(self, services: Services, sandbox: Sandbox, url: str, sign_up: Callable[..., Awaitable[Any]]) -> None:
        self.services = services
        self.sandbox = sandbox
        self.url = url
        self.sign_up = sign_up
        self.database = services.get(Database)

    async def train(
        self, tenant: Any, name: str = "support-tone", *, number: int = 1, files: dict[str, bytes] | None = None
    ) -> AdapterVersion:
        """A finished version of an adapter, without its training."""
        files = FILES if files is None else files
        digest = secrets.token_hex(32)
        prefix = f"adapters/{digest}"
        for path, content in files.items():
            await self.services.get(ObjectStorage).put(f"{prefix}/{path}", content)
        async with self.database.unit_of_work(tenant.tenant_id) as uow:
            session, now = uow.session, uow.now()
            base_id = (await session.scalars(select(BaseModel.id))).first()
            adapter_id = await session.scalar(select(Adapter.id).where(Adapter.name == name))
            if adapter_id is None:
                adapter_id = await _insert(session, Adapter, name=name, base_model_id=base_id, created_at=now)
            key = await self.services.get(Keyring).store_data_key(uow, generate_data_key(), purpose=digest)
            data_set_id = await _insert(
                session,
                DataSet,
                name=digest,
                rows=1,
                size=1,
                sha256="",
                data_key_id=key.id,
                object_path="",
                created_at=now,
            )
            reservation_id = await _insert(
                session, Reservation, source=digest, amount=0, settled=0, currency="usd", created_at=now
            )
            quote_id = await _insert(
                session,
                Quote,
                data_set_id=data_set_id,
                base_model_id=base_id,
                spec={},
                **dict.fromkeys(("train_rows", "held_out_rows", "truncated_rows", "trained_tokens"), 1),
                trainable_tokens=1,
                unit_price=0,
                price=0,
                currency="usd",
                created_at=now,
                expires_at=now,
            )
            job_id = await _insert(
                session,
                TrainingJob,
                quote_id=quote_id,
                adapter_id=adapter_id,
                reservation_id=reservation_id,
                data_key_id=key.id,
                status="succeeded",
                created_at=now,
            )
            listed = [
                {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for path, content in files.items()
            ]
            version = AdapterVersion(
                adapter_id=adapter_id,
                number=number,
                job_id=job_id,
                digest=digest,
                manifest={"name": name, "version": f"v{number}"},
                files=listed,
                object_prefix=prefix,
                created_at=now,
            )
            session.add(version)
            return version

    async def publish(self, seller: Any, version: AdapterVersion | None = None, **terms: Any) -> Listing:
        version = version or await self.train(seller)
        offer: dict[str, Any] = {
            "title": "Support tone",
            "description": "Answers like a patient shop assistant.",
            "licence": "apache-2.0",
            "price": 1250,
        }
        async with self.database.unit_of_work(seller.tenant_id) as uow:
            return await publish_listing(uow, adapter_version_id=version.id, **(offer | terms))

    async def order(self, buyer: Any, listing: Listing, key: str | None = None, **urls: str) -> Purchase:
        return await purchase_listing(
            self.services,
            buyer.identity,
            listing_id=listing.id,
            idempotency_key=key or secrets.token_hex(8),
            **(URLS | urls),
        )

    async def buy(self, buyer: Any, listing: Listing) -> Purchase:
        """Ordered, paid, and everything done that follows."""
        purchase = await self.order(buyer, listing)
        await self.sandbox.pay(purchase.checkout_session_id)
        await self.arrival("checkout.session.completed", purchase.checkout_session_id)
        await self.run_tasks()
        return purchase

    async def arrival(self, event_type: str, object_id: str) -> str:
        """The id of that event, once Stripe's delivery of it was kept."""
        found = select(StripeEvent.id).where(
            StripeEvent.type == event_type, StripeEvent.payload["data"]["object"]["id"].astext == object_id
        )

        async def look() -> str | None:
            async with self.database.dispatch() as uow:
                return await uow.session.scalar(found)

        return await wait_for(look)

    async def run_tasks(self) -> None:
        """Run what is enqueued for these rooms until nothing is left; any failure is the test's."""
        due = select(OutboxMessage.id).where(OutboxMessage.handled_at.is_(None), OutboxMessage.task.in_(TASKS))
        while True:
            async with self.database.dispatch() as uow:
                waiting = (await uow.session.scalars(due.order_by(OutboxMessage.created_at))).all()
            if not waiting:
                return
            for message_id in waiting:
                await run_task(self.services, TASKS, message_id)
            async with self.database.dispatch() as uow:
                errors = select(OutboxMessage.last_error).where(OutboxMessage.id.in_(waiting))
                assert not any((await uow.session.scalars(errors)).all())

    async def count(self, tenant: Any, table: Any, *conditions: Any) -> int:
        """The tenant's own rows."""
        async with self.database.unit_of_work(tenant.tenant_id) as uow:
            rows = select(func.count()).select_from(table).where(table.tenant_id == tenant.tenant_id, *conditions)
            return await uow.session.scalar(rows) or 0

    async def rows(self, tenant: Any, table: Any) -> list[Any]:
        async with self.database.unit_of_work(tenant.tenant_id) as uow:
            return list(await uow.session.scalars(select(table).where(table.tenant_id == tenant.tenant_id)))

    async def state(self, buyer: Any, seller: Any) -> tuple[list[str], int, int, Decimal]:
        """The buyer's purchases' statuses and number of entitlements; the seller's sales and earnings."""
        statuses = sorted(purchase.status for purchase in await self.rows(buyer, Purchase))
        entitlements = await self.count(buyer, Entitlement, Entitlement.revoked_at.is_(None))
        sales = await self.count(seller, Sale)
        async with self.database.unit_of_work(seller.tenant_id) as uow:
            earnings = (await balances(uow))["earnings"].balance
            entries = select(func.coalesce(func.sum(LedgerEntry.amount), 0)).where(LedgerEntry.account == "earnings")
            assert await uow.session.scalar(entries) == earnings
        return statuses, entitlements, sales, earnings

    async def set_purchase(self, buyer: Any, purchase_id: UUID, **values: Any) -> None:
        async with self.database.unit_of_work(buyer.tenant_id) as uow:
            purchase = await uow.session.get_one(Purchase, purchase_id)
            for name, value in values.items():
                setattr(purchase, name, value)


async def _insert(session: AsyncSession, table: Any, **values: Any) -> UUID:
    return (await session.execute(insert(table).values(**values).returning(table.id))).scalar_one()


async def wait_for(condition: Callable[[], Awaitable[Any]], seconds: float = 10) -> Any:
    """Polls until the condition gives something true, and gives that back."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := await condition():
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("waited in vain")
