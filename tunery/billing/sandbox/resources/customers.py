"""Customers (https://docs.stripe.com/api/customers)."""

import secrets

from tunery.billing.sandbox.errors import Document
from tunery.billing.sandbox.parameters import (
    ADDRESS,
    Array,
    Integer,
    Kind,
    Mapping,
    Metadata,
    String,
    TimeRange,
    merge_metadata,
)
from tunery.billing.sandbox.resource import (
    Call,
    Filter,
    Operation,
    ResourceType,
    deleted_form,
    listing,
    new_id,
    retrieve,
)
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_PARAMETERS: dict[str, Kind] = {
    "address": ADDRESS,
    "balance": Integer(),
    "description": String(),
    "email": String(max_length=512),
    "invoice_prefix": String(unsettable=False, max_length=12),
    "invoice_settings": Mapping(fields={"default_payment_method": String(), "footer": String()}),
    "metadata": Metadata(),
    "name": String(max_length=256),
    "next_invoice_sequence": Integer(minimum=1),
    "phone": String(max_length=20),
    "preferred_locales": Array(item=String(unsettable=False)),
    "shipping": Mapping(fields={"address": ADDRESS, "name": String(), "phone": String()}),
    "tax_exempt": String(choices=("none", "exempt", "reverse")),
}


def new_customer(now: int) -> Document:
    return {
        "id": new_id("cus_", 14),
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": secrets.token_hex(4).upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def _changes(customer: Document, call: Call) -> Document:
    """The sent parameters as fields; nested ones are completed, metadata and invoice settings merge."""
    changes = dict(call.params)
    changes.pop("expand", None)
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(customer["metadata"], changes["metadata"])
    if "invoice_settings" in changes:
        changes["invoice_settings"] = customer["invoice_settings"] | (changes["invoice_settings"] or {})
    if changes.get("address"):
        changes["address"] = dict.fromkeys(ADDRESS.fields) | changes["address"]
    if "tax_exempt" in changes:
        changes["tax_exempt"] = changes["tax_exempt"] or "none"
    return changes


def create_customer(uow: UnitOfWork, call: Call) -> Document:
    customer = new_customer(uow.now)
    customer.update(_changes(customer, call))
    uow.insert(customer)
    uow.emit("customer.created", customer)
    return customer


def _update(uow: UnitOfWork, call: Call) -> Document:
    customer = uow.get("customer", call.path["customer"], in_url=True)
    return uow.update(customer, _changes(customer, call), "customer.updated")


def _delete(uow: UnitOfWork, call: Call) -> Document:
    customer = uow.get("customer", call.path["customer"], in_url=True)
    uow.delete(customer)
    uow.emit("customer.deleted", customer)
    return deleted_form(customer)


CUSTOMER = ResourceType(
    object="customer",
    noun="customer",
    operations=(
        Operation(method="POST", path="/v1/customers", handle=create_customer, parameters=_PARAMETERS),
        listing("customer", "/v1/customers", {"email": Filter(String()), "created": Filter(TimeRange())}),
        retrieve("customer", "/v1/customers/{customer}", "customer"),
        Operation(method="POST", path="/v1/customers/{customer}", handle=_update, parameters=_PARAMETERS),
        Operation(method="DELETE", path="/v1/customers/{customer}", handle=_delete),
    ),
)
