"""Checkout sessions (https://docs.stripe.com/api/checkout/sessions) in `payment` mode on the hosted page."""

from typing import Any

from tunery.billing.sandbox.errors import Document, InvalidRequest, MissingParameter
from tunery.billing.sandbox.parameters import (
    Array,
    Boolean,
    Integer,
    Kind,
    Mapping,
    Metadata,
    String,
    TimeRange,
    Url,
    merge_metadata,
)
from tunery.billing.sandbox.resource import (
    PAGE_PARAMETERS,
    Call,
    Filter,
    Operation,
    ResourceType,
    listing,
    new_id,
    paginate,
    retrieve,
)
from tunery.billing.sandbox.resources.checkout_line_items import LINE_ITEMS, price_line_items
from tunery.billing.sandbox.resources.payment_intents import DESCRIPTION, check_amount
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_DAY = 86400
_SHORTEST_LIFE = 30 * 60
_CREATE: dict[str, Kind] = {
    "automatic_tax": Mapping(fields={"enabled": Boolean(required=True)}),
    "billing_address_collection": String(unsettable=False, choices=("auto", "required")),
    "cancel_url": Url(),
    "client_reference_id": String(unsettable=False, max_length=200),
    "customer": String(unsettable=False),
    "customer_creation": String(unsettable=False, choices=("always", "if_required")),
    "customer_email": String(unsettable=False, max_length=800),
    "expires_at": Integer(minimum=0),
    "line_items": LINE_ITEMS,
    "locale": String(unsettable=False, max_length=10),
    "metadata": Metadata(),
    "mode": String(unsettable=False, choices=("payment", "setup", "subscription")),
    "payment_intent_data": Mapping(fields=DESCRIPTION),
    "payment_method_types": Array(item=String(unsettable=False, choices=("card",))),
    "submit_type": String(unsettable=False, choices=("auto", "book", "donate", "pay", "subscribe")),
    "success_url": Url(),
    "ui_mode": String(unsettable=False, choices=("elements", "embedded_page", "form", "hosted_page")),
}


def _create(uow: UnitOfWork, call: Call) -> Document:
    params = call.params
    _check(uow, params)
    items = price_line_items(uow, params["line_items"])
    total = sum(item["amount_total"] for item in items)
    if total:  # nothing to pay is allowed, and completes without a payment intent
        check_amount(total, items[0]["currency"], "line_items")
    expires_at = params.get("expires_at", uow.now + _DAY)
    if not uow.now + _SHORTEST_LIFE <= expires_at <= uow.now + _DAY:
        raise InvalidRequest(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
            param="expires_at",
        )
    session = _new_session(uow, params, items[0]["currency"], total, expires_at)
    uow.insert(session, private={"payment_intent_data": params.get("payment_intent_data") or {}})
    for item in items:
        uow.insert(item, parent=session["id"])
    uow.schedule(expires_at, "checkout.session.expire", session["id"])
    return session


def _check(uow: UnitOfWork, params: dict[str, Any]) -> None:
    if "mode" not in params:
        raise MissingParameter("mode")
    if params["mode"] != "payment":
        raise InvalidRequest("The sandbox simulates mode=payment only.", param="mode")
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise InvalidRequest("The sandbox simulates ui_mode=hosted_page only.", param="ui_mode")
    if (params.get("automatic_tax") or {}).get("enabled"):
        raise InvalidRequest("The sandbox does not compute taxes.", param="automatic_tax[enabled]")
    for name in ("line_items", "success_url"):
        if not params.get(name):
            raise MissingParameter(name)
    if "customer" in params:
        if "customer_email" in params:
            raise InvalidRequest("You may only specify one of these parameters: customer, customer_email.")
        uow.get("customer", params["customer"], param="customer")


