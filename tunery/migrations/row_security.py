"""The words in which migrations protect a table: row-level security, FORCEd, and what each role may do."""

from alembic import op

from tunery.core.database import APPLICATION_ROLE, CURRENT_TENANT, DISPATCHER_ROLE, NODE_ROLE

TENANT = f"(SELECT {CURRENT_TENANT})"
"""As a scalar subselect it is evaluated once per statement, not once per row."""


def protect(table: str, *, app: str, tenant_column: str = "tenant_id", also_readable: str | None = None) -> None:
    """Bind the application role to its tenant's rows, with the privileges `app` (e.g. "SELECT, INSERT").

    `also_readable` is SQL for rows of other tenants that may be read; it must be false when no tenant is set.
    """
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    own = f"{tenant_column} = {TENANT}"
    op.execute(f"CREATE POLICY own_rows ON {table} TO {APPLICATION_ROLE} USING ({own}) WITH CHECK ({own})")
    if also_readable is not None:
        op.execute(f"CREATE POLICY also_readable ON {table} FOR SELECT TO {APPLICATION_ROLE} USING ({also_readable})")
    op.execute(f"GRANT {app} ON {table} TO {APPLICATION_ROLE}")


def let_dispatcher(table: str, privileges: str) -> None:
    """Give the dispatcher role these privileges on every tenant's rows of the table."""
    op.execute(f"GRANT {privileges} ON {table} TO {DISPATCHER_ROLE}")
    op.execute(f"CREATE POLICY dispatcher ON {table} TO {DISPATCHER_ROLE} USING (true) WITH CHECK (true)")


def let_node(table: str, privileges: str, *, rows: str, new_rows: str | None = None) -> None:
    """Give the nodes' role these privileges on the rows that the SQL `rows` is true of, or `new_rows` of those that it
    writes.
    """
    op.execute(f"GRANT {privileges} ON {table} TO {NODE_ROLE}")
    op.execute(f"CREATE POLICY node ON {table} TO {NODE_ROLE} USING ({rows}) WITH CHECK ({new_rows or rows})")


def share(table: str, *, app: str | None = None, dispatcher: str | None = None, node: str | None = None) -> None:
    """A global table: no rows of tenants in it, no row-level security; only these privileges."""
    if app is not None:
        op.execute(f"GRANT {app} ON {table} TO {APPLICATION_ROLE}")
    if dispatcher is not None:
        op.execute(f"GRANT {dispatcher} ON {table} TO {DISPATCHER_ROLE}")
    if node is not None:
        op.execute(f"GRANT {node} ON {table} TO {NODE_ROLE}")
