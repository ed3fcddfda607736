"""Products (https://docs.stripe.com/api/products)."""

from tunery.billing.sandbox.errors import Document, InvalidRequest
from tunery.billing.sandbox.parameters import (
    Array,
    Boolean,
    Kind,
    Mapping,
    Metadata,
    String,
    TimeRange,
    Url,
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
from tunery.billing.sandbox.resources.prices import PRICE_TERMS, create_price_from
from tunery.billing.sandbox.storage import Condition
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_PARAMETERS: dict[str, Kind] = {
    "active": Boolean(),
    "description": String(max_length=40_000),
    "images": Array(item=Url(required=True), max_length=8),
    "marketing_features": Array(item=Mapping(fields={"name": String(required=True, max_length=80)}), max_length=15),
    "metadata": Metadata(),
    "name": String(unsettable=False),
    "shippable": Boolean(),
    "statement_descriptor": String(max_length=22),
    "tax_code": String(),
    "unit_label": String(max_length=12),
    "url": Url(),
}
_CREATE = _PARAMETERS | {
    "name": String(required=True),
    "id": String(unsettable=False),
    "default_price_data": Mapping(fields=PRICE_TERMS),
    "type": String(choices=("good", "service")),
}


def new_product(now: int, name: str) -> Document:
    return {
        "id": new_id("prod_", 14),
        "object": "product",
        "active": True,
        "created": now,
        "default_price": None,
        "description": None,
        "images": [],
        "livemode": False,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": None,
        "tax_code": None,
        "type": "service",
        "unit_label": None,
        "updated": now,
        "url": None,
    }


def create_product(uow: UnitOfWork, params: Document) -> Document:
    """Creates a product from the parameters of `POST /v1/products` (or of a price's `product_data`)."""
    fields = {name: value for name, value in params.items() if name not in {"expand", "default_price_data"}}
    fields["metadata"] = merge_metadata({}, fields.get("metadata", {}))
    product = uow.insert(new_product(uow.now, params["name"]) | fields)
    if params.get("default_price_data"):
        price = create_price_from(uow, {**params["default_price_data"], "product": product["id"]})
        product["default_price"] = price["id"]
        uow.save(product)
    uow.emit("product.created", product)
    return product


def _create(uow: UnitOfWork, call: Call) -> Document:
    return create_product(uow, call.params)


def _update(uow: UnitOfWork, call: Call) -> Document:
    product = uow.get("product", call.path["product"], in_url=True)
    changes = {name: value for name, value in call.params.items() if name != "expand"}
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(product["metadata"], changes["metadata"])
    if changes.get("default_price"):
        price = uow.get("price", changes["default_price"], param="default_price")
        if price["product"] != product["id"]:
            raise InvalidRequest("The default price must belong to the product.", param="default_price")
    return uow.update(product, {**changes, "updated": uow.now}, "product.updated")


def _delete(uow: UnitOfWork, call: Call) -> Document:
    product = uow.get("product", call.path["product"], in_url=True)
    if uow.find("price", Condition("product", "eq", product["id"])):
        raise InvalidRequest("This product cannot be deleted because it has one or more user-created prices.")
    uow.delete(product)
    uow.emit("product.deleted", product)
    return deleted_form(product)


PRODUCT = ResourceType(
    object="product",
    noun="product",
    expandable={"default_price": "price"},
    operations=(
        Operation(method="POST", path="/v1/products", handle=_create, parameters=_CREATE),
        listing(
            "product",
            "/v1/products",
            {
                "active": Filter(Boolean()),
                "created": Filter(TimeRange()),
                "ids": Filter(Array(item=String(unsettable=False)), "id"),
                "url": Filter(Url()),
            },
        ),
        retrieve("product", "/v1/products/{product}", "product"),
        Operation(
            method="POST",
            path="/v1/products/{product}",
            handle=_update,
            parameters=_PARAMETERS | {"default_price": String()},
        ),
        Operation(method="DELETE", path="/v1/products/{product}", handle=_delete),
    ),
)
