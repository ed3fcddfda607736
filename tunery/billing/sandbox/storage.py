"""The sandbox's state: one SQLite file with a generic table of resources.

A resource is the JSON document the API shows, plus a `private` one that it never shows (a signing secret, what a test
card will do). New resource types need no new table. All access happens on the event loop's thread, each request in
one transaction, so requests are serialised exactly as Stripe's object locks would.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tunery.billing.sandbox.errors import Document

_SCHEMA = """
CREATE TABLE IF NOT EXISTS resources (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    object TEXT NOT NULL,
    id TEXT NOT NULL,
    parent TEXT,
    document TEXT NOT NULL,
    private TEXT NOT NULL,
    deleted INTEGER NOT NULL DEFAULT 0,
    UNIQUE (account, object, id)
);
CREATE INDEX IF NOT EXISTS resources_by_object ON resources (account, object, sequence);
CREATE INDEX IF NOT EXISTS resources_by_parent ON resources (account, parent, object) WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS timers (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    resource_id TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS timers_by_due_at ON timers (due_at);
CREATE TABLE IF NOT EXISTS idempotency_keys (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    request_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE TABLE IF NOT EXISTS deliveries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    event TEXT NOT NULL,
    webhook_endpoint TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'failed', 'cancelled')),
    attempts INTEGER NOT NULL DEFAULT 0,
    enqueued_at REAL NOT NULL,
    next_attempt_at REAL NOT NULL,
    last_status INTEGER,
    last_error TEXT
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (next_attempt_at) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_by_event ON deliveries (event);
"""

_OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


@dataclass
class Record:
    """One stored resource. `sequence` orders resources by creation; ids do not."""

    sequence: int
    id: str
    document: Document
    private: Document = field(default_factory=dict)
    deleted: bool = False


@dataclass(frozen=True)
class Condition:
    """A test on a field of the document: `Condition("created", "gte", 17)`. `path` comes from code, never a client."""

    path: str
    operator: str
    value: str | int | bool | tuple[str, ...]

    def sql(self) -> tuple[str, list[Any]]:
        column = f"json_extract(document, '$.{self.path}')"
        if isinstance(self.value, tuple):
            return f"{column} IN ({', '.join('?' * len(self.value))})", list(self.value)
        return f"{column} {_OPERATORS[self.operator]} ?", [self.value]


class Store:
    """Opens (and creates) the database `data`, a file path or `:memory:`."""

    def __init__(self, data: str) -> None:
        # The app may be built on another thread than its event loop's, and is used by one of them at a time.
        self.connection = sqlite3.connect(data, isolation_level=None, check_same_thread=False)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute("PRAGMA synchronous = NORMAL")
        self.connection.execute("PRAGMA busy_timeout = 5000")
        self.connection.executescript(_SCHEMA)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commits on leaving, rolls back on an exception. Not nested: see `savepoint`."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undoes only what happened inside it when an exception leaves it; the transaction goes on."""
        self.connection.execute("SAVEPOINT operation")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK TO operation")
            self.connection.execute("RELEASE operation")
            raise
        self.connection.execute("RELEASE operation")

    def insert(self, account: str, document: Document, private: Document, parent: str | None) -> None:
        """Raises sqlite3.IntegrityError when the id is taken."""
        self.connection.execute(
            "INSERT INTO resources (account, object, id, parent, document, private) VALUES (?, ?, ?, ?, ?, ?)",
            (account, document["object"], document["id"], parent, json.dumps(document), json.dumps(private)),
        )

    def read(self, account: str, object_name: str, resource_id: str) -> Record | None:
        row = self.connection.execute(
            "SELECT sequence, id, document, private, deleted FROM resources "
            "WHERE account = ? AND object = ? AND id = ?",
            (account, object_name, resource_id),
        ).fetchone()
        return None if row is None else _record(row)

    def write(self, account: str, document: Document, private: Document | None = None) -> None:
        self.connection.execute(
            "UPDATE resources SET document = ?, private = coalesce(?, private) "
            "WHERE account = ? AND object = ? AND id = ?",
            (
                json.dumps(document),
                None if private is None else json.dumps(private),
                account,
                document["object"],
                document["id"],
            ),
        )

    def mark_deleted(self, account: str, object_name: str, resource_id: str) -> None:
        """The row stays: a deleted customer is still readable as `{"id", "object", "deleted": true}`."""
        self.connection.execute(
            "UPDATE resources SET deleted = 1 WHERE account = ? AND object = ? AND id = ?",
            (account, object_name, resource_id),
        )

    def select(
        self,
        account: str,
        object_name: str,
        conditions: Sequence[Condition] = (),
        *,
        parent: str | None = None,
        older_than: int | None = None,
        newer_than: int | None = None,
        limit: int | None = None,
        oldest_first: bool = False,
    ) -> list[Record]:
        """Live resources of one type, newest first unless `oldest_first`; bounds are exclusive sequences."""
        clauses = ["account = ?", "object = ?", "deleted = 0"]
        values: list[Any] = [account, object_name]
        if parent is not None:
            clauses.append("parent = ?")
            values.append(parent)
        for condition in conditions:
            clause, operands = condition.sql()
            clauses.append(clause)
            values.extend(operands)
        if older_than is not None:
            clauses.append("sequence < ?")
            values.append(older_than)
        if newer_than is not None:
            clauses.append("sequence > ?")
            values.append(newer_than)
        statement = (
            "SELECT sequence, id, document, private, deleted FROM resources WHERE "  # noqa: S608 - clauses are code
            f"{' AND '.join(clauses)} ORDER BY sequence {'ASC' if oldest_first else 'DESC'} LIMIT ?"
        )
        rows = self.connection.execute(statement, [*values, -1 if limit is None else limit]).fetchall()
        return [_record(row) for row in rows]

    def add_timer(self, account: str, due_at: int, kind: str, resource_id: str) -> None:
        self.connection.execute(
            "INSERT INTO timers (account, due_at, kind, resource_id) VALUES (?, ?, ?, ?)",
            (account, due_at, kind, resource_id),
        )

    def has_due_timer(self, now: int) -> bool:
        found = self.connection.execute("SELECT EXISTS (SELECT 1 FROM timers WHERE due_at <= ?)", (now,)).fetchone()
        return bool(found[0])

    def pop_due_timer(self, now: int) -> tuple[str, int, str, str]:
        """Takes the earliest timer that is due out of the table: `(account, due_at, kind, resource_id)`."""
        sequence, *timer = self.connection.execute(
            "SELECT sequence, account, due_at, kind, resource_id FROM timers WHERE due_at <= ? "
            "ORDER BY due_at, sequence LIMIT 1",
            (now,),
        ).fetchone()
        self.connection.execute("DELETE FROM timers WHERE sequence = ?", (sequence,))
        account, due_at, kind, resource_id = timer
        return account, due_at, kind, resource_id


def _record(row: tuple[int, str, str, str, int]) -> Record:
    return Record(row[0], row[1], json.loads(row[2]), json.loads(row[3]), bool(row[4]))