def _new_session(uow: UnitOfWork, params: dict[str, Any], currency: str, total: int, expires_at: int) -> Document:
    session_id = new_id("cs_test_a1", 56)
    customer = uow.get("customer", params["customer"]) if "customer" in params else None
    email = customer["email"] if customer else params.get("customer_email")
    return {
        "id": session_id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": total,
        "amount_total": total,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": params.get("billing_address_collection"),
        "cancel_url": params.get("cancel_url"),
        "client_reference_id": params.get("client_reference_id"),
        "client_secret": None,
        "collected_information": None,
        "consent": None,
        "consent_collection": None,
        "created": uow.now,
        "currency": currency,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": dict.fromkeys(("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")),
        "customer": customer["id"] if customer else None,
        "customer_account": None,
        "customer_creation": None if customer else params.get("customer_creation", "if_required"),
        "customer_details": customer_details(email, customer["name"] if customer else None) if email else None,
        "customer_email": params.get("customer_email"),
        "discounts": [],
        "expires_at": expires_at,
        "integration_identifier": None,
        "invoice": None,
        "invoice_creation": {
            "enabled": False,
            "invoice_data": {
                **dict.fromkeys(("account_tax_ids", "custom_fields", "description", "footer", "issuer")),
                "metadata": {},
                "rendering_options": None,
            },
        },
        "livemode": False,
        "locale": params.get("locale"),
        "managed_payments": {"enabled": False},
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "mode": "payment",
        "origin_context": None,
        # Made when the customer first tries to pay, as since API version 2022-08-01.
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "if_required",
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "payment_status": "unpaid" if total else "no_payment_required",
        "permissions": None,
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": params.get("submit_type"),
        "subscription": None,
        "success_url": params["success_url"],
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": f"{uow.origin.base_url}/c/pay/{session_id}",
        "wallet_options": None,
    }


def customer_details(email: str | None, name: str | None) -> Document:
    return {
        "address": None,
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": name,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }


def _line_items(uow: UnitOfWork, call: Call) -> Document:
    session = uow.get("checkout.session", call.path["session"], in_url=True)
    return _line_items_of(uow, session, call.params)


def _line_items_of(uow: UnitOfWork, session: Document, params: dict[str, Any] | None = None) -> Document:
    url = f"/v1/checkout/sessions/{session['id']}/line_items"
    return paginate(uow, "item", url, params or {}, parent=session["id"], oldest_first=True)


def _update(uow: UnitOfWork, call: Call) -> Document:
    session = uow.get("checkout.session", call.path["session"], in_url=True)
    if "metadata" not in call.params:
        return session
    return uow.update(session, {"metadata": merge_metadata(session["metadata"], call.params["metadata"])})


def _expire(uow: UnitOfWork, call: Call) -> Document:
    session = uow.get("checkout.session", call.path["session"], in_url=True)
    if session["status"] != "open":
        raise InvalidRequest(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session has a status of '
            f"{session['status']}."
        )
    return _become_expired(uow, session)


def _become_expired(uow: UnitOfWork, session: Document) -> Document:
    if session["payment_intent"] is not None:
        intent = uow.get("payment_intent", session["payment_intent"])
        if intent["status"] not in {"canceled", "succeeded"}:
            uow.update(intent, {"status": "canceled", "canceled_at": uow.now, "cancellation_reason": "automatic"})
            uow.emit("payment_intent.canceled", intent)
    uow.update(session, {"status": "expired", "url": None})
    uow.emit("checkout.session.expired", session)
    return session


def _expire_in_time(uow: UnitOfWork, session_id: str) -> None:
    session = uow.get("checkout.session", session_id)
    if session["status"] == "open":
        _become_expired(uow, session)


_URL = "/v1/checkout/sessions"
_METADATA: dict[str, Kind] = {"metadata": Metadata()}
CHECKOUT_SESSION = ResourceType(
    object="checkout.session",
    noun="checkout.session",
    url_param="session",
    expandable={"customer": "customer", "payment_intent": "payment_intent"},
    includable={"line_items": _line_items_of},
    timers={"checkout.session.expire": _expire_in_time},
    operations=(
        Operation(method="POST", path=_URL, handle=_create, parameters=_CREATE),
        listing(
            "checkout.session",
            _URL,
            {
                "created": Filter(TimeRange()),
                "customer": Filter(String()),
                "payment_intent": Filter(String()),
                "status": Filter(String(choices=("complete", "expired", "open"))),
            },
        ),
        retrieve("checkout.session", f"{_URL}/{{session}}", "session"),
        Operation(method="POST", path=f"{_URL}/{{session}}", handle=_update, parameters=_METADATA),
        Operation(method="POST", path=f"{_URL}/{{session}}/expire", handle=_expire),
        Operation(method="GET", path=f"{_URL}/{{session}}/line_items", handle=_line_items, parameters=PAGE_PARAMETERS),
    ),
)
