"""Memory: subjects, sealed memories, and an index partitioned by shelf.

Shelves lie in a schema of their own that no role but the owner may use: all reading and writing goes through
`memory_index`, under its policy. Making a shelf, and the index over its embeddings, is DDL; the dispatcher role may do
just that, by two functions.
"""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC

from tunery.core.database import APPLICATION_ROLE, CURRENT_TENANT, DISPATCHER_ROLE
from tunery.migrations.row_security import TENANT, let_dispatcher, protect

revision = "0007"
down_revision = "0006"

MODEL_SHAPE = "^[A-Za-z0-9._/:-]{1,100}$"
EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    _make_stores()
    _make_subjects()
    _make_conversations()
    _make_memories()
    _make_index()
    _make_terms()
    _let_shelves_be_made()


def _tenant_id() -> sa.Column[object]:
    return sa.Column("tenant_id", sa.Uuid(), server_default=sa.text(CURRENT_TENANT), nullable=False)


def _id() -> sa.Column[object]:
    return sa.Column("id", sa.Uuid(), server_default=sa.text("uuidv7()"), nullable=False)


def _time(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _make_stores() -> None:
    op.create_table(
        "memory_stores",
        _tenant_id(),
        sa.Column("search", sa.Text(), server_default="open", nullable=False),
        sa.Column("language", sa.Text(), server_default="english", nullable=False),
        sa.Column("embedding_model", sa.Text(), nullable=True),
        sa.Column("dimensions", sa.SmallInteger(), nullable=True),
        sa.Column("shelf", sa.Integer(), server_default="0", nullable=False),
        sa.Column("moving", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("switching", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("incomplete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        _time("claimed_until", nullable=True),
        sa.CheckConstraint("search IN ('open', 'sealed')", name=op.f("ck_memory_stores_search")),
        sa.CheckConstraint(f"embedding_model ~ '{MODEL_SHAPE}'", name=op.f("ck_memory_stores_embedding_model")),
        sa.CheckConstraint("shelf >= 0", name=op.f("ck_memory_stores_shelf")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_memory_stores")),
    )
    # A shelf of one's own is nobody else's.
    op.execute("CREATE UNIQUE INDEX uq_memory_stores_shelf ON memory_stores (shelf) WHERE shelf > 0")
    protect("memory_stores", app=EVERYTHING)
    let_dispatcher("memory_stores", "SELECT, UPDATE (shelf, moving)")


def _make_subjects() -> None:
    op.create_table(
        "subjects",
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_name", sa.LargeBinary(), nullable=True),
        sa.Column("data_key_id", sa.Uuid(), nullable=False),
        _time("created_at"),
        _time("erased_at", nullable=True),
        _id(),
        _tenant_id(),
        sa.ForeignKeyConstraint(
            ["tenant_id", "data_key_id"],
            ["data_keys.tenant_id", "data_keys.id"],
            name=op.f("fk_subjects_tenant_id_data_key_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subjects")),
        sa.UniqueConstraint("tenant_id", "digest", name=op.f("uq_subjects_tenant_id_digest")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_subjects_tenant_id_id")),
    )
    op.execute("CREATE INDEX ix_subjects_living ON subjects (data_key_id) WHERE erased_at IS NULL")
    protect("subjects", app=EVERYTHING)
    # To find the subjects whose key is destroyed, and who are not erased: those of a backup that was restored.
    let_dispatcher("subjects", "SELECT (id, tenant_id, data_key_id, erased_at)")


def _make_conversations() -> None:
    op.create_table(
        "conversations",
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("sealed_messages", sa.LargeBinary(), nullable=False),
        _time("created_at"),
        _id(),
        _tenant_id(),
        sa.ForeignKeyConstraint(
            ["tenant_id", "subject_id"],
            ["subjects.tenant_id", "subjects.id"],
            name=op.f("fk_conversations_tenant_id_subject_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversations")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_conversations_tenant_id_id")),
    )
    op.create_index(
        op.f("ix_conversations_tenant_id_subject_id_id"), "conversations", ["tenant_id", "subject_id", "id"]
    )
    protect("conversations", app=EVERYTHING)


def _make_memories() -> None:
    op.create_table(
        "memories",
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sealed_content", sa.LargeBinary(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("fact_digest", sa.LargeBinary(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("importance", sa.REAL(), nullable=False),
        _time("valid_from"),
        _time("valid_to", nullable=True),
        _time("expires_at", nullable=True),
        _time("created_at"),
        _time("last_seen_at"),
        sa.Column("seen", sa.Integer(), server_default="1", nullable=False),
        sa.Column("merged_into", sa.Uuid(), nullable=True),
        sa.Column("to_compare", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("conversation_id", sa.Uuid(), nullable=True),
        sa.Column("sealed_embedding", sa.LargeBinary(), nullable=True),
        sa.Column("embedding_model", sa.Text(), nullable=True),
        _id(),
        _tenant_id(),
        sa.CheckConstraint("kind IN ('fact', 'preference', 'episode', 'instruction')", name=op.f("ck_memories_kind")),
        sa.CheckConstraint("importance BETWEEN 0 AND 1", name=op.f("ck_memories_importance")),
        sa.CheckConstraint("source IN ('api', 'chat', 'import')", name=op.f("ck_memories_source")),
        sa.CheckConstraint("seen > 0", name=op.f("ck_memories_seen")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "subject_id"],
            ["subjects.tenant_id", "subjects.id"],
            name=op.f("fk_memories_tenant_id_subject_id"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "merged_into"],
            ["memories.tenant_id", "memories.id"],
            name=op.f("fk_memories_tenant_id_merged_into"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "conversation_id"],
            ["conversations.tenant_id", "conversations.id"],
            name=op.f("fk_memories_tenant_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_memories")),
        sa.UniqueConstraint("tenant_id", "id", name=op.f("uq_memories_tenant_id_id")),
    )
    op.create_index(op.f("ix_memories_tenant_id_subject_id_id"), "memories", ["tenant_id", "subject_id", "id"])
    for name, columns, condition in (
        ("ix_memories_fact", "tenant_id, subject_id, fact_digest", "WHERE fact_digest IS NOT NULL"),
        ("ix_memories_fingerprint", "tenant_id, subject_id, fingerprint", ""),
        ("ix_memories_merged_into", "tenant_id, merged_into", "WHERE merged_into IS NOT NULL"),
        ("ix_memories_conversation", "tenant_id, conversation_id", "WHERE conversation_id IS NOT NULL"),
        ("ix_memories_expiring", "expires_at", "WHERE expires_at IS NOT NULL"),
    ):
        op.execute(f"CREATE INDEX {name} ON memories ({columns}) {condition}")
    protect("memories", app=EVERYTHING)
    let_dispatcher("memories", "SELECT (id, tenant_id, expires_at)")


def _make_index() -> None:
    op.create_table(
        "memory_index",
        sa.Column("shelf", sa.Integer(), nullable=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        sa.Column("embedding_model", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.SmallInteger(), nullable=True),
        sa.Column("embedding", HALFVEC(), nullable=True),
        sa.Column("terms", SPARSEVEC(1_000_000_000), nullable=False),
        sa.Column("narrow", sa.Boolean(), nullable=False),
        _time("valid_from"),
        _time("valid_to", nullable=True),
        _time("expires_at", nullable=True),
        _time("created_at"),
        _tenant_id(),
        sa.CheckConstraint(f"embedding_model ~ '^$|{MODEL_SHAPE}'", name=op.f("ck_memory_index_embedding_model")),
        sa.PrimaryKeyConstraint("shelf", "memory_id", "embedding_model", name=op.f("pk_memory_index")),
        postgresql_partition_by="LIST (shelf)",
    )
    # Equal keys are kept once, so it is small. The shelf is there for counting: rows need not be looked at.
    op.create_index(
        op.f("ix_memory_index_tenant_id_embedding_model_subject_id_shelf"),
        "memory_index",
        ["tenant_id", "embedding_model", "subject_id", "shelf"],
    )
    # A tenant's rows lie scattered over the table, each on a page of its own. In this index they lie side by side, with
    # all that search reads; as far as they fit, for an entry has at most 2,704 bytes.
    op.execute(
        "CREATE INDEX ix_memory_index_narrow ON memory_index (tenant_id, embedding_model, subject_id) INCLUDE (shelf,"
        " agent, kind, valid_from, valid_to, expires_at, created_at, memory_id, dimensions, terms, embedding)"
        " WHERE narrow"
    )
    op.execute(
        "CREATE INDEX ix_memory_index_wide ON memory_index (tenant_id, embedding_model, subject_id) WHERE NOT narrow"
    )
    protect("memory_index", app=EVERYTHING)
    # To count the rows of tenants; not to read them.
    let_dispatcher("memory_index", "SELECT (tenant_id, shelf, embedding_model, dimensions)")


def _make_terms() -> None:
    op.create_table(
        "memory_terms",
        sa.Column("term", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("memory_id", sa.Uuid(), nullable=False),
        _tenant_id(),
        sa.PrimaryKeyConstraint("tenant_id", "term", "memory_id", name=op.f("pk_memory_terms")),
    )
    op.create_index(op.f("ix_memory_terms_tenant_id_memory_id"), "memory_terms", ["tenant_id", "memory_id"])
    protect("memory_terms", app="SELECT, INSERT, DELETE")


def _let_shelves_be_made() -> None:
    op.execute("CREATE SCHEMA memory_shelves")
    op.execute("CREATE SEQUENCE memory_shelves.numbers AS integer MINVALUE 0 START 0")
    op.execute(
        f"""
        CREATE FUNCTION memory_shelves.open() RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
        DECLARE
            number integer := nextval('memory_shelves.numbers');
            shelf text := format('memory_shelves.shelf_%s', number);
        BEGIN
            -- Attached when it is made, a table takes no lock that readers or writers of the others wait for.
            -- Long vectors stay within their rows: there is nothing else to read of them.
            EXECUTE format('CREATE TABLE %s (LIKE public.memory_index INCLUDING DEFAULTS INCLUDING CONSTRAINTS) WITH'
                ' (toast_tuple_target = 8160, autovacuum_vacuum_insert_scale_factor = 0.02,'
                ' autovacuum_analyze_scale_factor = 0.02)', shelf);
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', shelf);
            EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', shelf);
            EXECUTE format($policy$CREATE POLICY own_rows ON %s TO {APPLICATION_ROLE}
                USING (tenant_id = {TENANT}) WITH CHECK (tenant_id = {TENANT})$policy$, shelf);
            EXECUTE format('ALTER TABLE public.memory_index ATTACH PARTITION %s FOR VALUES IN (%s)', shelf, number);
            IF number > 0 THEN
                EXECUTE format('CREATE INDEX shelf_%s_newest ON %s (created_at)', number, shelf);
            END IF;
            RETURN number;
        END $$
        """
    )
    op.execute(
        f"""
        CREATE FUNCTION memory_shelves.index_embeddings(shelf integer, model text, dimensions integer) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
        BEGIN
            IF (shelf > 0 AND model ~ '{MODEL_SHAPE}' AND dimensions BETWEEN 1 AND 4000) IS NOT TRUE THEN
                RAISE EXCEPTION 'shelf %, model %, dimensions %', shelf, model, dimensions
                    USING ERRCODE = 'invalid_parameter_value';
            END IF;
            EXECUTE format(
                'CREATE INDEX IF NOT EXISTS %I ON memory_shelves.%I'
                ' USING hnsw ((embedding::halfvec(%s)) halfvec_ip_ops) WITH (m = 16, ef_construction = 128)'
                ' WHERE embedding_model = %L AND dimensions = %s',
                format('shelf_%s_%s_%s', shelf, dimensions, md5(model)), format('shelf_%s', shelf),
                dimensions, model, dimensions
            );
        END $$
        """
    )
    op.execute("SELECT memory_shelves.open()")
    op.execute("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA memory_shelves FROM PUBLIC")
    op.execute(f"GRANT USAGE ON SCHEMA memory_shelves TO {DISPATCHER_ROLE}")
    op.execute(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA memory_shelves TO {DISPATCHER_ROLE}")
