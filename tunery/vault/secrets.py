"""Small secrets that other rooms keep: of webhooks, of single sign-on, seeds of one-time passwords."""

from typing import Literal
from uuid import UUID

from sqlalchemy import delete, func, select

from tunery.core.database import UnitOfWork
from tunery.core.errors import NotFound
from tunery.vault.keyring import Keyring
from tunery.vault.models import Secret
from tunery.vault.sealing import place, seal_value, unseal_value

SecretPurpose = Literal["webhook", "sso", "totp"]
"""Each has a data key of its own: destroying it erases all the tenant's secrets of the kind."""


async def keep_secret(uow: UnitOfWork, keyring: Keyring, purpose: SecretPurpose, value: bytes) -> UUID:
    """Seal it under the tenant's key for that purpose. Raises as `Keyring.purpose_key`."""
    opened = await keyring.purpose_key(uow, purpose)
    identifier: UUID = (await uow.session.execute(select(func.uuidv7()))).scalar_one()
    sealed = seal_value(opened.key, _place(identifier), value)
    uow.session.add(Secret(id=identifier, data_key_id=opened.id, sealed_value=sealed, created_at=uow.now()))
    await uow.session.flush()
    return identifier


async def reveal_secret(uow: UnitOfWork, keyring: Keyring, identifier: UUID) -> bytes:
    """The secret in the clear. Raises NotFound, KeyDestroyed, UnsealingFailed and Unavailable."""
    secret = await uow.session.get(Secret, identifier)
    if secret is None:
        raise NotFound("secret", str(identifier))
    key = await keyring.open_data_key(uow, secret.data_key_id)
    return unseal_value(key, _place(identifier), secret.sealed_value)


async def discard_secret(uow: UnitOfWork, identifier: UUID) -> None:
    """Delete it. A backup of the database still holds it, as long as its purpose's key is not destroyed."""
    await uow.session.execute(delete(Secret).where(Secret.id == identifier))


def _place(identifier: UUID) -> bytes:
    return place("secrets", "sealed_value", identifier)
