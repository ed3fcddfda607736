"""Public reads cost PostgreSQL little more than SQL without access control: each view reads one table.

The versions of a listing know themselves whether it is published, so that their view has nothing to join: the foreign
key carries the listing's status to them and refuses any other. Sellers get a view, past row-level security. Prices and
versions' numbers fit GraphQL's Int by their type; nobody has to look.

What everybody sees hangs on rows of its own tenant alone: a version on a listing, a listing on an adapter and a seller,
a seller's namespace on the tenant's slug.
"""

from alembic import op

from tunery.core.database import APPLICATION_ROLE

revision = "0004"
down_revision = "0003"

COMPARED = ("tenants", "adapters", "sellers", "listings", "listing_versions")
"""Their rows are compared here, all of them, by an owner whom row-level security may bind."""


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.execute("DROP VIEW published_listings, published_listing_versions")
    op.execute("ALTER TABLE listings ALTER COLUMN price TYPE integer")
    op.execute("ALTER TABLE tenants ADD CONSTRAINT uq_tenants_id_slug UNIQUE (id, slug)")
    op.execute("ALTER TABLE adapters ADD CONSTRAINT uq_adapters_tenant_id_id UNIQUE (tenant_id, id)")
    op.execute("ALTER TABLE listings ADD CONSTRAINT uq_listings_tenant_id_id_status UNIQUE (tenant_id, id, status)")
    op.execute(
        "ALTER TABLE listing_versions ALTER COLUMN number TYPE integer,"
        " ADD COLUMN listing_status text NOT NULL DEFAULT 'published'"
    )
    for table in COMPARED:
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE listing_versions SET listing_status = l.status FROM listings l"
        " WHERE l.id = listing_versions.listing_id AND l.status <> 'published'"
    )
    op.execute(
        "ALTER TABLE listing_versions DROP CONSTRAINT fk_listing_versions_listing_id,"
        " ADD CONSTRAINT fk_listing_versions_tenant_id_listing_id_listing_status"
        " FOREIGN KEY (tenant_id, listing_id, listing_status) REFERENCES listings (tenant_id, id, status)"
        " ON UPDATE CASCADE"
    )
    op.execute(
        "ALTER TABLE listings DROP CONSTRAINT fk_listings_adapter_id, ADD CONSTRAINT fk_listings_tenant_id_adapter_id"
        " FOREIGN KEY (tenant_id, adapter_id) REFERENCES adapters (tenant_id, id),"
        " ADD CONSTRAINT fk_listings_tenant_id_sellers FOREIGN KEY (tenant_id) REFERENCES sellers (tenant_id)"
    )
    op.execute(
        "ALTER TABLE sellers ADD CONSTRAINT fk_sellers_tenant_id_namespace"
        " FOREIGN KEY (tenant_id, namespace) REFERENCES tenants (id, slug)"
    )
    for table in COMPARED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute("CREATE POLICY catalogue ON sellers FOR SELECT TO CURRENT_USER USING (true)")
    op.execute(
        "CREATE VIEW published_listings AS SELECT id, tenant_id, name, base_model, title, description, licence, price,"
        " currency, status, published_at, search FROM listings WHERE status = 'published'"
    )
    op.execute(
        "CREATE VIEW published_listing_versions AS SELECT id, listing_id, number, digest, base_model, manifest,"
        " created_at FROM listing_versions WHERE listing_status = 'published'"
    )
    op.execute("CREATE VIEW public_sellers AS SELECT tenant_id, namespace, name FROM sellers")
    for view in ("published_listings", "published_listing_versions", "public_sellers"):
        op.execute(f"GRANT SELECT ON {view} TO {APPLICATION_ROLE}")
