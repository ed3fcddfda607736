"""What this room lets go of when its tenant is erased."""

from sqlalchemy import select

from tunery.core.database import UnitOfWork
from tunery.serving.models import Deployment
from tunery.tenants.erase import ERASED, TenantErased


async def on_tenant_erased(uow: UnitOfWork, event: TenantErased) -> None:
    """Nothing is served under the tenant's names any more."""
    for deployment in await uow.session.scalars(select(Deployment)):
        deployment.name, deployment.deleted_at = f"{ERASED}-{deployment.id.hex}", deployment.deleted_at or uow.now()
        event.ended["deployments"] += 1
