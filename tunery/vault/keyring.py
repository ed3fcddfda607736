"""The keys in use: made, sealed and opened here and nowhere else."""

import os
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import delete, select

from tunery.core.database import UnitOfWork
from tunery.core.errors import NotFound
from tunery.vault import envelopes
from tunery.vault.models import DataKey, SigningKey, TenantKey
from tunery.vault.sealing import KEY_BYTES, seal, unseal
from tunery.vault.signatures import ML_DSA_65, Signer, generate_seed


def generate_data_key() -> bytes:
    return os.urandom(KEY_BYTES)


class Keyring:
    """Opens what the root key protects."""

    def __init__(self, root_key: bytes) -> None:
        self._root_key = root_key

    def derive(self, purpose: str) -> bytes:
        """A 32-byte key for one purpose of this installation (HKDF-SHA256, RFC 5869)."""
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=f"tunery/1/{purpose}".encode()).derive(self._root_key)

    def create_tenant_key(self, uow: UnitOfWork) -> None:
        """The first key pair of the unit of work's tenant."""
        private, public = envelopes.generate_key_pair()
        sealed = seal(self.derive("tenant keys"), _tenant_key_context(uow.tenant_id, 1), private)
        uow.session.add(
            TenantKey(
                version=1,
                suite=envelopes.SUITE,
                public_key=public,
                sealed_private_key=sealed,
                created_at=uow.now(),
            )
        )

    async def store_data_key(self, uow: UnitOfWork, key: bytes, *, purpose: str) -> DataKey:
        """Keep a data key, wrapped to the tenant's newest key pair."""
        newest = select(TenantKey).order_by(TenantKey.version.desc()).limit(1)
        tenant_key = (await uow.session.scalars(newest)).one()
        row = DataKey(
            tenant_key_id=tenant_key.id,
            purpose=purpose,
            wrapped_key=envelopes.wrap(key, tenant_key.public_key, _data_key_info(tenant_key, purpose)),
            created_at=uow.now(),
        )
        uow.session.add(row)
        await uow.session.flush()
        return row

    async def open_data_key(self, uow: UnitOfWork, identifier: UUID) -> bytes:
        """The data key in the clear. Raises NotFound when it was destroyed or is another tenant's."""
        row = await uow.session.get(DataKey, identifier)
        if row is None:
            raise NotFound("data key", str(identifier))
        tenant_key = await uow.session.get_one(TenantKey, row.tenant_key_id)
        context = _tenant_key_context(tenant_key.tenant_id, tenant_key.version)
        private = unseal(self.derive("tenant keys"), context, tenant_key.sealed_private_key)
        return envelopes.unwrap(row.wrapped_key, private, _data_key_info(tenant_key, row.purpose))

    async def destroy_data_key(self, uow: UnitOfWork, identifier: UUID) -> None:
        """From the commit on, nobody can open what the key sealed."""
        await uow.session.execute(delete(DataKey).where(DataKey.id == identifier))

    async def signer(self, uow: UnitOfWork) -> Signer:
        """The installation's signer. Its key pair is made by the migration step (`ensure_signing_key`)."""
        newest = select(SigningKey).order_by(SigningKey.created_at.desc()).limit(1)
        row = (await uow.session.scalars(newest)).one()
        return Signer(row.algorithm, unseal(self.derive("signing keys"), row.public_key, row.sealed_private_key))

    async def ensure_signing_key(self, uow: UnitOfWork) -> None:
        """Make the installation's key pair if it has none: its private half sealed, bound to its public half."""
        if (await uow.session.scalars(select(SigningKey.id).limit(1))).first() is not None:
            return
        seed = generate_seed()
        public = Signer(ML_DSA_65, seed).public_key
        sealed = seal(self.derive("signing keys"), public, seed)
        uow.session.add(
            SigningKey(algorithm=ML_DSA_65, public_key=public, sealed_private_key=sealed, created_at=uow.now())
        )


def _tenant_key_context(tenant_id: UUID, version: int) -> bytes:
    return f"tenant_keys/sealed_private_key/{tenant_id}/{version}".encode()


def _data_key_info(tenant_key: TenantKey, purpose: str) -> bytes:
    return f"data_keys/wrapped_key/{tenant_key.tenant_id}/{tenant_key.version}/{purpose}".encode()
