"""`tunery erasures`: certificates of erasure, as `tunery verify` takes them, of whoever can't ask for them any more."""

import json
from pathlib import Path
from uuid import UUID

from sqlalchemy import select

from tunery.app.database_urls import role_url
from tunery.app.embedded.errors import CannotStart
from tunery.app.instance import ask, find_instance
from tunery.app.settings import Settings
from tunery.core import ids
from tunery.core.clock import SystemClock
from tunery.core.database import APPLICATION_ROLE, DISPATCHER_ROLE, Database
from tunery.core.errors import NotFound
from tunery.vault.models import Erasure


async def export_erasures(settings: Settings, tenant_id: UUID) -> list[str]:
    """A line of JSON per certificate, in their order. Raises ValueError that names a setting that is missing."""
    database = Database(role_url(settings, APPLICATION_ROLE), role_url(settings, DISPATCHER_ROLE), SystemClock())
    try:
        async with database.unit_of_work(tenant_id) as uow:
            erasures = await uow.session.scalars(select(Erasure).order_by(Erasure.number))
            return [
                json.dumps({"certificate": one.certificate.decode(), "signature": one.signature}) for one in erasures
            ]
    finally:
        await database.close()


def run_erasures(settings: Settings, data_dir: Path, tenant: str) -> list[str]:
    """The command's lines. Raises CannotStart when there are none, and without settings or database."""
    try:
        tenant_id = ids.decode("tenant", tenant)
    except NotFound:
        raise CannotStart(f"{tenant!r:.100} is no organisation's id: certificates have it as `tenant`") from None
    lines = ask(export_erasures(find_instance(settings, data_dir).settings, tenant_id), data_dir)
    if not lines:
        raise CannotStart(f"nothing was erased for {tenant}, or there is no such organisation here")
    return lines
