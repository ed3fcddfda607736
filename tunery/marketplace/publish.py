"""Publishing an adapter: a listing that every tenant can find, and a snapshot of the version that is offered."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput, NotFound
from tunery.core.money import CURRENCY
from tunery.marketplace.models import Listing, ListingVersion, Seller
from tunery.tenants.models import Tenant
from tunery.training.models import Adapter, AdapterVersion, BaseModel

LICENCES = ("apache-2.0", "mit", "cc-by-4.0", "cc-by-nc-4.0", "openrail", "proprietary")
"""As the Hugging Face hub spells them (SPDX identifiers in lower case); `proprietary`: the seller's own terms."""

SHORTEST_TITLE, LONGEST_TITLE = 3, 120
LONGEST_DESCRIPTION = 10_000
LOWEST_PRICE, HIGHEST_PRICE = 50, 1_000_000
"""In cents. Below half a dollar Stripe does not charge a card."""


async def publish_listing(
    uow: UnitOfWork,
    *,
    adapter_version_id: UUID,
    title: str,
    description: str,
    licence: str,
    price: int,
    currency: str = CURRENCY,
) -> Listing:
    """Offer one of the tenant's own adapter versions; `price` is in minor units.

    An adapter has one listing: publishing another version adds it there, and title, description, licence and price
    become the new ones. Purchases keep the price and the licence of their day. Publishing the same version again
    changes those alone, and a withdrawn listing is back on the market. Raises InvalidInput and NotFound.
    """
    title, description = title.strip(), description.strip()
    _check(title, description, licence, price, currency)
    row = (
        await uow.session.execute(
            select(AdapterVersion, Adapter, BaseModel.name)
            .join(Adapter, Adapter.id == AdapterVersion.adapter_id)
            .join(BaseModel, BaseModel.id == Adapter.base_model_id)
            .where(AdapterVersion.id == adapter_version_id)
        )
    ).one_or_none()
    if row is None:
        identifier = ids.encode("adapter version", adapter_version_id)
        raise NotFound("adapter version", identifier, field="adapterVersionId")
    version, adapter, base_model = row
    await _become_seller(uow)

    listing = await uow.session.scalar(select(Listing).where(Listing.adapter_id == adapter.id).with_for_update())
    if listing is None:
        listing = Listing(
            adapter_id=adapter.id,
            name=adapter.name,
            base_model=base_model,
            status="published",
            published_at=uow.now(),
        )
        uow.session.add(listing)
    elif listing.status != "published":
        listing.status, listing.published_at = "published", uow.now()
    listing.title, listing.description, listing.licence = title, description, licence
    listing.price, listing.currency = price, currency
    await uow.session.flush()
    await uow.session.execute(
        insert(ListingVersion)
        .values(
            listing_id=listing.id,
            number=version.number,
            digest=version.digest,
            base_model=base_model,
            manifest=version.manifest,
            files=version.files,
            object_prefix=version.object_prefix,
            created_at=uow.now(),
        )
        .on_conflict_do_nothing(index_elements=["listing_id", "number"])
    )
    return listing


async def withdraw_listing(uow: UnitOfWork, listing_id: UUID) -> Listing:
    """Take a listing off the market; who bought it keeps it. Doing it twice changes nothing. Raises NotFound."""
    # FOR UPDATE leaves the tenant's own rows alone in sight: other tenants' listings may be read, not written.
    listing = await uow.session.get(Listing, listing_id, with_for_update=True)
    if listing is None:
        raise NotFound("listing", ids.encode("listing", listing_id), field="id")
    listing.status = "withdrawn"
    await uow.session.flush()
    return listing


def _check(title: str, description: str, licence: str, price: int, currency: str) -> None:
    if not SHORTEST_TITLE <= len(title) <= LONGEST_TITLE or not title.isprintable():
        raise InvalidInput(f"a title is one line of {SHORTEST_TITLE} to {LONGEST_TITLE} characters", field="title")
    if not 0 < len(description) <= LONGEST_DESCRIPTION or "\0" in description:
        raise InvalidInput(f"a description has 1 to {LONGEST_DESCRIPTION:,} characters", field="description")
    if licence not in LICENCES:
        raise InvalidInput(f"{licence!r} is no licence we know: choose one of {', '.join(LICENCES)}", field="licence")
    if not LOWEST_PRICE <= price <= HIGHEST_PRICE:
        raise InvalidInput(f"a price is {LOWEST_PRICE} to {HIGHEST_PRICE:,} cents", field="price")
    if currency != CURRENCY:
        raise InvalidInput(f"prices are in {CURRENCY}, not {currency!r}", field="currency")


async def _become_seller(uow: UnitOfWork) -> None:
    """Make the tenant known as a seller, and hold its row: a tenant's publications happen one after another."""
    tenant = await uow.session.get_one(Tenant, uow.tenant_id)
    await uow.session.execute(
        insert(Seller)
        .values(namespace=tenant.slug, name=tenant.name)
        .on_conflict_do_nothing(index_elements=["tenant_id"])
    )
    await uow.session.execute(select(Seller.tenant_id).where(Seller.tenant_id == uow.tenant_id).with_for_update())
