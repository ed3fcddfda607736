"""What this room lets go of when its tenant is erased."""

from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import select, update

from tunery.core.database import Database, UnitOfWork
from tunery.core.outbox import enqueue
from tunery.core.services import Services
from tunery.marketplace.models import Listing, ListingVersion, Sale, Seller
from tunery.tenants.erase import ERASED, TenantErased
from tunery.training.data_sets import DELETE_ATTEMPTS, DELETE_OBJECT
from tunery.training.models import AdapterVersion, TrainingJob

DELETE_UNSOLD: Final = "marketplace.delete_unsold"
PAID_BY: Final = timedelta(days=30)
"""By when whoever ordered before the erasure has paid: a checkout page lives for a day, but a bank takes its time."""


async def on_tenant_erased(uow: UnitOfWork, event: TenantErased) -> None:
    """Listings leave the market. Adapters that were never listed go with their files: what they learned is the
    tenant's. Listed ones stay as long as somebody may be paying for them, and for good if somebody did.
    """
    published = update(Listing).where(Listing.tenant_id == uow.tenant_id, Listing.status == "published")
    withdrawn = await uow.session.scalars(published.values(status="withdrawn").returning(Listing.id))
    event.ended["listings"] += len(withdrawn.all())
    await uow.session.execute(update(Seller).where(Seller.tenant_id == uow.tenant_id).values(name=ERASED))
    listed = set(
        await uow.session.scalars(select(ListingVersion.digest).where(ListingVersion.tenant_id == uow.tenant_id))
    )
    kept: dict[UUID, str] = {}
    for version in await uow.session.scalars(select(AdapterVersion)):
        if version.digest in listed:
            kept[version.job_id] = version.object_prefix
            continue
        for file in version.files:
            enqueue(uow, DELETE_OBJECT, path=f"{version.object_prefix}/{file['path']}")
        event.ended["adapter_versions"] += 1
    for job_id in await uow.session.scalars(select(TrainingJob.id)):
        enqueue(uow, DELETE_ATTEMPTS, job_id=str(job_id), keep=kept.get(job_id, ""))
    if kept:
        enqueue(uow, DELETE_UNSOLD, delay=PAID_BY, tenant_id=str(uow.tenant_id))


async def delete_unsold(services: Services, tenant_id: str) -> None:
    """Delete the files of an erased seller's adapters that nobody has bought. Safe to run twice."""
    async with services.get(Database).unit_of_work(UUID(tenant_id)) as uow:
        own, sold = ListingVersion.tenant_id == uow.tenant_id, select(Sale.listing_id)
        unsold = select(ListingVersion).where(own, ListingVersion.listing_id.not_in(sold))
        for version in await uow.session.scalars(unsold):
            for file in version.files:
                enqueue(uow, DELETE_OBJECT, path=f"{version.object_prefix}/{file['path']}")
