from datetime import datetime
from uuid import UUID

from pgvector import SparseVector
from pgvector.sqlalchemy import HALFVEC, SPARSEVEC
from sqlalchemy import (
    REAL,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import CURRENT_TENANT, Identified, Table, TenantOwned

EMBEDDING_MODEL_SHAPE = "^[A-Za-z0-9._/:-]{1,100}$"
"""Names of embedding models stand as literals in statements and in the conditions of indexes."""

TERM_NUMBERS = 1_000_000_000
"""How many pgvector's sparse vectors have room for."""


class MemoryStore(Table):
    """How a tenant's memories are kept and searched. One row per tenant, made at first use."""

    __tablename__ = "memory_stores"
    __table_args__ = (
        CheckConstraint("search IN ('open', 'sealed')", name="search"),
        CheckConstraint(f"embedding_model ~ '{EMBEDDING_MODEL_SHAPE}'", name="embedding_model"),
        CheckConstraint("shelf >= 0", name="shelf"),
        Index("uq_memory_stores_shelf", "shelf", unique=True, postgresql_where=text("shelf > 0")),
    )

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text(CURRENT_TENANT))
    search: Mapped[str] = mapped_column(server_default="open")
    """open: embeddings and keyed hashes of words stand in the index. sealed: they are sealed, too, and are compared in
    the API's process.
    """
    embedding_model: Mapped[str | None]
    """What recall searches now. None until the first memory is embedded."""
    dimensions: Mapped[int | None] = mapped_column(SmallInteger)
    """How many numbers an embedding of that model has."""
    shelf: Mapped[int] = mapped_column(Integer, server_default="0")
    """Where in the index new rows go. 0 is shared, all others are one tenant's own."""
    moving: Mapped[bool] = mapped_column(server_default=text("false"))
    """Rows may still lie on shelf 0."""
    switching: Mapped[bool] = mapped_column(server_default=text("false"))
    """Some memories may still be kept in the other way than `search` says."""
    incomplete: Mapped[bool] = mapped_column(server_default=text("false"))
    """Some memories may have no embedding of the model: the sweep looks."""
    claimed_until: Mapped[datetime | None]
    """A worker mends it until then: others need not embed the same."""


class Subject(Identified, TenantOwned, Table):
    """A person whom memories are about. Erased, the row stays without a name."""

    __tablename__ = "subjects"
    __table_args__ = (
        UniqueConstraint("tenant_id", "digest"),
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "data_key_id"], ["data_keys.tenant_id", "data_keys.id"]),
        Index("ix_subjects_living", "data_key_id", postgresql_where=text("erased_at IS NULL")),
        Index(
            "ix_subjects_erased_digest",
            "tenant_id",
            "erased_digest",
            postgresql_where=text("erased_digest IS NOT NULL"),
        ),
    )

    digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    """HMAC-SHA-256 of the caller's name for the person, under the tenant's key for `subject names`. None: erased."""
    sealed_name: Mapped[bytes | None] = mapped_column(LargeBinary)
    data_key_id: Mapped[UUID]
    """Seals everything of this person."""
    created_at: Mapped[datetime]
    erased_at: Mapped[datetime | None]
    erased_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    """What `digest` was, for a while: what was on its way when they were erased must not make them anew."""


