"""Payment methods (https://docs.stripe.com/api/payment_methods): test cards, made when something is paid."""

from tunery.billing.sandbox.cards import TEST_CARDS, TestCard, card_of_token
from tunery.billing.sandbox.errors import Document
from tunery.billing.sandbox.resource import ResourceType, new_id, retrieve
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_CHECKS = {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"}


def card_details(card: TestCard) -> Document:
    """The fields that a payment method's `card` and a charge's `payment_method_details.card` share."""
    return {
        "brand": card.brand,
        "checks": dict(_CHECKS),
        "country": "US",
        "exp_month": 12,
        "exp_year": 2034,
        "fingerprint": f"sandbox{card.number[-9:]}",
        "funding": "credit",
        "last4": card.number[-4:],
        "regulated_status": "unregulated",
        "wallet": None,
    }


def billing_details(email: str | None) -> Document:
    address = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))
    return {"address": address, "email": email, "name": None, "phone": None, "tax_id": None}


def create_payment_method(uow: UnitOfWork, card: TestCard, email: str | None) -> Document:
    method: Document = {
        "id": new_id("pm_1"),
        "object": "payment_method",
        "allow_redisplay": "limited",
        "billing_details": billing_details(email),
        "card": {
            **card_details(card),
            "display_brand": card.brand,
            "generated_from": None,
            "networks": {"available": [card.brand], "preferred": None},
            "three_d_secure_usage": {"supported": True},
        },
        "created": uow.now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": "card",
    }
    return uow.insert(method, private={"number": card.number})


def use_payment_method(uow: UnitOfWork, reference: str, email: str | None) -> tuple[Document, TestCard]:
    """The payment method a client names: an id, or a token such as `pm_card_visa` that becomes a new one.

    Raises:
        ResourceMissing: there is none.
    """
    token = card_of_token(reference)
    if token is not None:
        return create_payment_method(uow, token, email), token
    record = uow.read("payment_method", reference, param="payment_method")
    return record.document, TEST_CARDS[record.private["number"]]


PAYMENT_METHOD = ResourceType(
    object="payment_method",
    noun="PaymentMethod",
    url_param="payment_method",
    expandable={"customer": "customer"},
    operations=(retrieve("payment_method", "/v1/payment_methods/{payment_method}", "payment_method"),),
)
