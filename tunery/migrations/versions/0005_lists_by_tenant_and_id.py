"""A list's page comes from an index in the list's order. Indexes on the tenant alone go where others begin with it."""

from alembic import op

revision = "0005"
down_revision = "0004"

LISTED = ("api_keys", "data_sets", "deployments", "purchases", "sales", "training_jobs")
KEYED = (
    "adapters", "entitlements", "ledger_entries", "listings", "members", "reservations", "tenant_keys", "usage_events",
)  # fmt: skip
"""They have a unique key, or an index for another purpose, that begins with the tenant."""


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    for table in LISTED:
        op.create_index(f"ix_{table}_tenant_id_id", table, ["tenant_id", "id"])
    for table in (*LISTED, *KEYED):
        op.drop_index(f"ix_{table}_tenant_id", table)
