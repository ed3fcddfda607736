"""Tasks of the marketplace room. Each is safe to run twice."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert

from tunery.billing.accounts import credit
from tunery.core.database import Database
from tunery.core.money import Money
from tunery.core.outbox import Task
from tunery.core.services import Services
from tunery.marketplace.entitle import RECORD_SALE
from tunery.marketplace.erase import DELETE_UNSOLD, delete_unsold
from tunery.marketplace.models import Purchase, Sale


async def record_sale(services: Services, purchase_id: str, buyer_id: str) -> None:
    """Write the seller's side of a paid purchase: the sale, and its net amount among the earnings.

    The figures come from the purchase, which is the buyer's row; the sale is the seller's: two units of work.
    """
    database = services.get(Database)
    async with database.unit_of_work(UUID(buyer_id)) as uow:
        purchase = await uow.session.get_one(Purchase, UUID(purchase_id))
    if purchase.status != "paid":
        return
    net = purchase.price - purchase.fee
    async with database.unit_of_work(purchase.seller_id) as uow:
        sale = insert(Sale).values(
            purchase_id=purchase.id,
            listing_id=purchase.listing_id,
            gross=purchase.price,
            fee=purchase.fee,
            net=net,
            currency=purchase.currency,
            created_at=uow.now(),
        )
        recorded = await uow.session.execute(
            sale.on_conflict_do_nothing(index_elements=["purchase_id"]).returning(Sale.id)
        )
        if recorded.first() is None:
            return
        amount = Money.from_minor_units(net, purchase.currency).amount
        await credit(uow, account="earnings", kind="sale", source=f"purchase:{purchase.id}", amount=amount)


TASKS: dict[str, Task] = {RECORD_SALE: record_sale, DELETE_UNSOLD: delete_unsold}
