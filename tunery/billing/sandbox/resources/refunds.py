"""Refunds (https://docs.stripe.com/api/refunds), in full or in part. They always succeed at once."""

from tunery.billing.sandbox.currencies import format_amount
from tunery.billing.sandbox.errors import Document, InvalidRequest
from tunery.billing.sandbox.parameters import Integer, Kind, Metadata, String, TimeRange, merge_metadata
from tunery.billing.sandbox.resource import Call, Filter, Operation, ResourceType, listing, new_id, retrieve
from tunery.billing.sandbox.resources.balance_transactions import record_balance_transaction
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_CREATE: dict[str, Kind] = {
    "amount": Integer(minimum=1),
    "charge": String(unsettable=False),
    "metadata": Metadata(),
    "payment_intent": String(unsettable=False),
    "reason": String(unsettable=False, choices=("duplicate", "fraudulent", "requested_by_customer")),
}


def _charge_of(uow: UnitOfWork, call: Call) -> Document:
    if ("charge" in call.params) == ("payment_intent" in call.params):
        if "charge" in call.params:
            raise InvalidRequest("You may only specify one of these parameters: charge, payment_intent.")
        raise InvalidRequest(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    if "charge" in call.params:
        charge = uow.get("charge", call.params["charge"], param="charge")
    else:
        intent = uow.get("payment_intent", call.params["payment_intent"], param="payment_intent")
        if intent["status"] != "succeeded":
            raise InvalidRequest(
                f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund.",
                param="payment_intent",
            )
        charge = uow.get("charge", intent["latest_charge"])
    if charge["status"] != "succeeded":
        raise InvalidRequest(f"Charge {charge['id']} failed and cannot be refunded.", param="charge")
    return charge


def _create(uow: UnitOfWork, call: Call) -> Document:
    charge = _charge_of(uow, call)
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise InvalidRequest(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount: int = call.params.get("amount", left)
    if amount > left:
        raise InvalidRequest(
            f"Refund amount ({format_amount(amount, charge['currency'])}) is greater than unrefunded amount on charge "
            f"({format_amount(left, charge['currency'])})",
            param="amount",
        )
    refund: Document = {
        "id": new_id("re_3"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": uow.now,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {"reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund"},
            "type": "card",
        },
        "metadata": merge_metadata({}, call.params.get("metadata", {})),
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": call.params.get("reason"),
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "succeeded",
        "transfer_reversal": None,
    }
    # Stripe keeps the fee of the charge.
    refund["balance_transaction"] = record_balance_transaction(uow, refund, kind="refund", amount=-amount, fee=0)["id"]
    uow.insert(refund, parent=charge["id"])
    refunded = charge["amount_refunded"] + amount
    uow.emit("refund.created", refund)
    uow.update(
        charge, {"amount_refunded": refunded, "refunded": refunded == charge["amount"]}, event_type="charge.refunded"
    )
    return refund


def _update(uow: UnitOfWork, call: Call) -> Document:
    refund = uow.get("refund", call.path["refund"], in_url=True)
    if "metadata" not in call.params:
        return refund
    metadata = merge_metadata(refund["metadata"], call.params["metadata"])
    return uow.update(refund, {"metadata": metadata}, "refund.updated")


REFUND = ResourceType(
    object="refund",
    noun="refund",
    expandable={
        "balance_transaction": "balance_transaction",
        "charge": "charge",
        "customer": "customer",
        "payment_intent": "payment_intent",
        "payment_method": "payment_method",
    },
    operations=(
        Operation(method="POST", path="/v1/refunds", handle=_create, parameters=_CREATE),
        listing(
            "refund",
            "/v1/refunds",
            {"charge": Filter(String()), "created": Filter(TimeRange()), "payment_intent": Filter(String())},
        ),
        retrieve("refund", "/v1/refunds/{refund}", "refund"),
        Operation(method="POST", path="/v1/refunds/{refund}", handle=_update, parameters={"metadata": Metadata()}),
    ),
)
