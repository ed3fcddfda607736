"""What a handler works with: the resources of one account inside one transaction, events, timers, and the time."""

import sqlite3
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tunery.billing.sandbox.delivery_queue import DeliveryQueue
from tunery.billing.sandbox.errors import Document, InvalidRequest, ResourceMissing
from tunery.billing.sandbox.resource import ResourceType, new_id
from tunery.billing.sandbox.storage import Condition, Record, Store


@dataclass(frozen=True)
class Origin:
    """What caused the work. Events name it in `request`; both ids are None for timers and the hosted page."""

    base_url: str
    request_id: str | None = None
    idempotency_key: str | None = None


@dataclass(frozen=True)
class UnitOfWork:
    """Lives as long as its transaction, which whoever made it has begun and commits.

    `now` is business time in whole seconds, the same for everything in one unit of work.
    """

    store: Store
    types: Mapping[str, ResourceType]
    deliveries: DeliveryQueue
    account: str
    api_version: str
    now: int
    origin: Origin

    def insert(self, document: Document, *, private: Document | None = None, parent: str | None = None) -> Document:
        """Adds a resource.

        Raises:
            InvalidRequest: its id is taken (only products take ids from clients).
        """
        try:
            self.store.insert(self.account, document, private or {}, parent)
        except sqlite3.IntegrityError as error:
            noun = self.types[document["object"]].noun.capitalize()
            raise InvalidRequest(f"{noun} already exists.", param="id", code="resource_already_exists") from error
        return document

    def read(self, object_name: str, resource_id: str, *, param: str | None = None, in_url: bool = False) -> Record:
        """The record, deleted or not.

        Raises:
            ResourceMissing: there is none; `param` is what the error names.
        """
        record = self.store.read(self.account, object_name, resource_id)
        if record is None:
            kind = self.types[object_name]
            raise ResourceMissing(kind.noun, resource_id, param=param or kind.url_param, in_url=in_url)
        return record

    def get(self, object_name: str, resource_id: str, *, param: str | None = None, in_url: bool = False) -> Document:
        """The document of a live resource.

        Raises:
            ResourceMissing: there is none, or it was deleted.
        """
        record = self.read(object_name, resource_id, param=param, in_url=in_url)
        if record.deleted:
            kind = self.types[object_name]
            raise ResourceMissing(kind.noun, resource_id, param=param or kind.url_param, in_url=in_url)
        return record.document

    def find(
        self, object_name: str, *conditions: Condition, parent: str | None = None, oldest_first: bool = False
    ) -> list[Document]:
        """All live documents of a type that meet the conditions."""
        records = self.store.select(self.account, object_name, conditions, parent=parent, oldest_first=oldest_first)
        return [record.document for record in records]

    def save(self, document: Document, *, private: Document | None = None) -> Document:
        self.store.write(self.account, document, private)
        return document

    def update(self, document: Document, changes: Mapping[str, Any], event_type: str | None = None) -> Document:
        """Applies changed fields and, when any differs, emits `event_type` with the previous values."""
        previous = {name: document.get(name) for name, value in changes.items() if document.get(name) != value}
        document.update(changes)
        self.save(document)
        if event_type is not None and previous:
            self.emit(event_type, document, previous)
        return document

    def delete(self, document: Document) -> None:
        self.store.mark_deleted(self.account, document["object"], document["id"])

    def schedule(self, at: int, kind: str, resource_id: str) -> None:
        """Runs the timer `kind` of the resource types at business time `at`, as soon as anybody looks."""
        self.store.add_timer(self.account, at, kind, resource_id)

    def emit(self, event_type: str, document: Document, previous: Document | None = None) -> Document:
        """Records an event with a snapshot of the document and queues it for every endpoint that listens."""
        data: Document = {"object": deepcopy(document)}
        if previous is not None:
            data["previous_attributes"] = previous
        endpoints = self.listening_endpoints(event_type)
        event = self.insert(
            {
                "id": new_id("evt_1"),
                "object": "event",
                "api_version": self.api_version,
                "created": self.now,
                "data": data,
                "livemode": False,
                "pending_webhooks": len(endpoints),
                "request": {"id": self.origin.request_id, "idempotency_key": self.origin.idempotency_key},
                "type": event_type,
            }
        )
        self.deliveries.enqueue(self.account, event["id"], endpoints)
        return event

    def listening_endpoints(self, event_type: str) -> Sequence[str]:
        """The ids of the enabled webhook endpoints that want events of this type."""
        endpoints = self.find("webhook_endpoint", Condition("status", "eq", "enabled"), oldest_first=True)
        return [each["id"] for each in endpoints if {event_type, "*"} & set(each["enabled_events"])]
