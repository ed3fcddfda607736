"""Keys that rotate and that can be destroyed: which root key sealed what, tombstones, certificates of erasure.

A destroyed key leaves its row, without the key. So what refers to it goes on standing, and certificates can name it.
Rows hang on keys of their own tenant alone. A key's row from before names no root key ('') and may be any local one's.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE
from tunery.migrations.row_security import let_dispatcher, protect

revision = "0006"
down_revision = "0005"

FILLED = ("tenant_keys", "data_keys", "data_sets", "training_jobs")
"""Their rows are filled or compared here, all of them, by an owner whom row-level security may bind."""


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    for table in FILLED:
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    _let_tenant_keys_rotate()
    _let_data_keys_be_destroyed()
    for table in FILLED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE signing_keys ADD COLUMN root_key text NOT NULL DEFAULT ''")
    op.execute("ALTER TABLE signing_keys ALTER COLUMN root_key DROP DEFAULT")
    op.execute(f"GRANT SELECT, UPDATE (sealed_private_key, root_key) ON signing_keys TO {DISPATCHER_ROLE}")
    _make_secrets()
    _make_erasures()


def _let_tenant_keys_rotate() -> None:
    op.execute(
        "ALTER TABLE tenant_keys ALTER COLUMN version TYPE integer, ALTER COLUMN sealed_private_key DROP NOT NULL,"
        " ADD COLUMN root_key text NOT NULL DEFAULT '', ADD COLUMN fingerprint text,"
        " ADD COLUMN retired_at timestamptz, ADD COLUMN destroyed_at timestamptz,"
        " ADD CONSTRAINT uq_tenant_keys_tenant_id_id UNIQUE (tenant_id, id),"
        " ADD CONSTRAINT ck_tenant_keys_destroyed CHECK ((sealed_private_key IS NULL) = (destroyed_at IS NOT NULL)),"
        " ADD CONSTRAINT ck_tenant_keys_retired CHECK (retired_at IS NULL OR destroyed_at IS NOT NULL)"
    )
    op.execute("UPDATE tenant_keys SET fingerprint = left(encode(sha256(public_key), 'hex'), 32)")
    op.execute("ALTER TABLE tenant_keys ALTER COLUMN root_key DROP DEFAULT, ALTER COLUMN fingerprint SET NOT NULL")
    op.execute("CREATE INDEX ix_tenant_keys_root_key ON tenant_keys (root_key) WHERE destroyed_at IS NULL")
    op.execute(
        f"GRANT UPDATE (sealed_private_key, root_key, retired_at, destroyed_at) ON tenant_keys TO {APPLICATION_ROLE}"
    )
    let_dispatcher("tenant_keys", "SELECT (id, tenant_id, version, root_key, retired_at, destroyed_at)")


def _let_data_keys_be_destroyed() -> None:
    op.execute(
        "ALTER TABLE data_keys ALTER COLUMN wrapped_key DROP NOT NULL, ADD COLUMN suite text,"
        " ADD COLUMN fingerprint text, ADD COLUMN destroyed_at timestamptz,"
        " ADD CONSTRAINT uq_data_keys_tenant_id_id UNIQUE (tenant_id, id),"
        " ADD CONSTRAINT ck_data_keys_destroyed CHECK ((wrapped_key IS NULL) = (destroyed_at IS NOT NULL))"
    )
    op.execute(
        "UPDATE data_keys SET suite = t.suite, fingerprint = left(encode(sha256(wrapped_key), 'hex'), 32)"
        " FROM tenant_keys t WHERE t.id = data_keys.tenant_key_id"
    )
    op.execute(
        "ALTER TABLE data_keys ALTER COLUMN suite SET NOT NULL, ALTER COLUMN fingerprint SET NOT NULL,"
        " DROP CONSTRAINT fk_data_keys_tenant_key_id, ADD CONSTRAINT fk_data_keys_tenant_id_tenant_key_id"
        " FOREIGN KEY (tenant_id, tenant_key_id) REFERENCES tenant_keys (tenant_id, id)"
    )
    op.execute("DROP INDEX ix_data_keys_tenant_id")
    op.execute("CREATE UNIQUE INDEX uq_data_keys_living ON data_keys (tenant_id, purpose) WHERE destroyed_at IS NULL")
    op.execute("CREATE INDEX ix_data_keys_wrapped ON data_keys (tenant_id, tenant_key_id) WHERE destroyed_at IS NULL")
    for table in ("data_sets", "training_jobs"):
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT fk_{table}_data_key_id,"
            f" ADD CONSTRAINT fk_{table}_tenant_id_data_key_id"
            " FOREIGN KEY (tenant_id, data_key_id) REFERENCES data_keys (tenant_id, id)"
        )
    op.execute(f"REVOKE DELETE ON data_keys FROM {APPLICATION_ROLE}")
    op.execute(f"GRANT UPDATE (tenant_key_id, suite, wrapped_key, destroyed_at) ON data_keys TO {APPLICATION_ROLE}")
    let_dispatcher("data_keys", "SELECT (id, tenant_id, tenant_key_id, destroyed_at)")


def _make_secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("data_key_id", sa.Uuid(), nullable=False),
        sa.Column("sealed_value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('tunery.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "data_key_id"],
            ["data_keys.tenant_id", "data_keys.id"],
            name=op.f("fk_secrets_tenant_id_data_key_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_secrets_tenant_id_id")),
    )
    protect("secrets", app="SELECT, INSERT, DELETE")


def _make_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("signature", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('tunery.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sa.UniqueConstraint("tenant_id", "number", name=op.f("uq_erasures_tenant_id_number")),
    )
    op.create_index(op.f("ix_erasures_tenant_id_id"), "erasures", ["tenant_id", "id"])
    protect("erasures", app="SELECT, INSERT")
