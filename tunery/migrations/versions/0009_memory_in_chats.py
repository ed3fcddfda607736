"""Deployments may have memory."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.add_column("deployments", sa.Column("memory", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.alter_column("deployments", "memory", server_default=None)
