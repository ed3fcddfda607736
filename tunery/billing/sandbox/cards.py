"""Stripe's test cards (https://docs.stripe.com/testing#cards): what each does when it is charged."""

from dataclasses import dataclass

from tunery.billing.sandbox.errors import InvalidRequest


@dataclass(frozen=True)
class Decline:
    """Why the issuer refuses: Stripe's `code`, its finer `decline_code`, and the message people see."""

    code: str
    decline_code: str | None
    message: str


@dataclass(frozen=True)
class TestCard:
    """A card number the sandbox knows; it charges successfully unless it has a decline."""

    __test__ = False  # the name is Stripe's; pytest must not collect it

    number: str
    brand: str = "visa"
    decline: Decline | None = None


_DECLINED = "Your card was declined."
_CARDS = (
    TestCard("4242424242424242"),
    TestCard("5555555555554444", "mastercard"),
    TestCard("378282246310005", "amex"),
    TestCard("4000000000000002", decline=Decline("card_declined", "generic_decline", _DECLINED)),
    TestCard(
        "4000000000009995", decline=Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
    ),
    TestCard("4000000000009987", decline=Decline("card_declined", "lost_card", _DECLINED)),
    TestCard("4000000000000069", decline=Decline("expired_card", None, "Your card has expired.")),
    TestCard("4000000000000127", decline=Decline("incorrect_cvc", None, "Your card's security code is incorrect.")),
    TestCard(
        "4000000000000119",
        decline=Decline("processing_error", None, "An error occurred while processing your card. Try again later."),
    ),
)
TEST_CARDS = {card.number: card for card in _CARDS}
SUCCEEDING_CARD = "4242424242424242"
DECLINING_CARD = "4000000000000002"

# Payment methods that exist without being created, as in Stripe's test mode.
_TOKENS = {
    "pm_card_visa": SUCCEEDING_CARD,
    "pm_card_mastercard": "5555555555554444",
    "pm_card_amex": "378282246310005",
    "pm_card_visa_chargeDeclined": DECLINING_CARD,
    "pm_card_chargeDeclined": DECLINING_CARD,
    "pm_card_visa_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedInsufficientFunds": "4000000000009995",
    "pm_card_chargeDeclinedExpiredCard": "4000000000000069",
    "pm_card_chargeDeclinedIncorrectCvc": "4000000000000127",
    "pm_card_chargeDeclinedProcessingError": "4000000000000119",
}


def card_of_token(token: str) -> TestCard | None:
    """The card behind a well-known payment method such as `pm_card_visa`."""
    number = _TOKENS.get(token)
    return None if number is None else TEST_CARDS[number]


def card_of_number(number: str) -> TestCard:
    """The card with this number, spaces ignored.

    Raises:
        InvalidRequest: it is none of the test cards.
    """
    card = TEST_CARDS.get(number.replace(" ", ""))
    if card is None:
        raise InvalidRequest("Your card number is not one of the test cards.", param="card", code="incorrect_number")
    return card
