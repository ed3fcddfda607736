"""What this room lets go of when its tenant is erased."""

from uuid import UUID

from sqlalchemy import select, update

from tunery.core.database import UnitOfWork
from tunery.core.outbox import enqueue
from tunery.marketplace.models import Listing, ListingVersion, Seller
from tunery.tenants.erase import ERASED, TenantErased
from tunery.training.data_sets import DELETE_ATTEMPTS, DELETE_OBJECT
from tunery.training.models import AdapterVersion, TrainingJob


async def on_tenant_erased(uow: UnitOfWork, event: TenantErased) -> None:
    """Listings leave the market. Adapters that were never listed go with their files: what they learned is the
    tenant's. Listed ones stay, for somebody may have bought them, or be paying.
    """
    published = update(Listing).where(Listing.tenant_id == uow.tenant_id, Listing.status == "published")
    withdrawn = await uow.session.scalars(published.values(status="withdrawn").returning(Listing.id))
    event.deleted["listings"] += len(withdrawn.all())
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
        event.deleted["adapter versions"] += 1
    for job_id in await uow.session.scalars(select(TrainingJob.id)):
        enqueue(uow, DELETE_ATTEMPTS, job_id=str(job_id), keep=kept.get(job_id, ""))
