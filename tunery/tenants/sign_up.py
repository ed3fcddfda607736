"""Signing up: an organisation with its owner, its key pair and a first API key."""

import re
import uuid
from dataclasses import dataclass

from sqlalchemy.exc import IntegrityError

from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, InvalidInput
from tunery.core.events import Events
from tunery.core.slugs import check_slug, slugify
from tunery.tenants.api_keys import create_api_key
from tunery.tenants.models import ApiKey, Member, Tenant
from tunery.vault.keyring import Keyring

LONGEST_NAME = 100
LONGEST_EMAIL = 254
RESERVED_SLUGS = frozenset({"tunery"})
"""Namespaces of the hub that are ours: the bundled base models stand there."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")


@dataclass(frozen=True)
class TenantSignedUp:
    """Published in the transaction that makes the tenant, and in its context."""

    tenant: Tenant


@dataclass(frozen=True)
class SignedUp:
    tenant: Tenant
    api_key: ApiKey
    secret: str


async def sign_up(
    uow: UnitOfWork, events: Events, keyring: Keyring, *, organisation: str, email: str, slug: str | None
) -> SignedUp:
    """Make the tenant. Raises InvalidInput, and Conflict when the slug is taken."""
    organisation, email = organisation.strip(), email.strip().lower()
    if not 0 < len(organisation) <= LONGEST_NAME:
        raise InvalidInput(f"an organisation's name has 1 to {LONGEST_NAME} characters", field="organisation")
    if len(email) > LONGEST_EMAIL or _EMAIL.fullmatch(email) is None:
        raise InvalidInput(f"{email!r} is no e-mail address", field="email")
    slug = check_slug(slug if slug is not None else slugify(organisation), field="slug")
    if slug in RESERVED_SLUGS:
        raise Conflict(f"the name {slug!r} is reserved: choose another slug", field="slug")

    tenant_id = uuid.uuid4()
    await uow.enter_tenant(tenant_id)
    tenant = Tenant(id=tenant_id, name=organisation, slug=slug, created_at=uow.now())
    member = Member(email=email, role="owner", created_at=uow.now())
    uow.session.add_all([tenant, member])
    try:
        await uow.session.flush()
    except IntegrityError as error:
        raise Conflict(f"the name {slug!r} is taken: choose another slug", field="slug") from error
    await keyring.create_tenant_key(uow)
    api_key, secret = create_api_key(uow, "first key", member.id)
    await uow.session.flush()
    await events.publish(uow, TenantSignedUp(tenant))
    return SignedUp(tenant, api_key, secret)
