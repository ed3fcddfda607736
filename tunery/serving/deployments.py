"""Deployments: a name that clients chat with, made, found and deleted. Names are never reused."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, Forbidden, InvalidInput, NotFound
from tunery.core.slugs import check_slug
from tunery.marketplace.models import Entitlement, Listing, ListingVersion
from tunery.serving.models import Deployment
from tunery.training.catalogue import find_base_model
from tunery.training.models import Adapter, AdapterVersion


class PurchaseRequired(Forbidden):
    code = "PURCHASE_REQUIRED"


class _Source(NamedTuple):
    """What a deployment runs."""

    base_model_id: UUID
    digest: str | None = None
    object_prefix: str | None = None
    listing_id: UUID | None = None


async def create_deployment(
    uow: UnitOfWork,
    *,
    name: str,
    base_model_name: str | None = None,
    adapter_version_id: UUID | None = None,
    listing_id: UUID | None = None,
    version: int | None = None,
    memory: bool = False,
) -> Deployment:
    """Deploy a base model alone, an adapter version of one's own, or a listing's version (the latest unless given).

    Raises InvalidInput, NotFound for what isn't there or is another tenant's, PurchaseRequired for a listing without a
    valid entitlement, and Conflict for a name that was used before, be it by a deployment that was deleted.
    """
    check_slug(name, field="name")
    given = [source for source in (base_model_name, adapter_version_id, listing_id) if source is not None]
    if len(given) != 1:
        raise InvalidInput("give exactly one of baseModel, adapterVersionId and listingId", field="baseModel")
    if version is not None and listing_id is None:
        raise InvalidInput("a version goes with a listing", field="version")
    if await uow.session.scalar(select(Deployment.id).where(Deployment.name == name)) is not None:
        raise _used(name)
    if base_model_name is not None:
        source = _Source((await find_base_model(uow, base_model_name, field="baseModel")).id)
    elif adapter_version_id is not None:
        source = await _own_version(uow, adapter_version_id)
    else:
        source = await _listed_version(uow, given[0], version)  # type: ignore[arg-type]  # the one that is left
    deployment = Deployment(name=name, memory=memory, created_at=uow.now(), **source._asdict())
    uow.session.add(deployment)
    try:
        await uow.session.flush()
    except IntegrityError as error:
        raise _used(name) from error
    return deployment


async def find_deployment(uow: UnitOfWork, name: str) -> Deployment:
    """The tenant's deployment of that name. Raises NotFound, also for one that was deleted."""
    living = select(Deployment).where(Deployment.name == name, Deployment.deleted_at.is_(None))
    found = await uow.session.scalar(living)
    if found is None:
        raise NotFound("deployment", name, field="name")
    return found


async def set_memory(uow: UnitOfWork, name: str, *, memory: bool) -> Deployment:
    """Have chats recall and remember from now on, or no longer. What is remembered stays. Raises NotFound."""
    deployment = await find_deployment(uow, name)
    deployment.memory = memory
    await uow.session.flush()
    return deployment


async def delete_deployment(uow: UnitOfWork, name: str) -> Deployment:
    """Stop serving under the name, for good. Raises NotFound, also when it was deleted before."""
    deployment = await find_deployment(uow, name)
    await uow.session.refresh(deployment, with_for_update=True)
    deployment.deleted_at = deployment.deleted_at or uow.now()
    await uow.session.flush()
    return deployment


async def _own_version(uow: UnitOfWork, version_id: UUID) -> _Source:
    query = select(AdapterVersion, Adapter.base_model_id).join(Adapter, Adapter.id == AdapterVersion.adapter_id)
    row = (await uow.session.execute(query.where(AdapterVersion.id == version_id))).one_or_none()
    if row is None:
        raise NotFound("adapter version", ids.encode("adapter version", version_id), field="adapterVersionId")
    adapter_version, base_model_id = row
    return _Source(base_model_id, adapter_version.digest, adapter_version.object_prefix)


async def _listed_version(uow: UnitOfWork, listing_id: UUID, number: int | None) -> _Source:
    listing = await uow.session.get(Listing, listing_id)
    if listing is None:
        raise NotFound("listing", ids.encode("listing", listing_id), field="listingId")
    own = listing.tenant_id == uow.tenant_id
    if not own and not await is_entitled(uow, listing_id):
        raise PurchaseRequired(f"buy {listing.title!r} before you deploy it", field="listingId")
    versions = select(ListingVersion).where(ListingVersion.listing_id == listing_id)
    if number is not None:
        versions = versions.where(ListingVersion.number == number)
    found = await uow.session.scalar(versions.order_by(ListingVersion.number.desc()).limit(1))
    if found is None:
        raise NotFound("version of this listing", str(number or "latest"), field="version")
    base_model = await find_base_model(uow, found.base_model, field="listingId")
    # A seller needs no entitlement to its own adapter, neither now nor at each request.
    return _Source(base_model.id, found.digest, found.object_prefix, None if own else listing_id)


async def is_entitled(uow: UnitOfWork, listing_id: UUID) -> bool:
    """Whether the tenant holds an entitlement to the listing that wasn't revoked."""
    valid = select(Entitlement.id).where(Entitlement.listing_id == listing_id, Entitlement.revoked_at.is_(None))
    return await uow.session.scalar(valid) is not None


def _used(name: str) -> Conflict:
    return Conflict(f"the name {name!r} was used before, and names are never reused: choose another", field="name")
