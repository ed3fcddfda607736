"""Row-level security and grants: what each role may see and do."""

from alembic import op

from tunery.core.database import API_KEY_SETTING, APPLICATION_ROLE, DISPATCHER_ROLE
from tunery.migrations.row_security import TENANT, let_dispatcher, protect, share

revision = "0002"
down_revision = "0001"

PRESENTED_KEY = f"(SELECT decode(nullif(current_setting('{API_KEY_SETTING}', true), ''), 'hex'))"
ORDERED = "EXISTS (SELECT FROM purchases p WHERE p.listing_id = listings.id)"
"""Whoever ordered a listing goes on seeing what it was; its files are another matter, of entitlements."""


def upgrade() -> None:
    op.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {APPLICATION_ROLE}, {DISPATCHER_ROLE}")

    protect("tenants", app="SELECT, INSERT, UPDATE", tenant_column="id")
    protect("members", app="SELECT, INSERT, UPDATE")
    # Whoever presents a key may see that key's row, and learns from it which tenant to act for.
    protect("api_keys", app="SELECT, INSERT, UPDATE", also_readable=f"digest = {PRESENTED_KEY}")
    protect("idempotency_keys", app="SELECT, INSERT, UPDATE")
    protect("outbox", app="SELECT, INSERT")
    let_dispatcher("outbox", "SELECT, INSERT, UPDATE, DELETE")

    protect("tenant_keys", app="SELECT, INSERT")
    protect("data_keys", app="SELECT, INSERT, DELETE")
    share("signing_keys", app="SELECT")

    protect("subscriptions", app="SELECT, INSERT, UPDATE")
    protect("accounts", app="SELECT, INSERT, UPDATE")
    protect("ledger_entries", app="SELECT, INSERT")
    protect("reservations", app="SELECT, INSERT, UPDATE")
    let_dispatcher("reservations", "SELECT")
    protect("usage_events", app="SELECT, INSERT")
    share("stripe_events", dispatcher="SELECT, INSERT, UPDATE")

    share("base_models", app="SELECT", dispatcher="SELECT")
    share("nodes", app="SELECT", dispatcher="SELECT, INSERT, UPDATE, DELETE")
    protect("data_sets", app="SELECT, INSERT, UPDATE")
    protect("quotes", app="SELECT, INSERT")
    protect("training_jobs", app="SELECT, INSERT, UPDATE")
    # Leasing looks at every tenant's jobs, and writes nothing but the lease.
    let_dispatcher("training_jobs", "SELECT, UPDATE (lease_token, lease_node, lease_expires_at, lost_leases)")
    protect("training_events", app="SELECT, INSERT")
    protect("checkpoints", app="SELECT, INSERT")
    protect("adapters", app="SELECT, INSERT")
    protect("adapter_versions", app="SELECT, INSERT")

    protect("sellers", app="SELECT, INSERT, UPDATE", also_readable=f"{TENANT} IS NOT NULL")
    protect("purchases", app="SELECT, INSERT, UPDATE")
    protect("entitlements", app="SELECT, INSERT, UPDATE")
    published = f"{TENANT} IS NOT NULL AND status = 'published'"
    protect("listings", app="SELECT, INSERT, UPDATE", also_readable=f"({published}) OR {ORDERED}")
    of_a_visible_listing = "EXISTS (SELECT FROM listings l WHERE l.id = listing_versions.listing_id)"
    protect("listing_versions", app="SELECT, INSERT", also_readable=of_a_visible_listing)
    protect("sales", app="SELECT, INSERT")

    protect("deployments", app="SELECT, INSERT, UPDATE")
