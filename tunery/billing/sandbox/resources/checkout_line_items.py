"""Line items of checkout sessions: priced when the session is created, and never re-priced."""

from decimal import ROUND_HALF_UP, Decimal

from tunery.billing.sandbox.errors import Document, InvalidRequest, MissingParameter
from tunery.billing.sandbox.parameters import Array, Integer, Kind, Mapping, Metadata, String, Url, merge_metadata
from tunery.billing.sandbox.resource import ResourceType, new_id
from tunery.billing.sandbox.resources.prices import PRICE_TERMS, PRODUCT_DATA, create_price_from
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_PRODUCT_DATA: dict[str, Kind] = PRODUCT_DATA | {
    "description": String(unsettable=False, max_length=40_000),
    "images": Array(item=Url(required=True), max_length=8),
}
LINE_ITEMS = Array(
    item=Mapping(
        fields={
            "metadata": Metadata(),
            "price": String(unsettable=False),
            "price_data": Mapping(
                fields=PRICE_TERMS
                | {"product": String(unsettable=False), "product_data": Mapping(fields=_PRODUCT_DATA)}
            ),
            "quantity": Integer(minimum=1, maximum=999_999),
        },
        required=True,
    ),
)


def price_line_items(uow: UnitOfWork, sent: list[Document]) -> list[Document]:
    """Makes the line items, and an inactive price for each `price_data`. They are not stored yet.

    Raises:
        MissingParameter: an item has no price or no quantity.
        InvalidRequest: a price is inactive or recurring, or the currencies differ.
        ResourceMissing: a price or product does not exist.
    """
    items = [_line_item(uow, each, f"line_items[{index}]") for index, each in enumerate(sent)]
    currencies = {item["currency"] for item in items}
    if len(currencies) > 1:
        raise InvalidRequest(
            "All prices on a Checkout Session must have the same currency.",
            param="line_items",
            code="currency_mismatch",
        )
    return items


def _line_item(uow: UnitOfWork, sent: Document, name: str) -> Document:
    price = _price(uow, sent, name)
    if price["type"] == "recurring":
        raise InvalidRequest(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
            "only one-time prices.",
            param="line_items",
        )
    if "quantity" not in sent:
        raise MissingParameter(f"{name}[quantity]")
    product = uow.read("product", price["product"]).document
    total = Decimal(price["unit_amount_decimal"]) * sent["quantity"]
    amount = int(total.quantize(Decimal(1), ROUND_HALF_UP))
    return {
        "id": new_id("li_1"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": product["name"],
        "metadata": merge_metadata({}, sent.get("metadata", {})),
        "price": price,
        "quantity": sent["quantity"],
    }


def _price(uow: UnitOfWork, sent: Document, name: str) -> Document:
    if ("price" in sent) == bool(sent.get("price_data")):
        if "price" in sent:
            raise InvalidRequest("You may only specify one of these parameters: price, price_data.", param=name)
        raise MissingParameter(f"{name}[price]")
    if "price" not in sent:
        return create_price_from(uow, {**sent["price_data"], "active": False})
    price = uow.get("price", sent["price"], param=f"{name}[price]")
    if not price["active"]:
        raise InvalidRequest(
            f"The price specified is inactive. This field only accepts active prices: {price['id']}",
            param=f"{name}[price]",
        )
    return price


LINE_ITEM = ResourceType(object="item", noun="line item")
