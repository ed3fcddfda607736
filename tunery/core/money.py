"""Exact money: decimals with a currency for what is metered, integer minor units for what a card pays.

Metered amounts (tokens x a price per million) are kept exact to 12 decimals and rounded once, on the invoice.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

CURRENCY = "usd"
"""The currency of credit, usage and prices. One for now."""

TOKENS_PER_PRICE = 1_000_000
"""Unit prices are per this many tokens."""

_MINOR_UNIT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Money:
    amount: Decimal
    currency: str = CURRENCY

    @property
    def minor_units(self) -> int:
        """Whole cents, rounded half to even."""
        return int(self.amount.quantize(_MINOR_UNIT, ROUND_HALF_EVEN) * 100)

    @classmethod
    def from_minor_units(cls, cents: int, currency: str = CURRENCY) -> "Money":
        return cls(Decimal(cents) / 100, currency)


def token_price(tokens: int, price_per_million: Decimal) -> Decimal:
    """What `tokens` cost, exactly."""
    return tokens * price_per_million / TOKENS_PER_PRICE
