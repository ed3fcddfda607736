"""A role for nodes, which reaches no key, no memory and no ended job, and makes no job."""

from alembic import op

from tunery.core.database import NODE_ROLE
from tunery.migrations.row_security import TENANT, let_node, share

revision = "0010"
down_revision = "0009"

OWN = f"tenant_id = {TENANT}"
LIVING = "status IN ('queued', 'running')"


def upgrade() -> None:
    op.execute(f"GRANT USAGE ON SCHEMA public TO {NODE_ROLE}")
    share("base_models", node="SELECT")
    share("nodes", node="SELECT, INSERT, UPDATE, DELETE")

    # Leasing looks at the jobs of all tenants, and happens in no tenant's context.
    reachable = f"{OWN} OR {TENANT} IS NULL"
    op.execute(f"GRANT SELECT ON training_jobs TO {NODE_ROLE}")
    op.execute(
        "GRANT UPDATE (status, step, total_steps, trained_tokens, started_at, finished_at, error_code, error_message,"
        f" lease_token, lease_node, lease_expires_at, lost_leases) ON training_jobs TO {NODE_ROLE}"
    )
    visible = f"{OWN} OR ({TENANT} IS NULL AND {LIVING})"
    op.execute(f"CREATE POLICY node_sees ON training_jobs FOR SELECT TO {NODE_ROLE} USING ({visible})")
    op.execute(
        f"CREATE POLICY node_works ON training_jobs FOR UPDATE TO {NODE_ROLE}"
        f" USING (({reachable}) AND {LIVING}) WITH CHECK ({reachable})"
    )
    # Whoever leases a job throws away what the lease before was given.
    let_node("lease_grants", "SELECT, INSERT, DELETE", rows=reachable)

    for table in ("quotes", "data_sets", "adapters"):
        let_node(table, "SELECT", rows=OWN)
    let_node("training_events", "SELECT, INSERT", rows=OWN)
    of_living_job = f"EXISTS (SELECT FROM training_jobs WHERE training_jobs.id = job_id AND {LIVING})"
    for table in ("checkpoints", "adapter_versions"):
        let_node(table, "SELECT, INSERT", rows=OWN, new_rows=f"{OWN} AND {of_living_job}")

    # A job is paid from the credit that its quote has reserved. Earnings, and holds of chats, are out of reach.
    of_quote = f"{OWN} AND source LIKE 'quote:%'"
    let_node("usage_events", "SELECT, INSERT", rows=of_quote)
    let_node("reservations", "SELECT, UPDATE (settled, closed_at)", rows=of_quote)
    entries = f"{of_quote} AND account = 'credit' AND kind IN ('usage', 'refund')"
    let_node("ledger_entries", "SELECT, INSERT", rows=entries)
    let_node("accounts", "SELECT, UPDATE (balance, reserved)", rows=f"{OWN} AND kind = 'credit'")

    # What is meant for nodes; and of its own, it asks a worker for a lease's keys, and for nothing else.
    asks = f"({OWN} AND queue = 'tunery:worker' AND task = 'training.grant')"
    let_node(
        "outbox", "SELECT, INSERT, UPDATE (attempts, handled_at, last_error)", rows=f"queue = 'tunery:node' OR {asks}"
    )
