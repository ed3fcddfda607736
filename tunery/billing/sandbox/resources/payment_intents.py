"""Payment intents (https://docs.stripe.com/api/payment_intents): card payments captured at once."""

from tunery.billing.sandbox.cards import TestCard
from tunery.billing.sandbox.errors import CardDeclined, Document, InvalidRequest
from tunery.billing.sandbox.parameters import (
    Array,
    Boolean,
    Currency,
    Integer,
    Kind,
    Mapping,
    Metadata,
    String,
    TimeRange,
    merge_metadata,
)
from tunery.billing.sandbox.resource import Call, Filter, Operation, ResourceType, listing, new_id, retrieve
from tunery.billing.sandbox.resources.charges import create_charge
from tunery.billing.sandbox.resources.payment_methods import use_payment_method
from tunery.billing.sandbox.unit_of_work import UnitOfWork

MINIMUM_AMOUNT = 50
MAXIMUM_AMOUNT = 99_999_999
_OPEN = frozenset(("requires_payment_method", "requires_confirmation"))

# What checkout sessions take as `payment_intent_data`, too.
DESCRIPTION: dict[str, Kind] = {
    "description": String(max_length=1000),
    "metadata": Metadata(),
    "receipt_email": String(),
    "setup_future_usage": String(choices=("off_session", "on_session")),
    "statement_descriptor": String(max_length=22),
    "statement_descriptor_suffix": String(max_length=22),
    "transfer_group": String(unsettable=False),
}
_UPDATE: dict[str, Kind] = DESCRIPTION | {
    "amount": Integer(minimum=1),
    "currency": Currency(),
    "customer": String(unsettable=False),
    "payment_method": String(),
}
_CREATE: dict[str, Kind] = _UPDATE | {
    "amount": Integer(required=True, minimum=1),
    "currency": Currency(required=True),
    "automatic_payment_methods": Mapping(
        fields={
            "enabled": Boolean(required=True),
            "allow_redirects": String(unsettable=False, choices=("always", "never")),
        }
    ),
    "capture_method": String(unsettable=False, choices=("automatic", "automatic_async")),
    "confirm": Boolean(),
    "off_session": Boolean(),
    "payment_method_types": Array(item=String(unsettable=False, choices=("card",))),
    "return_url": String(),
}
_CONFIRM: dict[str, Kind] = {
    "off_session": Boolean(),
    "payment_method": String(unsettable=False),
    "receipt_email": String(),
    "return_url": String(),
}
_CANCEL: dict[str, Kind] = {
    "cancellation_reason": String(
        unsettable=False, choices=("abandoned", "duplicate", "fraudulent", "requested_by_customer")
    )
}


def check_amount(amount: int, currency: str, param: str) -> None:
    """Raises InvalidRequest for an amount that Stripe does not charge."""
    if amount < MINIMUM_AMOUNT:
        raise InvalidRequest(
            f"The amount must be at least {MINIMUM_AMOUNT} in the smallest unit of {currency}.",
            param=param,
            code="amount_too_small",
        )
    if amount > MAXIMUM_AMOUNT:
        raise InvalidRequest(f"The amount must be no more than {MAXIMUM_AMOUNT}.", param=param, code="amount_too_large")


def create_payment_intent(uow: UnitOfWork, params: Document) -> Document:
    """Creates an intent from the parameters of `POST /v1/payment_intents` without confirming it.

    Raises:
        InvalidRequest: the amount is out of range.
        ResourceMissing: the customer does not exist.
    """
    check_amount(params["amount"], params["currency"], "amount")
    if params.get("customer"):
        uow.get("customer", params["customer"], param="customer")
    automatic = params.get("automatic_payment_methods")
    intent_id = new_id("pi_3")
    intent: Document = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": params["amount"],
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": {"allow_redirects": "always", **automatic} if automatic else None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": params.get("capture_method", "automatic_async"),
        "client_secret": f"{intent_id}_secret_{new_id('', 25)}",
        "confirmation_method": "automatic",
        "created": uow.now,
        "currency": params["currency"],
        "customer": params.get("customer"),
        "customer_account": None,
        "description": params.get("description"),
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "managed_payments": {"enabled": False},
        "metadata": merge_metadata({}, params.get("metadata", {})),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": params.get("receipt_email"),
        "review": None,
        "setup_future_usage": params.get("setup_future_usage"),
        "shipping": None,
        "source": None,
        "statement_descriptor": params.get("statement_descriptor"),
        "statement_descriptor_suffix": params.get("statement_descriptor_suffix"),
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": params.get("transfer_group"),
    }
    uow.insert(intent)
    uow.emit("payment_intent.created", intent)
    return intent


