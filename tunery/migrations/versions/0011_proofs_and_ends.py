"""Destroyed keys stay destroyed and untagged ones out; facts keep the end that they were told with; erased names stay
known for a while.
"""

from alembic import op

from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE

revision = "0011"
down_revision = "0010"

FILLED = ("data_keys", "memories")
"""Their rows are filled here, all of them, by an owner whom row-level security may bind."""


def upgrade() -> None:
    op.execute("SET lock_timeout = '5s'")
    for table in FILLED:
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    # So long is what HPKE alone makes of a data key, in either suite.
    op.execute(
        "UPDATE data_keys SET fingerprint = left(encode(sha256(wrapped_key), 'hex'), 32)"
        " WHERE length(wrapped_key) IN (1168, 1713)"
    )
    _let_facts_keep_their_ends()
    for table in FILLED:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    _let_destroyed_keys_stay_destroyed()
    _keep_erased_names_for_a_while()
    _let_shelves_be_emptied()
    op.execute("ALTER TABLE memory_stores DROP COLUMN language")


def _let_facts_keep_their_ends() -> None:
    """An end at which the next fact begins is that fact's doing."""
    op.execute("ALTER TABLE memories ADD COLUMN told_valid_to timestamptz")
    op.execute(
        "UPDATE memories SET told_valid_to = valid_to WHERE fact_digest IS NOT NULL AND NOT EXISTS ("
        "SELECT FROM memories next"
        " WHERE next.tenant_id = memories.tenant_id AND next.fact_digest = memories.fact_digest"
        " AND next.valid_from = memories.valid_to AND next.id <> memories.id)"
    )


def _let_destroyed_keys_stay_destroyed() -> None:
    """Whoever copied a key's row before it was destroyed can't write the copy back. Restoring a backup can."""
    op.execute(
        "CREATE FUNCTION refuse_destroyed_key() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'this key is destroyed' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for table in ("tenant_keys", "data_keys"):
        op.execute(
            f"CREATE TRIGGER stays_destroyed BEFORE UPDATE ON {table} FOR EACH ROW WHEN (OLD.destroyed_at IS NOT NULL)"
            " EXECUTE FUNCTION refuse_destroyed_key()"
        )
    # A fingerprint of the wrapped key itself says that there is no tag, which only the holder of the root key makes.
    # The rows that are here without one have such fingerprints, and `vault.keyring` opens them.
    op.execute(
        "CREATE FUNCTION refuse_untagged_key() RETURNS trigger LANGUAGE plpgsql AS $$"
        " BEGIN RAISE EXCEPTION 'this key has no tag' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    op.execute(
        "CREATE TRIGGER is_tagged BEFORE INSERT OR UPDATE OF wrapped_key ON data_keys FOR EACH ROW"
        " WHEN (NEW.fingerprint = left(encode(sha256(NEW.wrapped_key), 'hex'), 32)"
        f" AND current_user = '{APPLICATION_ROLE}')"
        " EXECUTE FUNCTION refuse_untagged_key()"
    )


def _keep_erased_names_for_a_while() -> None:
    op.execute("ALTER TABLE subjects ADD COLUMN erased_digest bytea")
    op.execute(
        "CREATE INDEX ix_subjects_erased_digest ON subjects (tenant_id, erased_digest) WHERE erased_digest IS NOT NULL"
    )
    # The sweep forgets them.
    op.execute(f"GRANT SELECT (erased_digest), UPDATE (erased_digest) ON subjects TO {DISPATCHER_ROLE}")


def _let_shelves_be_emptied() -> None:
    """It is for `memory.shelves` to see that nobody has the shelf any more: under row-level security the function's
    owner can't.
    """
    op.execute(
        """
        CREATE FUNCTION memory_shelves.empty(shelf integer) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '2s' AS $$
        BEGIN
            IF (shelf > 0) IS NOT TRUE THEN
                RAISE EXCEPTION 'shelf %', shelf USING ERRCODE = 'invalid_parameter_value';
            END IF;
            EXECUTE format('TRUNCATE memory_shelves.%I', format('shelf_%s', shelf));
        END $$
        """
    )
    op.execute("REVOKE ALL ON FUNCTION memory_shelves.empty FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION memory_shelves.empty TO {DISPATCHER_ROLE}")
