"""Rows for every table that Tunery's schema maps: two tenants', as a generator and not as use cases make them.

Foreign keys are not looked at while they are written, and everything is deleted again.
"""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

import asyncpg
import sqlalchemy as sa
from graphql import GraphQLObjectType
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

from tunery.app.schema import core_schema
from tunery.core.database import Table
from tunery.core.identity import Identity
from tunery.graphql.planner.mapping import mapping_of

NAMESPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
START = datetime(2026, 3, 1, tzinfo=UTC)
TENANTS = {name: uuid5(NAMESPACE, f"tenant {name}") for name in "AB"}
IDENTITIES = {
    name: Identity(TENANTS[name], uuid5(NAMESPACE, f"api_keys {name}0"), uuid5(NAMESPACE, f"members {name}0"))
    for name in "AB"
}
GLOBAL = {"base_models", "signing_keys"}
CHOICES: dict[str, list[Any]] = {
    "listings.status": ["published", "published", "withdrawn"],
    "purchases.status": ["pending", "paid", "expired"],
    "training_jobs.status": ["queued", "running", "succeeded", "failed", "cancelled"],
    "currency": ["usd"],
    "plan": ["free"],
    "api_keys.revoked_at": [None],
    "base_model": ["tunery/tiny", "tunery/small"],
    "spec": [
        {
            "epochs": 1, "learning_rate": 2e-4, "rank": 8, "alpha": 16, "dropout": 0.05, "batch_size": 8, "warmup": 0.03,
            "max_length": 512, "seed": 1, "target_modules": ["q_proj"], "held_out": 0.1, "modules": ["q_proj"],
        }
    ],
    "cancel_requested": [False],
}  # fmt: skip
TEXTS = ["plain", 'say "hi"', "back\\slash", "two\nlines", "é 漢字 🎉", "apache-2.0"]
BLOBS = [{}, {"metrics": {"loss": 1.5, "exact": None}, "ü": ["a", 1, True]}, {"nested": [[{"a": 1e-7}]]}]


def tables() -> list[sa.Table]:
    """That the schema maps, and those that they hang on."""
    found = {"members"}
    for kind in core_schema.type_map.values():
        mapping = mapping_of(kind) if isinstance(kind, GraphQLObjectType) else None
        if mapping is not None:
            found.add(str(mapping.table.name))  # type: ignore[attr-defined]
    return [table for table in Table.metadata.sorted_tables if table.name in found]


def identifier(table: str, owner: str, number: int) -> UUID:
    return TENANTS[owner] if table == "tenants" else uuid5(NAMESPACE, f"{table} {owner}{number}")


def _count(table: sa.Table) -> int:
    if table.name == "accounts":
        return 2
    return 1 if table.name == "tenants" or [column.name for column in table.primary_key] == ["tenant_id"] else 7


def _value(table: sa.Table, column: sa.Column[Any], owner: str, number: int) -> Any:  # noqa: PLR0911
    name = column.name
    if name == "id":
        return identifier(table.name, owner, number)
    if name in {"tenant_id", "seller_id"}:
        return TENANTS[owner]
    if table.name == "accounts" and name == "kind":
        return ["credit", "earnings"][number]
    if name == "listing_status":
        return CHOICES["listings.status"][number // 2 % 3]  # of the listing that the foreign key below leads to
    choices = CHOICES.get(f"{table.name}.{name}", CHOICES.get(name))
    if choices is not None:
        chosen = choices[number % len(choices)]
        return json.dumps(chosen) if isinstance(column.type, JSONB) else chosen
    if column.foreign_keys and isinstance(column.type, sa.Uuid):
        referred = next(iter(column.foreign_keys)).column.table.name
        # Unique ones go one to one, others share.
        own = column.unique or any(
            {name} == {c.name for c in key.columns} for key in table.constraints if isinstance(key, sa.UniqueConstraint)
        )
        at = number if own else number // 2
        if column.nullable and number % 3 == 0:
            return None
        return identifier(referred, "all" if referred in GLOBAL else owner, at)
    if name in {"sealed_private_key", "wrapped_key"} and column.nullable:
        # A key is there or it was destroyed at some time.
        return None if number % 3 else _plain(table, column, owner, number)
    if column.nullable and number % 3 == 0:
        return None
    return _plain(table, column, owner, number)


def _plain(table: sa.Table, column: sa.Column[Any], owner: str, number: int) -> Any:  # noqa: PLR0911
    kind = column.type
    if isinstance(kind, sa.Uuid):
        return uuid5(NAMESPACE, f"{table.name} {column.name} {owner}{number}")
    if isinstance(kind, sa.DateTime):
        return START + timedelta(hours=number // 2, microseconds=250_000 * (number % 3))
    if isinstance(kind, sa.Numeric):
        return Decimal(0) if column.name == "reserved" else Decimal("1234567.100000000012") * number
    if isinstance(kind, sa.Boolean):
        return number % 2 == 0
    if isinstance(kind, sa.Integer):
        return 100 + number
    if isinstance(kind, sa.LargeBinary):
        return f"{table.name} {column.name} {owner}{number}".encode()
    if isinstance(kind, JSONB):
        return json.dumps([] if column.name == "files" else BLOBS[number % len(BLOBS)])
    if column.name in {"description", "licence", "error_message", "title"}:
        return TEXTS[number % len(TEXTS)]
    return f"{column.name}-{owner}-{number}"


async def create(owner: asyncpg.Connection) -> None:
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        for table in tables():
            columns = [column for column in table.columns if not isinstance(column.type, TSVECTOR)]
            names = [column.name for column in columns]
            places = ", ".join(f"${index + 1}" for index in range(len(names)))
            insert = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({places})"
            for whose in ["all"] if table.name in GLOBAL else ["A", "B"]:
                for number in range(_count(table)):
                    values = [_value(table, column, whose, number) for column in columns]
                    await owner.execute(insert, *values)


async def delete(owner: asyncpg.Connection) -> None:
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        for table in tables():
            if table.name in GLOBAL:
                ids = [identifier(table.name, "all", number) for number in range(_count(table))]
                await owner.execute(f"DELETE FROM {table.name} WHERE id = ANY($1)", ids)
            else:
                name = "id" if table.name == "tenants" else "tenant_id"
                await owner.execute(f"DELETE FROM {table.name} WHERE {name} = ANY($1)", list(TENANTS.values()))
