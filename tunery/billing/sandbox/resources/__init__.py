"""The simulated resources, one module per type. A new type is a new module and a line here."""

from tunery.billing.sandbox.resource import ResourceType
from tunery.billing.sandbox.resources.balance_transactions import BALANCE_TRANSACTION
from tunery.billing.sandbox.resources.charges import CHARGE
from tunery.billing.sandbox.resources.checkout_line_items import LINE_ITEM
from tunery.billing.sandbox.resources.checkout_sessions import CHECKOUT_SESSION
from tunery.billing.sandbox.resources.customers import CUSTOMER
from tunery.billing.sandbox.resources.events import EVENT
from tunery.billing.sandbox.resources.payment_intents import PAYMENT_INTENT
from tunery.billing.sandbox.resources.payment_methods import PAYMENT_METHOD
from tunery.billing.sandbox.resources.prices import PRICE
from tunery.billing.sandbox.resources.products import PRODUCT
from tunery.billing.sandbox.resources.refunds import REFUND
from tunery.billing.sandbox.resources.webhook_endpoints import WEBHOOK_ENDPOINT

RESOURCE_TYPES: dict[str, ResourceType] = {
    kind.object: kind
    for kind in (
        BALANCE_TRANSACTION,
        CHARGE,
        CHECKOUT_SESSION,
        CUSTOMER,
        EVENT,
        LINE_ITEM,
        PAYMENT_INTENT,
        PAYMENT_METHOD,
        PRICE,
        PRODUCT,
        REFUND,
        WEBHOOK_ENDPOINT,
    )
}
