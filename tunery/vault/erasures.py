"""Certificates of erasure: what was destroyed, when and on whose word, signed by the installation.

A tenant's certificates are a chain: each holds the SHA-256 of the one before, so that none can be changed, removed or
reordered unnoticed (`tunery verify` checks that offline). Only the last ones can be withheld: who keeps the digest of
the last notices that, too.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, Literal

from sqlalchemy import select

from tunery.core import ids
from tunery.core.canonical import canonical_json
from tunery.core.database import UnitOfWork
from tunery.vault.keyring import DestroyedKey, Keyring
from tunery.vault.models import Erasure

FORMAT: Final = "tunery-erasure/1"
"""Of the certificate, and what its signature's context says."""


async def certify_erasure(
    uow: UnitOfWork,
    keyring: Keyring,
    *,
    scope: Literal["subject", "tenant"],
    subject: str | None,
    requested_by: str,
    destroyed: Sequence[DestroyedKey],
    deleted: Mapping[str, int],
    ended: Mapping[str, int] = MappingProxyType({}),
) -> Erasure:
    """Sign what this unit of work destroys: keys, and numbers of rows by table, of those that are deleted and of those
    that stay as a record alone. Raises Unavailable while the root key can't be used.
    """
    # The chain has one end; whoever adds to it holds the lock until the commit.
    await uow.lock("erasures")
    last = select(Erasure.number, Erasure.certificate).order_by(Erasure.number.desc()).limit(1)
    before = (await uow.session.execute(last)).one_or_none()
    number = 1 if before is None else before.number + 1
    certificate = canonical_json(
        {
            "format": FORMAT,
            "tenant": ids.encode("tenant", uow.tenant_id),
            "number": number,
            "previous": None if before is None else hashlib.sha256(before.certificate).hexdigest(),
            "scope": scope,
            "subject": subject,
            "requested_by": requested_by,
            "destroyed_at": _moment(uow.now()),
            "destroyed": [_describe(key) for key in destroyed],
            "deleted": dict(deleted),
            "ended": dict(ended),
        }
    )
    signer = await keyring.signer(uow)
    erasure = Erasure(
        number=number, certificate=certificate, signature=signer.sign(certificate, FORMAT), created_at=uow.now()
    )
    uow.session.add(erasure)
    await uow.session.flush()
    return erasure


def _describe(key: DestroyedKey) -> dict[str, str]:
    return {
        "kind": key.kind,
        "purpose": key.purpose,
        "fingerprint": key.fingerprint,
        "created_at": _moment(key.created_at),
        "destroyed_at": _moment(key.destroyed_at),
    }


def _moment(when: datetime) -> str:
    """RFC 3339 in UTC."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
