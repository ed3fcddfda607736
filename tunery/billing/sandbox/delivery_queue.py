"""The persisted queue of webhook deliveries: one row per event, endpoint and copy."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tunery.billing.sandbox.errors import Document
from tunery.billing.sandbox.faults import Faults
from tunery.billing.sandbox.settings import SandboxSettings
from tunery.billing.sandbox.storage import Store

# Deliveries that are to be shuffled get random moments within this many seconds.
_SHUFFLE_WINDOW = 0.25


@dataclass(frozen=True)
class Delivery:
    """One pending delivery; `attempts` counts those already made."""

    sequence: int
    account: str
    event: str
    webhook_endpoint: str
    attempts: int
    enqueued_at: float


class DeliveryQueue:
    """Rows are added in the transaction that emits the event and leave `pending` only when an outcome is known.

    A process that dies between sending and recording sends again after its restart: at least once.
    """

    def __init__(self, store: Store, settings: SandboxSettings, faults: Faults) -> None:
        self._connection = store.connection
        self._settings = settings
        self._faults = faults
        self._random = random.Random()  # noqa: S311 - an order of delivery is no secret

    def enqueue(self, account: str, event: str, webhook_endpoints: Sequence[str]) -> None:
        now = self._settings.delivery_clock()
        copies = 2 if self._faults.duplicate else 1
        for webhook_endpoint in webhook_endpoints:
            for _ in range(copies):
                due = now + self._faults.delay_ms / 1000
                if self._faults.shuffle:
                    due += self._random.uniform(0, _SHUFFLE_WINDOW)
                self._connection.execute(
                    "INSERT INTO deliveries (account, event, webhook_endpoint, enqueued_at, next_attempt_at) "
                    "VALUES (?, ?, ?, ?, ?)",
                    (account, event, webhook_endpoint, now, due),
                )

    def due(self, limit: int, *, excluding: Sequence[int]) -> list[Delivery]:
        """The longest overdue deliveries, without those already being attempted."""
        # Only question marks are put into the statement, here and below.
        rows = self._connection.execute(
            "SELECT sequence, account, event, webhook_endpoint, attempts, enqueued_at FROM deliveries "  # noqa: S608
            "WHERE state = 'pending' AND next_attempt_at <= ? "
            f"AND sequence NOT IN ({', '.join('?' * len(excluding))}) "
            "ORDER BY next_attempt_at, sequence LIMIT ?",
            [self._settings.delivery_clock(), *excluding, limit],
        ).fetchall()
        return [Delivery(*row) for row in rows]

    def seconds_until_next(self, *, excluding: Sequence[int]) -> float | None:
        """How long until a delivery is due; None when none is pending."""
        row = self._connection.execute(
            "SELECT min(next_attempt_at) FROM deliveries WHERE state = 'pending' "  # noqa: S608
            f"AND sequence NOT IN ({', '.join('?' * len(excluding))})",
            list(excluding),
        ).fetchone()
        return None if row[0] is None else max(0.0, float(row[0]) - self._settings.delivery_clock())

    def record_attempt(self, delivery: Delivery, *, status: int | None, error: str | None) -> None:
        """Stores an attempt's outcome: delivered on 2xx, else due again after the schedule's next interval."""
        attempts = delivery.attempts + 1
        now = self._settings.delivery_clock()
        if status is not None and 200 <= status < 300:  # noqa: PLR2004
            state, due = "delivered", now
        else:
            schedule = self._settings.retry_schedule
            due = now + schedule[min(attempts, len(schedule)) - 1]
            state = "pending" if due <= delivery.enqueued_at + self._settings.retry_horizon else "failed"
        self._connection.execute(
            "UPDATE deliveries SET state = ?, attempts = ?, next_attempt_at = ?, last_status = ?, last_error = ? "
            "WHERE sequence = ? AND state = 'pending'",
            (state, attempts, due, status, error, delivery.sequence),
        )
        self._connection.execute(
            "UPDATE resources SET document = json_set(document, '$.pending_webhooks', (SELECT count(DISTINCT "
            "webhook_endpoint) FROM deliveries WHERE account = ? AND event = ? AND state = 'pending')) "
            "WHERE account = ? AND object = 'event' AND id = ?",
            (delivery.account, delivery.event, delivery.account, delivery.event),
        )

    def cancel(self, webhook_endpoint: str) -> None:
        """Gives up what is pending for an endpoint that was deleted or disabled."""
        self._connection.execute(
            "UPDATE deliveries SET state = 'cancelled' WHERE webhook_endpoint = ? AND state = 'pending'",
            (webhook_endpoint,),
        )

    def documents(self, event: str | None) -> list[Document]:
        """The deliveries (of one event), oldest first, for the control endpoint."""
        names = ("event", "webhook_endpoint", "state", "attempts", "next_attempt_at", "last_status", "last_error")
        rows: list[tuple[Any, ...]] = self._connection.execute(
            f"SELECT {', '.join(names)} FROM deliveries "  # noqa: S608 - the names are code
            "WHERE ?1 IS NULL OR event = ?1 ORDER BY sequence",
            (event,),
        ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]