class Memory(Identified, TenantOwned, Table):
    """One thing worth knowing about a subject."""

    __tablename__ = "memories"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "subject_id"], ["subjects.tenant_id", "subjects.id"]),
        ForeignKeyConstraint(["tenant_id", "merged_into"], ["memories.tenant_id", "memories.id"]),
        ForeignKeyConstraint(["tenant_id", "conversation_id"], ["conversations.tenant_id", "conversations.id"]),
        CheckConstraint("kind IN ('fact', 'preference', 'episode', 'instruction')", name="kind"),
        CheckConstraint("importance BETWEEN 0 AND 1", name="importance"),
        CheckConstraint("source IN ('api', 'chat', 'import')", name="source"),
        CheckConstraint("seen > 0", name="seen"),
        Index(None, "tenant_id", "subject_id", "id"),
        Index(
            "ix_memories_fact", "tenant_id", "subject_id", "fact_digest",
            postgresql_where=text("fact_digest IS NOT NULL"),
        ),
        Index("ix_memories_fingerprint", "tenant_id", "subject_id", "fingerprint"),
        Index("ix_memories_merged_into", "tenant_id", "merged_into", postgresql_where=text("merged_into IS NOT NULL")),
        Index(
            "ix_memories_conversation", "tenant_id", "conversation_id",
            postgresql_where=text("conversation_id IS NOT NULL"),
        ),
        Index("ix_memories_expiring", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )  # fmt: skip

    subject_id: Mapped[UUID]
    agent: Mapped[str]
    kind: Mapped[str]
    sealed_content: Mapped[bytes] = mapped_column(LargeBinary)
    """JSON: text, provenance, the fact's key."""
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    """HMAC of the normalised text under the subject's key: the same text again has the same."""
    fact_digest: Mapped[bytes | None] = mapped_column(LargeBinary)
    """HMAC of agent and fact key: a newer fact of the same key ends the older one's validity."""
    source: Mapped[str]
    importance: Mapped[float] = mapped_column(REAL)
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]
    """Of a fact with a key the earlier one of `told_valid_to` and the beginning of the next fact."""
    told_valid_to: Mapped[datetime | None]
    """The end that the caller told of a fact with a key: it stays when the next one is forgotten."""
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    seen: Mapped[int] = mapped_column(Integer, server_default="1")
    """How often it was said."""
    merged_into: Mapped[UUID | None]
    """The older memory that says the same. Recall leaves this one out, and the index doesn't have it."""
    to_compare: Mapped[bool] = mapped_column(server_default=text("false"))
    """Stored without an embedding: when it gets one, it is compared with what was there before."""
    conversation_id: Mapped[UUID | None]
    sealed_embedding: Mapped[bytes | None] = mapped_column(LargeBinary)
    """In sealed stores only, as is the next."""
    embedding_model: Mapped[str | None]

    def holds_within(self, start: datetime, end: datetime | None) -> bool:
        """Whether it is valid at some time from `start` to before `end`; None is never."""
        return overlap(self.valid_from, self.valid_to, start, end)


class Conversation(Identified, TenantOwned, Table):
    """What was said, sealed as a whole."""

    __tablename__ = "conversations"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "subject_id"], ["subjects.tenant_id", "subjects.id"]),
        Index(None, "tenant_id", "subject_id", "id"),
    )

    subject_id: Mapped[UUID]
    agent: Mapped[str]
    sealed_messages: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class IndexedMemory(TenantOwned, Table):
    """What search reads of a memory, once per embedding model. Derived: it can be made again from the sealed texts.

    Partitioned by shelf. Write it through `tunery.memory.index`, which knows the shelves.
    """

    __tablename__ = "memory_index"
    __table_args__ = (
        CheckConstraint(f"embedding_model ~ '^$|{EMBEDDING_MODEL_SHAPE}'", name="embedding_model"),
        Index(None, "tenant_id", "embedding_model", "subject_id", "shelf"),
        Index(
            "ix_memory_index_narrow", "tenant_id", "embedding_model", "subject_id",
            postgresql_include=[
                "shelf", "agent", "kind", "valid_from", "valid_to", "expires_at", "created_at", "memory_id",
                "dimensions", "terms", "embedding",
            ],
            postgresql_where=text("narrow"),
        ),
        Index(
            "ix_memory_index_wide", "tenant_id", "embedding_model", "subject_id", postgresql_where=text("NOT narrow")
        ),
        {"postgresql_partition_by": "LIST (shelf)"},
    )  # fmt: skip

    shelf: Mapped[int] = mapped_column(Integer, primary_key=True)
    memory_id: Mapped[UUID] = mapped_column(primary_key=True)
    embedding_model: Mapped[str] = mapped_column(primary_key=True)
    """'' where there is none."""
    subject_id: Mapped[UUID]
    agent: Mapped[str]
    kind: Mapped[str]
    dimensions: Mapped[int | None] = mapped_column(SmallInteger)
    embedding: Mapped[list[float] | None] = mapped_column(HALFVEC())
    """Unit length."""
    terms: Mapped[SparseVector] = mapped_column(SPARSEVEC(TERM_NUMBERS))
    """1 at the keyed hash of each of its stemmed words."""
    narrow: Mapped[bool]
    """Whether all that search reads of it fits into an entry of a b-tree."""
    valid_from: Mapped[datetime]
    valid_to: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class MemoryTerm(Table):
    """Which memories of a tenant with a shelf of its own have a word: the list that a scan of them all is too slow for.

    An index over the terms themselves (GIN) can't be used under row-level security: its operators aren't leakproof.
    """

    __tablename__ = "memory_terms"
    __table_args__ = (Index(None, "tenant_id", "memory_id"),)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text(CURRENT_TENANT))
    term: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    memory_id: Mapped[UUID] = mapped_column(primary_key=True)


def overlap(valid_from: datetime, valid_to: datetime | None, start: datetime, end: datetime | None) -> bool:
    """Whether two spans have a moment in common. Ends are not part of them; None is never."""
    begins_in_time = valid_from <= start or end is None or valid_from < end
    return begins_in_time and (valid_to is None or valid_to > start)
