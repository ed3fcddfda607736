"""How many keys there are under each root key and each version of tenants' keys: what a rotation still has to do."""

from dataclasses import dataclass

from sqlalchemy import func, select

from tunery.core.database import UnitOfWork
from tunery.vault.models import DataKey, SigningKey, TenantKey


@dataclass(frozen=True)
class RootKeyUse:
    """What a root key has sealed; '' stands for those that rows did not name yet."""

    root_key: str
    tenant_keys: int
    signing_keys: int


@dataclass(frozen=True)
class VersionUse:
    """Tenants that have this version of their key, and the living data keys that are wrapped to it."""

    version: int
    tenants: int
    retired: int
    data_keys: int


async def count_by_root_key(uow: UnitOfWork) -> list[RootKeyUse]:
    """Of all tenants: as the dispatcher."""
    living = select(TenantKey.root_key, func.count()).where(TenantKey.destroyed_at.is_(None))
    tenant_keys = dict((await uow.session.execute(living.group_by(TenantKey.root_key))).all())
    signing = select(SigningKey.root_key, func.count()).group_by(SigningKey.root_key)
    signing_keys = dict((await uow.session.execute(signing)).all())
    return [
        RootKeyUse(name, tenant_keys.get(name, 0), signing_keys.get(name, 0))
        for name in sorted(tenant_keys | signing_keys)
    ]


async def count_by_version(uow: UnitOfWork) -> list[VersionUse]:
    """Of all tenants: as the dispatcher."""
    wrapped = (
        select(DataKey.tenant_key_id, func.count().label("count"))
        .where(DataKey.destroyed_at.is_(None))
        .group_by(DataKey.tenant_key_id)
        .subquery()
    )
    versions = (
        select(
            TenantKey.version,
            func.count(),
            func.count(TenantKey.retired_at),
            func.coalesce(func.sum(wrapped.c.count), 0),
        )
        .outerjoin(wrapped, wrapped.c.tenant_key_id == TenantKey.id)
        .group_by(TenantKey.version)
        .order_by(TenantKey.version)
    )
    return [VersionUse(row[0], row[1], row[2], int(row[3])) for row in await uow.session.execute(versions)]
