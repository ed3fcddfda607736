"""`tunery base-model`: the operator's catalogue of base models."""

import asyncio
from decimal import Decimal

from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from tunery.app.embedded.errors import CannotStart
from tunery.app.settings import Settings
from tunery.core.clock import SystemClock
from tunery.core.database import UnitOfWork, sqlalchemy_url
from tunery.core.errors import DomainError
from tunery.training.catalogue import BaseModelEntry, describe_hub_model, register_base_model


def add_base_model(
    settings: Settings,
    name: str,
    *,
    repository: str | None,
    revision: str,
    licence: str | None,
    prices: tuple[Decimal, Decimal, Decimal],
) -> BaseModelEntry:
    """Register a causal language model of the hub, pinned to a commit; prices to train, read and write.

    Raises CannotStart for what the operator can mend.
    """
    if settings.database_url is None:
        raise CannotStart("no database: set TUNERY_DATABASE_URL to the owner's URL, or start `tunery up` first")
    repository = repository or name
    try:
        found = describe_hub_model(repository, revision, settings.hub_endpoint)
        if (licence or found["licence"]) is None:
            raise CannotStart(f"{repository} states no licence: give one with --licence")
        entry = BaseModelEntry(
            name,
            repository,
            found["revision"],
            licence or found["licence"],
            found["parameters"],
            found["context_length"],
            *prices,
        )
        asyncio.run(_register(settings.database_url, entry))
    except DomainError as error:
        raise CannotStart(error.message) from error
    return entry


async def _register(url: str, entry: BaseModelEntry) -> None:
    engine = create_async_engine(sqlalchemy_url(url))
    try:
        async with AsyncSession(engine) as session, session.begin():
            await register_base_model(UnitOfWork(session, SystemClock()), entry)
    finally:
        await engine.dispose()
