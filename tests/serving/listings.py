"""What the marketplace leaves behind: listings, entitlements, revocations."""

import secrets
from uuid import UUID

from lora_adapters import TINY, MadeAdapter
from serving_tenant import ServingTenant
from sqlalchemy import text, update

from tunery.marketplace.models import Entitlement, Listing, ListingVersion, Purchase, Seller
from tunery.training.models import AdapterVersion


async def publish(seller: ServingTenant, adapter: MadeAdapter, *more: MadeAdapter) -> UUID:
    """A published listing with one version per adapter; its id."""
    version_id = await seller.own(adapter)
    async with seller.database.unit_of_work(seller.id) as uow:
        version = await uow.session.get_one(AdapterVersion, version_id)
        if await uow.session.get(Seller, seller.id) is None:
            uow.session.add(Seller(namespace=await uow.session.scalar(text("SELECT slug FROM tenants")), name="Seller"))
            await uow.session.flush()
        listing = Listing(
            adapter_id=version.adapter_id,
            name=secrets.token_hex(4),
            base_model=TINY,
            title="Support tone",
            description="",
            licence="apache-2.0",
            price=1000,
            currency="usd",
            published_at=uow.now(),
        )
        uow.session.add(listing)
        await uow.session.flush()
        for number, offered in enumerate((adapter, *more), 1):
            uow.session.add(
                ListingVersion(
                    listing_id=listing.id,
                    number=number,
                    digest=offered.digest,
                    base_model=TINY,
                    manifest={},
                    files=[],
                    object_prefix=offered.prefix,
                    created_at=uow.now(),
                )
            )
        return listing.id


async def entitle(buyer: ServingTenant, seller: ServingTenant, listing_id: UUID) -> None:
    async with buyer.database.unit_of_work(buyer.id) as uow:
        terms = {"listing_id": listing_id, "licence": "apache-2.0"}
        purchase = Purchase(
            **terms,
            seller_id=seller.id,
            price=1000,
            fee=100,
            currency="usd",
            status="paid",
            created_at=uow.now(),
            paid_at=uow.now(),
        )
        uow.session.add(purchase)
        await uow.session.flush()
        uow.session.add(Entitlement(**terms, purchase_id=purchase.id, granted_at=uow.now()))


async def revoke(buyer: ServingTenant, listing_id: UUID) -> None:
    async with buyer.database.unit_of_work(buyer.id) as uow:
        await uow.session.execute(
            update(Entitlement).where(Entitlement.listing_id == listing_id).values(revoked_at=uow.now())
        )
