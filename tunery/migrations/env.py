"""Alembic calls this. Migrations run on a connection that `tunery.app.migrate` opened; there is no offline mode."""

from alembic import context

import tunery.migrations.tables  # noqa: F401 - every room's tables, so that autogenerate compares them all
from tunery.core.database import Table

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Table.metadata, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
