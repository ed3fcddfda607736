"""Balance transactions (https://docs.stripe.com/api/balance_transactions): what moved the balance."""

from tunery.billing.sandbox.errors import Document
from tunery.billing.sandbox.parameters import Currency, String, TimeRange
from tunery.billing.sandbox.resource import Filter, ResourceType, listing, new_id, retrieve
from tunery.billing.sandbox.unit_of_work import UnitOfWork

_DAYS_UNTIL_AVAILABLE = 2
_DAY = 86400


def stripe_fee(amount: int) -> int:
    """2.9 % plus 30 minor units, the percentage rounded half up, in integers; never more than the amount."""
    return min(amount, (amount * 29 + 500) // 1000 + 30)


def record_balance_transaction(uow: UnitOfWork, source: Document, *, kind: str, amount: int, fee: int) -> Document:
    """Books `amount` (negative for refunds) less `fee`; both are minor units of the source's currency.

    `kind` is `charge` or `refund`. The funds become available two days later.
    """
    available_on = uow.now + _DAYS_UNTIL_AVAILABLE * _DAY
    fee_details = [
        {
            "amount": fee,
            "application": None,
            "currency": source["currency"],
            "description": "Stripe processing fees",
            "type": "stripe_fee",
        }
    ]
    transaction: Document = {
        "id": new_id("txn_1"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": available_on,
        "balance_type": "payments",
        "created": uow.now,
        "currency": source["currency"],
        "description": source.get("description"),
        "exchange_rate": None,
        "fee": fee,
        "fee_details": fee_details if fee else [],
        "net": amount - fee,
        "reporting_category": kind,
        "source": source["id"],
        "status": "pending",
        "type": kind,
    }
    uow.insert(transaction)
    uow.schedule(available_on, "balance_transaction.available", transaction["id"])
    return transaction


def _become_available(uow: UnitOfWork, transaction_id: str) -> None:
    uow.update(uow.get("balance_transaction", transaction_id), {"status": "available"})


BALANCE_TRANSACTION = ResourceType(
    object="balance_transaction",
    noun="balance transaction",
    timers={"balance_transaction.available": _become_available},
    operations=(
        listing(
            "balance_transaction",
            "/v1/balance_transactions",
            {
                "created": Filter(TimeRange()),
                "currency": Filter(Currency()),
                "source": Filter(String()),
                "type": Filter(String()),
            },
        ),
        retrieve("balance_transaction", "/v1/balance_transactions/{id}", "id"),
    ),
)
