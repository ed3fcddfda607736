"""Charges (https://docs.stripe.com/api/charges). Each is one attempt to collect a payment intent."""

from tunery.billing.sandbox.cards import TestCard
from tunery.billing.sandbox.errors import Document
from tunery.billing.sandbox.parameters import Kind, Metadata, String, TimeRange, merge_metadata
from tunery.billing.sandbox.resource import Call, Filter, Operation, ResourceType, listing, new_id, paginate, retrieve
from tunery.billing.sandbox.resources.balance_transactions import record_balance_transaction, stripe_fee
from tunery.billing.sandbox.resources.payment_methods import card_details
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_UPDATE: dict[str, Kind] = {
    "description": String(),
    "metadata": Metadata(),
    "receipt_email": String(),
    "transfer_group": String(unsettable=False),
}


def create_charge(uow: UnitOfWork, intent: Document, method: Document, card: TestCard) -> Document:
    """Charges the card for the whole payment intent and books it; a declining card gives a failed charge.

    Emits charge.succeeded or charge.failed.
    """
    declined = card.decline
    charge_id = new_id("ch_3")
    charge: Document = {
        "id": charge_id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0 if declined else intent["amount"],
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": intent["statement_descriptor"] or "TUNERY SANDBOX",
        "captured": declined is None,
        "created": uow.now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": declined.code if declined else None,
        "failure_message": declined.message if declined else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "outcome": _outcome(card),
        "paid": declined is None,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {"card": _card(card, intent["amount"]), "type": "card"},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "failed" if declined else "succeeded",
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }
    if declined is None:
        fee = stripe_fee(charge["amount"])
        booked = record_balance_transaction(uow, charge, kind="charge", amount=charge["amount"], fee=fee)
        charge["balance_transaction"] = booked["id"]
    uow.insert(charge, parent=intent["id"])
    uow.emit("charge.failed" if declined else "charge.succeeded", charge)
    return charge


def _outcome(card: TestCard) -> Document:
    accepted = card.decline is None
    return {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network" if accepted else "declined_by_network",
        "reason": None if card.decline is None else card.decline.decline_code or card.decline.code,
        "risk_level": "normal",
        "risk_score": 20,
        "seller_message": "Payment complete." if accepted else "The bank did not approve this charge.",
        "type": "authorized" if accepted else "issuer_declined",
    }


def _card(card: TestCard, amount: int) -> Document:
    return {
        **card_details(card),
        "amount_authorized": None if card.decline else amount,
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card.brand,
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "three_d_secure": None,
        "transaction_link_id": None,
    }


def _refunds(uow: UnitOfWork, charge: Document) -> Document:
    return paginate(uow, "refund", f"/v1/charges/{charge['id']}/refunds", {}, parent=charge["id"])


def _update(uow: UnitOfWork, call: Call) -> Document:
    charge = uow.get("charge", call.path["charge"], in_url=True)
    changes = {name: value for name, value in call.params.items() if name != "expand"}
    if "metadata" in changes:
        changes["metadata"] = merge_metadata(charge["metadata"], changes["metadata"])
    return uow.update(charge, changes, "charge.updated")


CHARGE = ResourceType(
    object="charge",
    noun="charge",
    url_param="charge",
    expandable={
        "balance_transaction": "balance_transaction",
        "customer": "customer",
        "payment_intent": "payment_intent",
    },
    # Left out unless asked for since API version 2022-11-15.
    includable={"refunds": _refunds},
    operations=(
        listing(
            "charge",
            "/v1/charges",
            {
                "created": Filter(TimeRange()),
                "customer": Filter(String()),
                "payment_intent": Filter(String()),
                "transfer_group": Filter(String()),
            },
        ),
        retrieve("charge", "/v1/charges/{charge}", "charge"),
        Operation(method="POST", path="/v1/charges/{charge}", handle=_update, parameters=_UPDATE),
    ),
)
