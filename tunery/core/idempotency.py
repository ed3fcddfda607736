"""Idempotency keys: a mutation that moves money runs once per key, whatever the network does to its caller.

The result is stored in the mutation's own transaction, so either both exist or neither.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import LargeBinary, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import CURRENT_TENANT, Table, UnitOfWork
from tunery.core.errors import Conflict, InvalidInput

LONGEST_KEY = 255


class IdempotencyKey(Table):
    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text(CURRENT_TENANT))
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[bytes] = mapped_column(LargeBinary)
    result_id: Mapped[UUID | None]
    created_at: Mapped[datetime]


async def once(
    uow: UnitOfWork, key: str, operation: str, request: dict[str, Any], action: Callable[[], Awaitable[UUID]]
) -> UUID:
    """Run `action` and keep the id it returns; with a key that was used before, return the kept id instead.

    A second caller with the same key waits for the first one's transaction. Raises Conflict when the key was used for
    another request.
    """
    if not 0 < len(key) <= LONGEST_KEY:
        raise InvalidInput(f"an idempotency key has 1 to {LONGEST_KEY} characters", field="idempotencyKey")
    digest = hashlib.sha256(json.dumps([operation, request], sort_keys=True, default=str).encode()).digest()
    claim = insert(IdempotencyKey).values(key=key, request_digest=digest, created_at=uow.now())
    claimed = await uow.session.execute(claim.on_conflict_do_nothing().returning(IdempotencyKey.key))
    row = (await uow.session.scalars(select(IdempotencyKey).where(IdempotencyKey.key == key))).one()
    if claimed.first() is None:
        if row.request_digest != digest or row.result_id is None:
            raise Conflict("this idempotency key was used for another request", field="idempotencyKey")
        return row.result_id
    row.result_id = await action()
    return row.result_id
