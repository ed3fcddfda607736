"""Webhook endpoints (https://docs.stripe.com/api/webhook_endpoints)."""

from tunery.billing.sandbox.errors import Document
from tunery.billing.sandbox.parameters import Array, Boolean, Kind, Metadata, String, Url, merge_metadata
from tunery.billing.sandbox.resource import Call, Operation, ResourceType, deleted_form, listing, new_id, retrieve
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_EVENTS = Array(item=String(unsettable=False), required=True)
_COMMON: dict[str, Kind] = {"description": String(), "metadata": Metadata()}
_CREATE = _COMMON | {"url": Url(required=True), "enabled_events": _EVENTS, "api_version": String(unsettable=False)}
_UPDATE = _COMMON | {
    "url": Url(),
    "enabled_events": Array(item=String(unsettable=False)),
    "disabled": Boolean(),
}


def _create(uow: UnitOfWork, call: Call) -> Document:
    """The answer alone carries the signing `secret`; later reads do not."""
    endpoint: Document = {
        "id": new_id("we_1"),
        "object": "webhook_endpoint",
        "api_version": call.params.get("api_version"),
        "application": None,
        "created": uow.now,
        "description": call.params.get("description"),
        "enabled_events": call.params["enabled_events"],
        "livemode": False,
        "metadata": merge_metadata({}, call.params.get("metadata", {})),
        "status": "enabled",
        "url": call.params["url"],
    }
    secret = new_id("whsec_", 32)
    uow.insert(endpoint, private={"secret": secret})
    return {**endpoint, "secret": secret}


def _update(uow: UnitOfWork, call: Call) -> Document:
    endpoint = uow.get("webhook_endpoint", call.path["webhook_endpoint"], in_url=True)
    changes = {name: value for name, value in call.params.items() if name not in {"expand", "disabled"}}
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(endpoint["metadata"], changes["metadata"])
    if "disabled" in call.params:
        changes["status"] = "disabled" if call.params["disabled"] else "enabled"
    if changes.get("status") == "disabled":
        uow.deliveries.cancel(endpoint["id"])
    return uow.update(endpoint, changes)


def _delete(uow: UnitOfWork, call: Call) -> Document:
    endpoint = uow.get("webhook_endpoint", call.path["webhook_endpoint"], in_url=True)
    uow.deliveries.cancel(endpoint["id"])
    uow.delete(endpoint)
    return deleted_form(endpoint)


_URL = "/v1/webhook_endpoints/{webhook_endpoint}"
WEBHOOK_ENDPOINT = ResourceType(
    object="webhook_endpoint",
    noun="webhook endpoint",
    url_param="webhook_endpoint",
    operations=(
        Operation(method="POST", path="/v1/webhook_endpoints", handle=_create, parameters=_CREATE),
        listing("webhook_endpoint", "/v1/webhook_endpoints", {}),
        retrieve("webhook_endpoint", _URL, "webhook_endpoint"),
        Operation(method="POST", path=_URL, handle=_update, parameters=_UPDATE),
        Operation(method="DELETE", path=_URL, handle=_delete),
    ),
)
