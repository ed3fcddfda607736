"""The sandbox apart from HTTP: state, resource types, and the one way to do work on them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tunery.billing.sandbox.delivery_queue import DeliveryQueue
from tunery.billing.sandbox.faults import Faults
from tunery.billing.sandbox.idempotency import IdempotencyKeys
from tunery.billing.sandbox.resource import ResourceType
from tunery.billing.sandbox.settings import SandboxSettings
from tunery.billing.sandbox.storage import Store
from tunery.billing.sandbox.unit_of_work import Origin, UnitOfWork
from tunery.billing.sandbox.webhooks import WebhookDeliverer


class Engine:
    """Owns the store and everything that works on it; `types` are the resource types by object name."""

    def __init__(self, settings: SandboxSettings, types: Mapping[str, ResourceType]) -> None:
        self.settings = settings
        self.types = types
        self.store = Store(settings.data)
        self.faults = Faults()
        self.idempotency_keys = IdempotencyKeys(self.store)
        self.deliveries = DeliveryQueue(self.store, settings, self.faults)
        self.deliverer = WebhookDeliverer(self.store, self.deliveries, settings)
        self._timers = {kind: act for each in types.values() for kind, act in each.timers.items()}

    def now(self) -> int:
        return int(self.settings.clock())

    @contextmanager
    def begin(self, origin: Origin, *, api_version: str | None = None) -> Iterator[UnitOfWork]:
        """One transaction. What time has already brought about (sessions expired, ...) happens before it."""
        self.fire_timers()
        with self.store.transaction():
            yield self._unit_of_work(self.settings.account, self.now(), origin, api_version)
        self.deliverer.wake()

    def fire_timers(self) -> None:
        """Runs every timer that is due, in order, each in a transaction of its own.

        Each sees the moment it was set for as its present, so a sandbox that slept a week dates things correctly.
        """
        fired = False
        while self.store.has_due_timer(self.now()):
            with self.store.transaction():
                account, due_at, kind, resource_id = self.store.pop_due_timer(self.now())
                uow = self._unit_of_work(account, due_at, Origin(self.settings.public_url or ""), None)
                self._timers[kind](uow, resource_id)
            fired = True
        if fired:
            self.deliverer.wake()

    def _unit_of_work(self, account: str, now: int, origin: Origin, api_version: str | None) -> UnitOfWork:
        return UnitOfWork(
            store=self.store,
            types=self.types,
            deliveries=self.deliveries,
            account=account,
            api_version=api_version or self.settings.api_version,
            now=now,
            origin=origin,
        )
