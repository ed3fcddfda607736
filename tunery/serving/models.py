from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import Identified, Table, TenantOwned


class Deployment(Identified, TenantOwned, Table):
    """A name that clients chat with: a base model, with an adapter at one digest or without."""

    __tablename__ = "deployments"
    __table_args__ = (UniqueConstraint("tenant_id", "name"), Index(None, "tenant_id", "id"))

    name: Mapped[str]
    """Never reused, so that a cache keyed by it never serves another adapter."""
    base_model_id: Mapped[UUID] = mapped_column(ForeignKey("base_models.id"))
    digest: Mapped[str | None]
    object_prefix: Mapped[str | None]
    listing_id: Mapped[UUID | None] = mapped_column(ForeignKey("listings.id"))
    """Where the adapter was bought; None: the tenant's own, or no adapter."""
    memory: Mapped[bool] = mapped_column(default=False)
    """Whether chats recall and remember what the person said who is named in `user`."""
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
