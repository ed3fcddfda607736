"""What this room lets go of when its tenant is erased."""

from sqlalchemy import update

from tunery.core.database import UnitOfWork
from tunery.serving.models import Deployment
from tunery.tenants.erase import TenantErased


async def on_tenant_erased(uow: UnitOfWork, event: TenantErased) -> None:
    """Nothing is served under the tenant's names any more."""
    living = update(Deployment).where(Deployment.deleted_at.is_(None))
    ended = await uow.session.scalars(living.values(deleted_at=uow.now()).returning(Deployment.id))
    event.deleted["deployments"] += len(ended.all())
