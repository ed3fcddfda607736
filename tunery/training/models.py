from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import CURRENT_TENANT, Identified, Table, TenantOwned


class BaseModel(Identified, Table):
    """A frozen model that adapters are trained on. Global: the operator's catalogue."""

    __tablename__ = "base_models"

    name: Mapped[str] = mapped_column(unique=True)
    repository: Mapped[str | None]
    """Repository on the Hugging Face hub; None: shipped with Tunery."""
    revision: Mapped[str]
    licence: Mapped[str]
    parameters: Mapped[int]
    context_length: Mapped[int]
    train_price: Mapped[Decimal]
    """Per million trained tokens, as are the next two for tokens read and written by chat."""
    input_price: Mapped[Decimal]
    output_price: Mapped[Decimal]
    created_at: Mapped[datetime]


class DataSet(Identified, TenantOwned, Table):
    __tablename__ = "data_sets"
    __table_args__ = (
        Index(None, "tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "data_key_id"], ["data_keys.tenant_id", "data_keys.id"]),
    )

    name: Mapped[str]
    rows: Mapped[int]
    size: Mapped[int]
    """Bytes of the plaintext."""
    sha256: Mapped[str]
    data_key_id: Mapped[UUID | None]
    """None once deleted: the key is destroyed."""
    object_path: Mapped[str]
    created_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]


class Quote(Identified, TenantOwned, Table):
    """A price that binds until it expires, with everything it was computed from."""

    __tablename__ = "quotes"
    __table_args__ = (Index(None, "tenant_id"),)

    data_set_id: Mapped[UUID] = mapped_column(ForeignKey("data_sets.id"))
    base_model_id: Mapped[UUID] = mapped_column(ForeignKey("base_models.id"))
    spec: Mapped[dict[str, Any]]
    train_rows: Mapped[int]
    held_out_rows: Mapped[int]
    truncated_rows: Mapped[int]
    trained_tokens: Mapped[int]
    """Tokens of the training rows, once per epoch: what is billed."""
    trainable_tokens: Mapped[int]
    """Of those, the tokens that carry loss (the assistant's)."""
    unit_price: Mapped[Decimal]
    price: Mapped[Decimal]
    currency: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class TrainingJob(Identified, TenantOwned, Table):
    __tablename__ = "training_jobs"
    __table_args__ = (
        CheckConstraint("status IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="status"),
        UniqueConstraint("tenant_id", "id"),
        Index("ix_training_jobs_leasable", "created_at", postgresql_where=text("status IN ('queued', 'running')")),
        ForeignKeyConstraint(["tenant_id", "data_key_id"], ["data_keys.tenant_id", "data_keys.id"]),
    )

    quote_id: Mapped[UUID] = mapped_column(ForeignKey("quotes.id"), unique=True)
    adapter_id: Mapped[UUID] = mapped_column(ForeignKey("adapters.id"))
    reservation_id: Mapped[UUID] = mapped_column(ForeignKey("reservations.id"))
    data_key_id: Mapped[UUID]
    """Seals this job's checkpoints."""
    status: Mapped[str] = mapped_column(default="queued")
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    trained_tokens: Mapped[int] = mapped_column(default=0)
    """Durably checkpointed and settled."""
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    lease_token: Mapped[int] = mapped_column(default=0)
    """Rises with every lease; a write that carries an older one is refused."""
    lease_node: Mapped[str | None]
    """None when nobody holds the job, or its node handed it back."""
    lost_leases: Mapped[int] = mapped_column(default=0)
    """Leases in a row that ran out instead of being handed back, since the last checkpoint."""
    lease_expires_at: Mapped[datetime | None]


class LeaseGrant(Identified, TenantOwned, Table):
    """What a node asks for by its lease, and what it is given: the job's keys, wrapped to the node's own, or the
    signature of what it made. It goes with the lease.
    """

    __tablename__ = "lease_grants"
    __table_args__ = (
        CheckConstraint("kind IN ('keys', 'signature')", name="kind"),
        UniqueConstraint("tenant_id", "job_id", "lease_token", "kind"),
        ForeignKeyConstraint(["tenant_id", "job_id"], ["training_jobs.tenant_id", "training_jobs.id"]),
    )

    job_id: Mapped[UUID]
    lease_token: Mapped[int]
    node: Mapped[str]
    kind: Mapped[str]
    request: Mapped[bytes] = mapped_column(LargeBinary)
    """The node's public key; or the manifest to sign."""
    response: Mapped[bytes | None] = mapped_column(LargeBinary)
    error_code: Mapped[str | None]
    """Why the job can't be given it, now or later."""
    error_message: Mapped[str | None]
    created_at: Mapped[datetime]
    granted_at: Mapped[datetime | None]


class TrainingEvent(Table):
    """What happened in a job, in order: status changes, metrics, checkpoints."""

    __tablename__ = "training_events"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("training_jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(server_default=text(CURRENT_TENANT), index=True)
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Checkpoint(Table):
    """A durable point of a job: resuming from it loses nothing, and all tokens up to it are settled."""

    __tablename__ = "checkpoints"

    job_id: Mapped[UUID] = mapped_column(ForeignKey("training_jobs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(server_default=text(CURRENT_TENANT), index=True)
    lease_token: Mapped[int]
    step: Mapped[int]
    trained_tokens: Mapped[int]
    object_path: Mapped[str]
    sha256: Mapped[str]
    size: Mapped[int]
    created_at: Mapped[datetime]


class Adapter(Identified, TenantOwned, Table):
    """A named line of versions, all on one base model."""

    __tablename__ = "adapters"
    __table_args__ = (UniqueConstraint("tenant_id", "name"), UniqueConstraint("tenant_id", "id"))

    name: Mapped[str]
    base_model_id: Mapped[UUID] = mapped_column(ForeignKey("base_models.id"))
    created_at: Mapped[datetime]


class AdapterVersion(Identified, TenantOwned, Table):
    """One trained artifact, immutable, known by the digest of its manifest."""

    __tablename__ = "adapter_versions"
    __table_args__ = (UniqueConstraint("adapter_id", "number"), Index(None, "tenant_id"))

    adapter_id: Mapped[UUID] = mapped_column(ForeignKey("adapters.id"))
    number: Mapped[int]
    job_id: Mapped[UUID] = mapped_column(ForeignKey("training_jobs.id"), unique=True)
    digest: Mapped[str] = mapped_column(unique=True)
    """SHA-256 of the manifest, in hex; its first 40 digits are the revision on the hub."""
    manifest: Mapped[dict[str, Any]]
    files: Mapped[list[dict[str, Any]]]
    """All files as `{"path", "size", "sha256"}`, the manifest and its signature included."""
    object_prefix: Mapped[str]
    created_at: Mapped[datetime]


class Node(Table):
    """A machine that trains or serves. Global: the operator's; the dispatcher role writes it."""

    __tablename__ = "nodes"

    name: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str]
    """Base URL of its inference server, as the API reaches it."""
    public_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    """X-Wing's. The private half is in the node's memory alone. None: it trains nothing."""
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
