"""What a tenant's clients may chat with: deployments, together with what a request needs to know of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, and_, select
from sqlalchemy.orm import aliased

from tunery.core.database import UnitOfWork
from tunery.core.errors import Forbidden, NotFound
from tunery.marketplace.models import Entitlement, Listing, Seller
from tunery.serving.models import Deployment
from tunery.tenants.models import Tenant
from tunery.training.models import BaseModel


class ModelNotFound(NotFound):
    code = "MODEL_NOT_FOUND"

    def __init__(self, name: str) -> None:
        super().__init__("model", name, field="model")


class EntitlementRevoked(Forbidden):
    code = "ENTITLEMENT_REVOKED"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A deployment and its base, with who made the adapter: the tenant itself, a seller, or the base's publisher."""

    deployment: Deployment
    base_model: BaseModel
    owner: str

    @property
    def node_model(self) -> str:
        """How nodes call it: the adapter's digest, or the base's name."""
        return self.deployment.digest or self.base_model.name

    def to_json(self) -> dict[str, Any]:
        """OpenAI's model object, with vLLM's `root` and `parent`."""
        return {
            "id": self.deployment.name,
            "object": "model",
            "created": int(self.deployment.created_at.timestamp()),
            "owned_by": self.owner,
            "root": self.node_model,
            "parent": self.base_model.name if self.deployment.digest else None,
            "max_model_len": self.base_model.context_length,
        }


async def find_model(uow: UnitOfWork, name: str) -> ServedModel:
    """The deployment of that name. Raises ModelNotFound, or EntitlementRevoked when it is no longer theirs."""
    row = (await uow.session.execute(_deployments().where(Deployment.name == name))).one_or_none()
    if row is None:
        raise ModelNotFound(name[:200])
    if row[0].listing_id is not None and row[2] is None:
        raise EntitlementRevoked(f"your right to the adapter of {name!r} was revoked", field="model")
    return _served(row)


async def list_models(uow: UnitOfWork) -> list[ServedModel]:
    """Every deployment that a request would be admitted to, oldest first."""
    rows: Sequence[Row[*_Row]] = (await uow.session.execute(_deployments().order_by(Deployment.created_at))).all()
    return [_served(row) for row in rows if row[0].listing_id is None or row[2] is not None]


_Row = tuple[Deployment, BaseModel, UUID | None, str, str | None]


def _deployments() -> Select[*_Row]:
    own = aliased(Tenant)
    valid = and_(Entitlement.listing_id == Deployment.listing_id, Entitlement.revoked_at.is_(None))
    return (
        select(Deployment, BaseModel, Entitlement.id, own.slug, Seller.namespace)
        .join(BaseModel, BaseModel.id == Deployment.base_model_id)
        .join(own, own.id == Deployment.tenant_id)
        .outerjoin(Entitlement, valid)
        .outerjoin(Listing, Listing.id == Deployment.listing_id)
        .outerjoin(Seller, Seller.tenant_id == Listing.tenant_id)
        .where(Deployment.deleted_at.is_(None))
    )


def _served(row: Row[*_Row]) -> ServedModel:
    deployment, base_model, _, slug, seller = row
    if deployment.digest is None:
        owner = base_model.name.partition("/")[0]
    elif deployment.listing_id is None:
        owner = slug
    else:
        owner = seller or "unknown"
    return ServedModel(deployment, base_model, owner)