def collect(uow: UnitOfWork, intent: Document, method: Document, card: TestCard) -> Document:
    """Charges the card for the intent. Emits the charge's event and payment_intent.succeeded or .payment_failed.

    Raises:
        InvalidRequest: the intent was paid or cancelled already.
        CardDeclined: the card declines; the failed charge and the intent's `last_payment_error` are kept.
    """
    if intent["status"] not in _OPEN:
        raise InvalidRequest(
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    charge = create_charge(uow, intent, method, card)
    if card.decline is None:
        changes = {
            "amount_received": intent["amount"],
            "last_payment_error": None,
            "latest_charge": charge["id"],
            "payment_method": method["id"],
            "status": "succeeded",
        }
        uow.update(intent, changes)
        uow.emit("payment_intent.succeeded", intent)
        return intent
    declined = CardDeclined(
        card.decline.message,
        code=card.decline.code,
        charge=charge["id"],
        **({"decline_code": card.decline.decline_code} if card.decline.decline_code else {}),
    )
    changes = {
        "last_payment_error": {**declined.body()["error"], "payment_method": method},
        "latest_charge": charge["id"],
        "payment_method": None,
        "status": "requires_payment_method",
    }
    uow.update(intent, changes)
    uow.emit("payment_intent.payment_failed", intent)
    declined.extra["payment_intent"] = intent
    raise declined


def _create(uow: UnitOfWork, call: Call) -> Document:
    intent = create_payment_intent(uow, call.params)
    if call.params.get("payment_method"):
        _attach(uow, intent, call.params["payment_method"])
    return _confirm_intent(uow, intent) if call.params.get("confirm") else intent


def _attach(uow: UnitOfWork, intent: Document, reference: str) -> None:
    method, _ = use_payment_method(uow, reference, intent["receipt_email"])
    uow.update(intent, {"payment_method": method["id"], "status": "requires_confirmation"})


def _confirm_intent(uow: UnitOfWork, intent: Document) -> Document:
    if intent["status"] in _OPEN and intent["payment_method"] is None:
        raise InvalidRequest(
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent "
            "with a payment method and try again.",
            code="payment_intent_unexpected_state",
        )
    return collect(uow, intent, *use_payment_method(uow, intent["payment_method"], intent["receipt_email"]))


def _confirm(uow: UnitOfWork, call: Call) -> Document:
    intent = uow.get("payment_intent", call.path["intent"], in_url=True)
    if "receipt_email" in call.params:
        intent["receipt_email"] = call.params["receipt_email"]
    if "payment_method" in call.params and intent["status"] in _OPEN:
        _attach(uow, intent, call.params["payment_method"])
    return _confirm_intent(uow, intent)


def _update(uow: UnitOfWork, call: Call) -> Document:
    intent = uow.get("payment_intent", call.path["intent"], in_url=True)
    changes: Document = {name: value for name, value in call.params.items() if name not in {"expand", "payment_method"}}
    if intent["status"] not in _OPEN and changes.keys() - {"metadata", "description", "receipt_email"}:
        raise InvalidRequest(
            f"This PaymentIntent could not be updated because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    updated = intent | changes
    check_amount(updated["amount"], updated["currency"], "amount")
    if "customer" in changes:
        uow.get("customer", changes["customer"], param="customer")
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(intent["metadata"], changes["metadata"])
    uow.update(intent, changes)
    if call.params.get("payment_method") and intent["status"] in _OPEN:
        _attach(uow, intent, call.params["payment_method"])
    return intent


def _cancel(uow: UnitOfWork, call: Call) -> Document:
    intent = uow.get("payment_intent", call.path["intent"], in_url=True)
    if intent["status"] not in _OPEN:
        raise InvalidRequest(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
        )
    reason = call.params.get("cancellation_reason")
    uow.update(intent, {"status": "canceled", "canceled_at": uow.now, "cancellation_reason": reason})
    uow.emit("payment_intent.canceled", intent)
    return intent


_URL = "/v1/payment_intents/{intent}"
PAYMENT_INTENT = ResourceType(
    object="payment_intent",
    noun="payment_intent",
    url_param="intent",
    expandable={"customer": "customer", "latest_charge": "charge", "payment_method": "payment_method"},
    operations=(
        Operation(method="POST", path="/v1/payment_intents", handle=_create, parameters=_CREATE),
        listing(
            "payment_intent", "/v1/payment_intents", {"created": Filter(TimeRange()), "customer": Filter(String())}
        ),
        retrieve("payment_intent", _URL, "intent"),
        Operation(method="POST", path=_URL, handle=_update, parameters=_UPDATE),
        Operation(method="POST", path=f"{_URL}/confirm", handle=_confirm, parameters=_CONFIRM),
        Operation(method="POST", path=f"{_URL}/cancel", handle=_cancel, parameters=_CANCEL),
    ),
)
