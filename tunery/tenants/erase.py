"""The end of an organisation: its keys are destroyed, and with them everything that they sealed.

What the law wants kept stays: ledger, invoices, sales, and what others bought. It names no person.
"""

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import select, update

from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.core.errors import InvalidInput
from tunery.core.events import Events
from tunery.core.identity import Identity
from tunery.tenants.models import ApiKey, Member, Tenant
from tunery.vault.erasures import certify_erasure
from tunery.vault.keyring import Keyring
from tunery.vault.models import Erasure

ERASED = "erased"
"""In the place of a name that was somebody's."""


@dataclass(frozen=True)
class TenantErased:
    """Published before the keys are destroyed, in the same transaction. Rooms delete what is the tenant's and stands in
    the clear, and count it; one that can't let go yet raises Conflict, and nothing happened.
    """

    deleted: Counter[str] = field(default_factory=Counter)


async def erase_tenant(uow: UnitOfWork, events: Events, keyring: Keyring, caller: Identity, *, confirm: str) -> Erasure:
    """Erase the unit of work's tenant, for good: the certificate. Raises InvalidInput unless `confirm` is its slug."""
    tenant = await uow.session.get_one(Tenant, uow.tenant_id, with_for_update=True)
    if confirm != tenant.slug:
        raise InvalidInput("give the organisation's slug: this can't be undone", field="confirm")
    deleted = await _let_go(uow, events, tenant)
    return await certify_erasure(
        uow,
        keyring,
        scope="tenant",
        subject=None,
        requested_by=ids.encode("API key", caller.api_key_id),
        destroyed=await keyring.shred_tenant(uow),
        deleted=dict(deleted),
    )


async def finish_erasure(uow: UnitOfWork, events: Events) -> None:
    """Let go again of what a restored backup brought back in the clear. The keys are destroyed already."""
    await _let_go(uow, events, await uow.session.get_one(Tenant, uow.tenant_id, with_for_update=True))


async def _let_go(uow: UnitOfWork, events: Events, tenant: Tenant) -> Counter[str]:
    event = TenantErased()
    await events.publish(uow, event)
    await uow.session.execute(update(ApiKey).where(ApiKey.revoked_at.is_(None)).values(revoked_at=uow.now()))
    for member in await uow.session.scalars(select(Member)):
        member.email = f"{ERASED}-{member.id}"
        event.deleted["members"] += 1
    tenant.name = ERASED
    return event.deleted
