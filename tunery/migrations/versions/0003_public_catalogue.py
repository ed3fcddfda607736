"""The public window on the marketplace: views on what is published, and the facet by base model.

The views belong to the owner of the tables, whose policy lets it read all rows: their own conditions are the only ones,
so that PostgreSQL may use the full-text index (under row-level security it may not: `@@` is not leakproof).
"""

from alembic import op

from tunery.core.database import APPLICATION_ROLE

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.execute("ALTER TABLE listings ADD COLUMN base_model text")
    op.execute("ALTER TABLE listings DISABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE adapters DISABLE ROW LEVEL SECURITY")
    op.execute(
        "UPDATE listings SET base_model = b.name FROM adapters a JOIN base_models b ON b.id = a.base_model_id"
        " WHERE a.id = listings.adapter_id"
    )
    op.execute("ALTER TABLE adapters ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE listings ENABLE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE listings ALTER COLUMN base_model SET NOT NULL")
    op.execute("CREATE INDEX ix_listings_published ON listings (published_at DESC, id DESC) WHERE status = 'published'")
    for table in ("listings", "listing_versions"):
        op.execute(f"CREATE POLICY catalogue ON {table} FOR SELECT TO CURRENT_USER USING (true)")
    op.execute(
        "CREATE VIEW published_listings AS SELECT id, tenant_id, name, base_model, title, description, licence, price,"
        " currency, status, published_at, search FROM listings WHERE status = 'published'"
    )
    op.execute(
        "CREATE VIEW published_listing_versions AS"
        " SELECT v.id, v.listing_id, v.number, v.digest, v.base_model, v.manifest, v.created_at"
        " FROM listing_versions v JOIN listings l ON l.id = v.listing_id WHERE l.status = 'published'"
    )
    for view in ("published_listings", "published_listing_versions"):
        op.execute(f"GRANT SELECT ON {view} TO {APPLICATION_ROLE}")
