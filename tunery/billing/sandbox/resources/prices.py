"""Prices (https://docs.stripe.com/api/prices): per-unit prices, one-time or recurring."""

from decimal import Decimal

from tunery.billing.sandbox.errors import Document, InvalidRequest, MissingParameter
from tunery.billing.sandbox.parameters import (
    Array,
    Boolean,
    Currency,
    DecimalString,
    Integer,
    Kind,
    Mapping,
    Metadata,
    String,
    TimeRange,
    merge_metadata,
)
from tunery.billing.sandbox.resource import Call, Filter, Operation, ResourceType, listing, new_id, retrieve
from tunery.billing.sandbox.storage import Condition
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_INTERVALS = ("day", "week", "month", "year")
RECURRING = Mapping(
    fields={
        "interval": String(required=True, choices=_INTERVALS),
        "interval_count": Integer(minimum=1, maximum=1095),
        "meter": String(unsettable=False),
        "usage_type": String(unsettable=False, choices=("licensed", "metered")),
    }
)
_TAX_BEHAVIOR = String(unsettable=False, choices=("exclusive", "inclusive", "unspecified"))

# What a price costs, wherever one is described inline: on products, in checkout sessions.
PRICE_TERMS: dict[str, Kind] = {
    "currency": Currency(required=True),
    "metadata": Metadata(),
    "recurring": RECURRING,
    "tax_behavior": _TAX_BEHAVIOR,
    "unit_amount": Integer(minimum=0),
    "unit_amount_decimal": DecimalString(),
}
PRODUCT_DATA: dict[str, Kind] = {
    "name": String(required=True),
    "metadata": Metadata(),
    "statement_descriptor": String(max_length=22),
    "tax_code": String(),
    "unit_label": String(max_length=12),
}
_UPDATE: dict[str, Kind] = {
    "active": Boolean(),
    "lookup_key": String(max_length=200),
    "metadata": Metadata(),
    "nickname": String(),
    "tax_behavior": _TAX_BEHAVIOR,
    "transfer_lookup_key": Boolean(),
}
_CREATE: dict[str, Kind] = (
    PRICE_TERMS
    | _UPDATE
    | {
        "billing_scheme": String(choices=("per_unit",)),
        "product": String(unsettable=False),
        "product_data": Mapping(fields=PRODUCT_DATA | {"active": Boolean(), "id": String(unsettable=False)}),
    }
)


def create_price_from(uow: UnitOfWork, params: Document) -> Document:
    """Creates a price from the parameters of `POST /v1/prices`; the product must be named or described.

    Raises:
        ResourceMissing: the product does not exist.
        InvalidRequest: there is no amount, or the lookup key is taken.
    """
    # products.py needs prices for `default_price_data`, prices need products for `product_data`.
    from tunery.billing.sandbox.resources.products import create_product

    if ("product" in params) == ("product_data" in params):
        if "product" in params:
            raise InvalidRequest("You may only specify one of these parameters: product, product_data.")
        raise MissingParameter("product")
    amount, decimal = _amounts(params)
    if "product" in params:
        product_id = uow.get("product", params["product"], param="product")["id"]
    else:
        product_id = create_product(uow, params["product_data"])["id"]
    price: Document = {
        "id": new_id("price_1"),
        "object": "price",
        "active": params.get("active", True),
        "billing_scheme": "per_unit",
        "created": uow.now,
        "currency": params["currency"],
        "custom_unit_amount": None,
        "livemode": False,
        "lookup_key": _free_lookup_key(uow, params),
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "nickname": params.get("nickname"),
        "product": product_id,
        "recurring": _recurring(params.get("recurring")),
        "tax_behavior": params.get("tax_behavior", "unspecified"),
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if params.get("recurring") else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": decimal,
    }
    uow.insert(price)
    uow.emit("price.created", price)
    return price


def _amounts(params: Document) -> tuple[int | None, str]:
    """`unit_amount` and `unit_amount_decimal`; the first is None when the second is no whole number."""
    if ("unit_amount" in params) == ("unit_amount_decimal" in params):
        if "unit_amount" in params:
            raise InvalidRequest("You may only specify one of these parameters: unit_amount, unit_amount_decimal.")
        raise MissingParameter("unit_amount")
    if "unit_amount" in params:
        return params["unit_amount"], str(params["unit_amount"])
    text: str = params["unit_amount_decimal"]
    value = Decimal(text)
    return (int(value) if value == value.to_integral_value() else None), text


def _recurring(sent: Document | None) -> Document | None:
    if not sent:
        return None
    return {
        "interval": sent["interval"],
        "interval_count": sent.get("interval_count", 1),
        "meter": sent.get("meter"),
        "trial_period_days": None,
        "usage_type": sent.get("usage_type", "licensed"),
    }


def _free_lookup_key(uow: UnitOfWork, params: Document, own_id: str | None = None) -> str | None:
    """The asked-for lookup key, taken from the price that has it when `transfer_lookup_key` says so."""
    key: str | None = params.get("lookup_key")
    if key is None:
        return None
    for holder in uow.find("price", Condition("lookup_key", "eq", key)):
        if holder["id"] == own_id:
            continue
        if not params.get("transfer_lookup_key"):
            raise InvalidRequest(
                f"A price (`{holder['id']}`) already uses that lookup key.",
                param="lookup_key",
                code="resource_already_exists",
            )
        uow.update(holder, {"lookup_key": None}, "price.updated")
    return key


def _create(uow: UnitOfWork, call: Call) -> Document:
    return create_price_from(uow, call.params)


def _update(uow: UnitOfWork, call: Call) -> Document:
    price = uow.get("price", call.path["price"], in_url=True)
    changes: Document = {
        name: call.params[name] for name in ("active", "nickname", "tax_behavior") if name in call.params
    }
    if "metadata" in call.params:
        changes["metadata"] = merge_metadata(price["metadata"], call.params["metadata"])
    if "lookup_key" in call.params:
        changes["lookup_key"] = _free_lookup_key(uow, call.params, price["id"])
    return uow.update(price, changes, "price.updated")


PRICE = ResourceType(
    object="price",
    noun="price",
    url_param="price",
    expandable={"product": "product"},
    operations=(
        Operation(method="POST", path="/v1/prices", handle=_create, parameters=_CREATE),
        listing(
            "price",
            "/v1/prices",
            {
                "active": Filter(Boolean()),
                "created": Filter(TimeRange()),
                "currency": Filter(Currency()),
                "lookup_keys": Filter(Array(item=String(unsettable=False), max_length=10), "lookup_key"),
                "product": Filter(String()),
                "type": Filter(String(choices=("one_time", "recurring"))),
            },
        ),
        retrieve("price", "/v1/prices/{price}", "price"),
        Operation(method="POST", path="/v1/prices/{price}", handle=_update, parameters=_UPDATE),
    ),
)
