"""A node gets a job's keys for its lease alone: what it asks for, and what it is given, wrapped to its own key."""

import sqlalchemy as sa
from alembic import op

from tunery.core.database import CURRENT_TENANT
from tunery.migrations.row_security import let_dispatcher, protect

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.execute("ALTER TABLE nodes ADD COLUMN public_key bytea")
    # So that what belongs to a job can't hang on another tenant's; its index serves the lists, too.
    op.execute("ALTER TABLE training_jobs ADD CONSTRAINT uq_training_jobs_tenant_id_id UNIQUE (tenant_id, id)")
    op.execute("DROP INDEX ix_training_jobs_tenant_id_id")
    op.create_table(
        "lease_grants",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("granted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=sa.text(CURRENT_TENANT), nullable=False),
        sa.CheckConstraint("kind IN ('keys', 'signature')", name=op.f("ck_lease_grants_kind")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["training_jobs.tenant_id", "training_jobs.id"],
            name=op.f("fk_lease_grants_tenant_id_job_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lease_grants")),
        sa.UniqueConstraint(
            "tenant_id", "job_id", "lease_token", "kind", name=op.f("uq_lease_grants_tenant_id_job_id_lease_token_kind")
        ),
    )
    protect("lease_grants", app="SELECT, INSERT, DELETE, UPDATE (response, error_code, error_message, granted_at)")
    # Whoever leases a job throws away what the lease before was given; it reads none of it.
    let_dispatcher("lease_grants", "SELECT (tenant_id, job_id), DELETE")
