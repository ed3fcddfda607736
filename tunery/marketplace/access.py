"""Which adapters a tenant may see, and of which it may have the files: its own, and the listings it is entitled to."""

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, exists, func, select

from tunery.core.database import UnitOfWork
from tunery.core.money import Money
from tunery.marketplace.models import Entitlement, Listing, ListingVersion, Seller
from tunery.tenants.models import Tenant
from tunery.training.models import Adapter, AdapterVersion

COMMIT_LENGTH = 40
_VERSION = re.compile(r"v([1-9][0-9]{0,9})")
_COMMIT = re.compile(rf"[0-9a-f]{{{COMMIT_LENGTH}}}")


@dataclass(frozen=True)
class Repository:
    """An adapter or a listing under its public name `{namespace}/{name}`."""

    identifier: str
    adapter_id: UUID | None
    listing_id: UUID | None
    required_purchase: str | None
    """What has to be bought before the files can be had; None: they are the tenant's to read."""


@dataclass(frozen=True)
class Revision:
    """One version's files, each `{"path", "size", "sha256"}` at `{object_prefix}/{path}`."""

    number: int
    digest: str
    files: list[dict[str, Any]]
    object_prefix: str

    @property
    def commit(self) -> str:
        return self.digest[:COMMIT_LENGTH]

    def find(self, path: str) -> dict[str, Any] | None:
        """The file of exactly that path: what is not in the version's list does not exist, whatever lies in storage."""
        return next((file for file in self.files if file["path"] == path), None)


async def find_repository(uow: UnitOfWork, namespace: str, name: str) -> Repository | None:
    """The repository, None when it is unknown, withdrawn or otherwise not this tenant's to see."""
    identifier = f"{namespace}/{name}"
    own = select(Adapter.id).join(Tenant, Tenant.id == Adapter.tenant_id)
    adapter_id = await uow.session.scalar(own.where(Tenant.slug == namespace, Adapter.name == name))
    if adapter_id is not None:
        return Repository(identifier, adapter_id, None, None)
    entitled = exists().where(Entitlement.listing_id == Listing.id, Entitlement.revoked_at.is_(None))
    row = (
        await uow.session.execute(
            select(Listing, entitled)
            .join(Seller, Seller.tenant_id == Listing.tenant_id)
            .where(Seller.namespace == namespace, Listing.name == name)
        )
    ).one_or_none()
    if row is None:
        return None
    listing, is_entitled = row
    price = Money.from_minor_units(listing.price, listing.currency)
    required = None if is_entitled else f"{identifier} costs {price.amount:.2f} {price.currency.upper()}"
    return Repository(identifier, None, listing.id, required)


async def find_revision(uow: UnitOfWork, repository: Repository, name: str) -> Revision | None:
    """`main` is the latest version, `v3` the third, 40 hexadecimal digits the one whose digest begins with them."""
    table = AdapterVersion if repository.listing_id is None else ListingVersion
    versions: Select[tuple[int, str, list[dict[str, Any]], str]] = (
        select(table.number, table.digest, table.files, table.object_prefix)
        .where(
            AdapterVersion.adapter_id == repository.adapter_id
            if repository.listing_id is None
            else ListingVersion.listing_id == repository.listing_id
        )
        .order_by(table.number.desc())
        .limit(1)
    )
    if number := _VERSION.fullmatch(name):
        versions = versions.where(table.number == int(number[1]))
    elif _COMMIT.fullmatch(name):
        versions = versions.where(func.left(table.digest, COMMIT_LENGTH) == name)
    elif name != "main":
        return None
    row = (await uow.session.execute(versions)).one_or_none()
    return None if row is None else Revision(*row)
