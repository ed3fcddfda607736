"""The end of an organisation: its keys are destroyed, and with them everything that they sealed.

What the law wants kept stays: ledger, invoices, sales, and what others bought. It names no person.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import func, select

from tunery.core import ids
from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, InvalidInput
from tunery.core.events import Events
from tunery.core.identity import Identity
from tunery.core.outbox import enqueue
from tunery.tenants.models import ApiKey, Member, Tenant
from tunery.vault.erasures import certify_erasure
from tunery.vault.keyring import Keyring
from tunery.vault.models import Erasure, Secret

FINISH_ERASURE: Final = "tenants.finish_erasure"
ERASED: Final = "erased"
"""In the place of a name that was somebody's."""


@dataclass(frozen=True)
class TenantErasureBegins:
    """Published before the tenant's key is locked. Rooms take the locks under which their writers ask for that key: so
    nobody waits in a circle.
    """


@dataclass(frozen=True)
class TenantErased:
    """Published before the keys are destroyed, in the same transaction. Rooms let go of what is the tenant's and stands
    in the clear, and count the rows by table; one that can't let go yet raises Conflict, and nothing happened.
    """

    keys_are_destroyed: bool = False
    """This is for what came back, or came in at the last moment: it goes, whatever it is."""
    deleted: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    """Rows that stay, because books refer to them: they name nobody, and nothing can be done with what they were."""


async def erase_tenant(uow: UnitOfWork, events: Events, keyring: Keyring, caller: Identity, *, confirm: str) -> Erasure:
    """Erase the unit of work's tenant, for good: the certificate. Raises InvalidInput unless `confirm` is its slug."""
    tenant = await uow.session.get_one(Tenant, uow.tenant_id, with_for_update=True)
    if confirm != tenant.slug:
        raise InvalidInput("give the organisation's slug: this can't be undone", field="confirm")
    await events.publish(uow, TenantErasureBegins())
    # From here on nobody stores anything sealed for it: who does now is waited for, who comes later finds no key.
    await keyring.lock_tenant(uow)
    erased = await _let_go(uow, tenant, events, TenantErased())
    erased.deleted["secrets"] += await uow.session.scalar(select(func.count()).select_from(Secret)) or 0
    # What came in at this very moment (an API key, say) goes then.
    enqueue(uow, FINISH_ERASURE, tenant_id=str(uow.tenant_id))
    return await certify_erasure(
        uow,
        keyring,
        scope="tenant",
        subject=None,
        requested_by=ids.encode("API key", caller.api_key_id),
        destroyed=await keyring.shred_tenant(uow),
        deleted=erased.deleted,
        ended=erased.ended,
    )


async def finish_erasure(uow: UnitOfWork, events: Events, keyring: Keyring) -> None:
    """Let go of what came in while the organisation was erased, or what a restored backup brought back in the clear.
    Raises Conflict when its keys are not destroyed.
    """
    tenant = await uow.session.get_one(Tenant, uow.tenant_id, with_for_update=True)
    if not await keyring.is_shredded(uow):
        raise Conflict("this organisation was not erased: it has keys")
    await events.publish(uow, TenantErasureBegins())
    await _let_go(uow, tenant, events, TenantErased(keys_are_destroyed=True))


async def _let_go(uow: UnitOfWork, tenant: Tenant, events: Events, event: TenantErased) -> TenantErased:
    await events.publish(uow, event)
    for member in await uow.session.scalars(select(Member)):
        member.email = f"{ERASED}-{member.id}"
        event.ended["members"] += 1
    for key in await uow.session.scalars(select(ApiKey)):
        key.name, key.revoked_at = ERASED, key.revoked_at or uow.now()
        event.ended["api_keys"] += 1
    tenant.name = ERASED
    await uow.session.flush()
    return event
