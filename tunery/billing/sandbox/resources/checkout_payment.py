"""What happens when a customer pays on the hosted page of a checkout session."""

from tunery.billing.sandbox.cards import TestCard
from tunery.billing.sandbox.errors import Document, InvalidRequest
from tunery.billing.sandbox.resource import Call
from tunery.billing.sandbox.resources.checkout_sessions import customer_details
from tunery.billing.sandbox.resources.customers import create_customer
from tunery.billing.sandbox.resources.payment_intents import collect, create_payment_intent
from tunery.billing.sandbox.resources.payment_methods import create_payment_method
from tunery.billing.sandbox.unit_of_work import UnitOfWork


def pay_session(uow: UnitOfWork, session: Document, card: TestCard, email: str) -> Document:
    """Completes the session. Emits the payment's events, then checkout.session.completed.

    `email` counts where neither the session nor its customer has one. A declining card leaves the session open, with
    a payment intent that the next attempt uses again.

    Raises:
        InvalidRequest: the session was paid or has expired; nothing was changed.
        CardDeclined: the card declines; the failed attempt is kept.
    """
    if session["status"] != "open":
        state = "has already been paid" if session["status"] == "complete" else "has expired"
        raise InvalidRequest(f"This checkout session {state}.", code=f"checkout_session_{session['status']}")
    known = session["customer_details"] or {}
    details = customer_details(known.get("email") or email, known.get("name"))
    changes: Document = {"customer_details": details, "status": "complete", "url": None}
    if session["customer"] is None and session["customer_creation"] == "always":
        changes["customer"] = create_customer(uow, Call({}, {"email": details["email"]}))["id"]
    if session["amount_total"]:
        intent = _intent(uow, session)
        if "customer" in changes:
            uow.update(intent, {"customer": changes["customer"]})
        method = create_payment_method(uow, card, details["email"])
        collect(uow, intent, method, card)
        changes["payment_status"] = "paid"
    uow.update(session, changes)
    uow.emit("checkout.session.completed", session)
    return session


def _intent(uow: UnitOfWork, session: Document) -> Document:
    if session["payment_intent"] is not None:
        return uow.get("payment_intent", session["payment_intent"])
    described = uow.read("checkout.session", session["id"]).private["payment_intent_data"]
    intent = create_payment_intent(
        uow,
        {
            **described,
            "amount": session["amount_total"],
            "currency": session["currency"],
            "customer": session["customer"],
        },
    )
    uow.update(session, {"payment_intent": intent["id"]})
    return intent
