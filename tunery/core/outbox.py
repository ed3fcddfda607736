"""The transactional outbox: work that must follow a commit is a row of that commit.

A use case calls `enqueue`; the relay hands due rows to arq; a process with the queue runs the task and marks the row
handled. A row that isn't handled in time is handed over again, so neither a killed worker nor an empty Redis loses
work. Delivery is at least once: tasks are safe to run twice.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError
from sqlalchemy import Index, select, text
from sqlalchemy.orm import Mapped, mapped_column

from tunery.core.database import CURRENT_TENANT, Database, Identified, Table, UnitOfWork, is_unavailable
from tunery.core.logs import get_logger
from tunery.core.services import Services

WORKER_QUEUE = "tunery:worker"
NODE_QUEUE = "tunery:node"

ARQ_FUNCTION = "run_task"
FIRST_RETRY = timedelta(seconds=10)
LAST_RETRY = timedelta(hours=1)
BATCH = 100
POLL_SECONDS = 0.2

Task = Callable[..., Awaitable[None]]
"""`async def task(services, **arguments)`; arguments are the JSON that was enqueued."""

log = get_logger(__name__)


class OutboxMessage(Identified, Table):
    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due", "available_at", postgresql_where=text("handled_at IS NULL")),)

    tenant_id: Mapped[UUID | None] = mapped_column(server_default=text(CURRENT_TENANT))
    """None: enqueued by the dispatcher, on nobody's behalf."""
    task: Mapped[str]
    queue: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]
    available_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
    handled_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


def connect_queue(redis_url: str) -> ArqRedis:
    """Redis, as arq uses it; it connects when it is first used. Messages are JSON: arq's own way, pickle, would let
    whoever writes to Redis run code in the process that reads.
    """
    redis = ArqRedis.from_url(redis_url)
    redis.job_serializer, redis.job_deserializer = msgspec.json.encode, msgspec.json.decode
    return redis


def enqueue(
    uow: UnitOfWork, task: str, *, queue: str = WORKER_QUEUE, delay: timedelta = timedelta(), **arguments: str | int
) -> None:
    """Run `task` after this unit of work has committed, and so much later. Arguments are ids and small numbers, never
    data.
    """
    now = uow.now()
    uow.session.add(
        OutboxMessage(task=task, queue=queue, arguments=arguments, created_at=now, available_at=now + delay)
    )


async def relay_due(database: Database, redis: ArqRedis) -> int:
    """Hand over the messages that are due, oldest first; the number handed over."""
    async with database.dispatch() as uow:
        now = uow.now()
        due = select(OutboxMessage).where(OutboxMessage.handled_at.is_(None), OutboxMessage.available_at <= now)
        messages = await uow.session.scalars(
            due.order_by(OutboxMessage.available_at).limit(BATCH).with_for_update(skip_locked=True)
        )
        count = 0
        for message in messages:
            message.attempts += 1
            message.available_at = now + min(FIRST_RETRY * 2 ** (message.attempts - 1), LAST_RETRY)
            job_id = f"{message.id}:{message.attempts}"
            await redis.enqueue_job(ARQ_FUNCTION, str(message.id), _job_id=job_id, _queue_name=message.queue)
            count += 1
        return count


async def relay_forever(database: Database, redis: ArqRedis) -> None:
    """Relay until cancelled. A lost database or Redis is logged and waited for, never fatal."""
    while True:
        try:
            handed_over = await relay_due(database, redis)
        except Exception as error:
            if not (is_unavailable(error) or isinstance(error, RedisError)):
                raise
            log.warning("outbox relay waits for its services", error=str(error))
            handed_over = 0
            await asyncio.sleep(1)
        if handed_over < BATCH:
            await asyncio.sleep(POLL_SECONDS)


async def run_task(services: Services, tasks: Mapping[str, Task], message_id: UUID) -> None:
    """Run one message's task, then mark it handled. A failure is recorded on the row; the relay tries again."""
    database = services.get(Database)
    async with database.dispatch() as uow:
        message = await uow.session.get(OutboxMessage, message_id)
    if message is None or message.handled_at is not None:
        return
    with structlog.contextvars.bound_contextvars(task_id=str(message_id)):
        try:
            await tasks[message.task](services, **message.arguments)
        except Exception as error:
            log.exception("task failed", task=message.task, attempt=message.attempts)
            await _record(database, message_id, last_error=f"{type(error).__name__}: {error}")
        else:
            await _record(database, message_id, last_error=None, handled=True)


async def _record(database: Database, message_id: UUID, *, last_error: str | None, handled: bool = False) -> None:
    async with database.dispatch() as uow:
        message = await uow.session.get_one(OutboxMessage, message_id)
        message.last_error = last_error
        if handled:
            message.handled_at = uow.now()
