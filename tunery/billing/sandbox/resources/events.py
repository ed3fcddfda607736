"""Events (https://docs.stripe.com/api/events). They are made by `UnitOfWork.emit`, never by clients."""

from tunery.billing.sandbox.parameters import Array, String, TimeRange
from tunery.billing.sandbox.resource import Filter, ResourceType, listing, retrieve

EVENT = ResourceType(
    object="event",
    noun="event",
    operations=(
        listing(
            "event",
            "/v1/events",
            {
                "created": Filter(TimeRange()),
                "type": Filter(String()),
                "types": Filter(Array(item=String(unsettable=False), max_length=20), "type"),
            },
        ),
        retrieve("event", "/v1/events/{id}", "id"),
    ),
)
