"""Shops with some of everything that an organisation can have, without the work behind it."""

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from sqlalchemy import insert

from tests.marketplace.market import Market
from tunery.core.database import Database
from tunery.core.services import Services
from tunery.marketplace.models import Listing, Purchase, Sale
from tunery.marketplace.publish import withdraw_listing
from tunery.serving.deployments import create_deployment, delete_deployment
from tunery.tenants.api_keys import create_api_key
from tunery.training.models import DataSet
from tunery.vault.erasures import certify_erasure
from tunery.vault.keyring import Keyring

EACH = 5
"""So many rows of each kind are to be seen in every list."""


class Shops:
    """`one` and `other` have the same of everything, and bought from each other; `empty` has signed up."""

    def __init__(self, one: Any, other: Any, empty: Any) -> None:
        self.one = one
        self.other = other
        self.empty = empty


async def open_shops(services: Services, sign_up: Callable[..., Awaitable[Any]]) -> Shops:
    shops = Shops(await sign_up("One"), await sign_up("Other"), await sign_up("Empty"))
    market = Market(services, None, "", sign_up)  # type: ignore[arg-type]  # nobody pays here
    on_sale = {}
    for shop in (shops.one, shops.other):
        on_sale[shop.tenant_id] = await _produce(market, shop)
        await _erase(services, shop)
    await _trade(services, shops.one, shops.other.tenant_id, on_sale[shops.other.tenant_id])
    await _trade(services, shops.other, shops.one.tenant_id, on_sale[shops.one.tenant_id])
    return shops


async def _produce(market: Market, shop: Any) -> list[Listing]:
    """The published ones of the shop's listings; the newest is withdrawn."""
    listings = [
        await market.publish(shop, await market.train(shop, f"adapter-{number}"), title=f"Number {number}")
        for number in range(EACH)
    ]
    async with market.database.unit_of_work(shop.tenant_id) as uow:
        await withdraw_listing(uow, listings.pop().id)
        for number in range(EACH):
            await create_deployment(uow, name=f"name-{number}", base_model_name="tunery/tiny")
        for number in range(EACH - 1):
            create_api_key(uow, f"key {number}", shop.identity.member_id)
        await create_deployment(uow, name="gone", base_model_name="tunery/tiny")
        await delete_deployment(uow, "gone")
        gone = {"name": "gone", "rows": 1, "size": 1, "sha256": "", "object_path": "", "created_at": uow.now()}
        await uow.session.execute(insert(DataSet).values(**gone, deleted_at=uow.now()))
    return listings


async def _erase(services: Services, shop: Any) -> None:
    async with services.get(Database).unit_of_work(shop.tenant_id) as uow:
        for number in range(EACH):
            subject = {"scope": "subject", "subject": f"sub_{number}", "requested_by": "key_1"}
            await certify_erasure(uow, services.get(Keyring), **subject, destroyed=[], deleted={})


async def _trade(services: Services, buyer: Any, seller_id: UUID, listings: list[Listing]) -> None:
    """Orders of the buyer's, and as many sales of the seller's."""
    terms = {"price": 1000, "currency": "usd", "licence": "mit", "status": "paid", "seller_id": seller_id, "fee": 100}
    bought = []
    async with services.get(Database).unit_of_work(buyer.tenant_id) as uow:
        for number in range(EACH):
            purchase = Purchase(listing_id=listings[number % len(listings)].id, created_at=uow.now(), **terms)
            uow.session.add(purchase)
            await uow.session.flush()
            bought.append(purchase)
    async with services.get(Database).unit_of_work(seller_id) as uow:
        for purchase in bought:
            sold = {"purchase_id": purchase.id, "listing_id": purchase.listing_id, "currency": "usd"}
            uow.session.add(Sale(**sold, gross=1000, fee=100, net=900, created_at=uow.now()))
            await uow.session.flush()
