"""The keys in use: made, wrapped, opened and destroyed here and nowhere else."""

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from tunery.core.database import UnitOfWork
from tunery.core.errors import NotFound
from tunery.vault import envelopes
from tunery.vault.derivation import derive
from tunery.vault.models import DataKey, Secret, SigningKey, TenantKey
from tunery.vault.root_keys import UNNAMED, RootKeys
from tunery.vault.sealing import KEY_BYTES, Sealed, refuse
from tunery.vault.signatures import ML_DSA_65, Signer, fingerprint, generate_signer

FINGERPRINT_BYTES = 16
VERSIONS = "tenant key versions"
"""The lock of who makes a version: they follow one another."""
TAG_BYTES = 32
ATTEMPTS = 5
"""Looks for the newest tenant key: each that finds none says that it was retired that moment."""


class KeyDestroyed(NotFound):
    """The key was here and is destroyed: nobody opens what it sealed."""


@dataclass(frozen=True)
class OpenedKey:
    """A data key in the clear."""

    id: UUID
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class DestroyedKey:
    """What can still be said of a key: `fingerprint` is 32 hex digits that follow from it, not the other way round."""

    kind: str
    purpose: str
    fingerprint: str
    created_at: datetime
    destroyed_at: datetime


def generate_data_key() -> bytes:
    return os.urandom(KEY_BYTES)


def data_key_fingerprint(key: bytes) -> str:
    """32 hex digits (HKDF-SHA256)."""
    return derive(key, "fingerprint", FINGERPRINT_BYTES).hex()


class Keyring:
    """Opens what the root keys protect. All of it within the caller's unit of work, on behalf of its tenant."""

    def __init__(self, root_keys: RootKeys) -> None:
        self.root_keys = root_keys

    async def create_tenant_key(self, uow: UnitOfWork, suite: str = envelopes.X_WING) -> TenantKey:
        """The tenant's next version of its key pair. From the commit on, data keys are wrapped to it.

        Raises InvalidInput for an unknown suite, KeyDestroyed for a shredded tenant, and Unavailable while the root key
        can't be used.
        """
        private, public = envelopes.generate_key_pair(suite)
        await uow.lock(VERSIONS)
        known = select(func.max(TenantKey.version), func.bool_and(TenantKey.destroyed_at.is_not(None)))
        newest, all_destroyed = (await uow.session.execute(known)).one()
        if all_destroyed:
            raise KeyDestroyed("tenant key", str(uow.tenant_id))
        version = (newest or 0) + 1
        root_key, sealed = await self.root_keys.seal(tenant_key_context(uow.tenant_id, version), private)
        row = TenantKey(
            version=version,
            suite=suite,
            public_key=public,
            sealed_private_key=sealed,
            root_key=root_key,
            fingerprint=fingerprint(public),
            created_at=uow.now(),
        )
        uow.session.add(row)
        await uow.session.flush()
        return row

    async def store_data_key(self, uow: UnitOfWork, key: bytes, *, purpose: str) -> DataKey:
        """Keep a data key, wrapped to the tenant's newest key pair. A purpose has one living key at most."""
        row = DataKey(**await self._wrapped(uow, key, purpose))
        uow.session.add(row)
        await uow.session.flush()
        return row

    async def open_data_key(self, uow: UnitOfWork, identifier: UUID) -> bytes:
        """The data key in the clear.

        Raises NotFound when there is none or it is another tenant's, KeyDestroyed, UnsealingFailed for one that does
        not open or claims a retired version, and Unavailable while the root key can't be used.
        """
        row = (await uow.session.execute(wrapped_keys().where(DataKey.id == identifier))).one_or_none()
        if row is None:
            raise NotFound("data key", str(identifier))
        return await self.open_wrapped(uow.tenant_id, WrappedKey(*row))

    async def purpose_key(self, uow: UnitOfWork, purpose: str) -> OpenedKey:
        """The tenant's one living key for that purpose, made when it is first asked for. Raises as `open_data_key`."""
        while (known := await self.find_purpose_key(uow, purpose)) is None:
            key = generate_data_key()
            new = insert(DataKey).values(**await self._wrapped(uow, key, purpose))
            unless_made = new.on_conflict_do_nothing(
                index_elements=[DataKey.tenant_id, DataKey.purpose], index_where=DataKey.destroyed_at.is_(None)
            )
            identifier = await uow.session.scalar(unless_made.returning(DataKey.id))
            if identifier is not None:
                return OpenedKey(identifier, key)
            # Another transaction has made it and committed meanwhile.
        return known

    async def find_purpose_key(self, uow: UnitOfWork, purpose: str) -> OpenedKey | None:
        """The tenant's living key for that purpose, None while there is none. Raises as `open_data_key`."""
        living = wrapped_keys().where(DataKey.purpose == purpose, DataKey.destroyed_at.is_(None))
        row = (await uow.session.execute(living)).one_or_none()
        return None if row is None else OpenedKey(row.id, await self.open_wrapped(uow.tenant_id, WrappedKey(*row)))

    async def destroy_data_key(self, uow: UnitOfWork, identifier: UUID) -> DestroyedKey:
        """From the commit on, nobody can open what the key sealed. Its row stays. Raises NotFound and KeyDestroyed."""
        living = update(DataKey).where(DataKey.id == identifier, DataKey.destroyed_at.is_(None))
        gone = living.values(wrapped_key=None, destroyed_at=uow.now())
        row = (
            await uow.session.execute(gone.returning(DataKey.purpose, DataKey.fingerprint, DataKey.created_at))
        ).one_or_none()
        if row is None:
            known = await uow.session.scalar(select(DataKey.id).where(DataKey.id == identifier))
            raise (KeyDestroyed if known else NotFound)("data key", str(identifier))
        return DestroyedKey("data key", row.purpose, row.fingerprint, row.created_at, uow.now())

    async def lock_tenant(self, uow: UnitOfWork) -> None:
        """Until the unit of work ends, nobody makes or stores a key of the tenant's. Who is at it is waited for."""
        await uow.lock(VERSIONS)
        await uow.session.execute(select(TenantKey.id).order_by(TenantKey.version).with_for_update())

    async def is_shredded(self, uow: UnitOfWork) -> bool:
        """Whether the tenant has no key any more."""
        living = select(TenantKey.id).where(TenantKey.destroyed_at.is_(None)).limit(1)
        return await uow.session.scalar(living) is None

    async def shred_tenant(self, uow: UnitOfWork) -> list[DestroyedKey]:
        """Destroy all the tenant's keys: from the commit on, nobody can open anything of it, nor seal for it."""
        now = uow.now()
        # After the lock no version is added; after the first statement, for which who stores a data key holds its
        # tenant key's row, no data key is. So none escapes these two.
        await uow.lock(VERSIONS)
        tenant_keys = await uow.session.execute(
            update(TenantKey)
            .where(TenantKey.destroyed_at.is_(None))
            .values(sealed_private_key=None, destroyed_at=now)
            .returning(TenantKey.version, TenantKey.fingerprint, TenantKey.created_at)
        )
        data_keys = await uow.session.execute(
            update(DataKey)
            .where(DataKey.destroyed_at.is_(None))
            .values(wrapped_key=None, destroyed_at=now)
            .returning(DataKey.purpose, DataKey.fingerprint, DataKey.created_at)
        )
        await uow.session.execute(delete(Secret))
        return [
            *(DestroyedKey("tenant key", f"version {row[0]}", row[1], row[2], now) for row in sorted(tenant_keys)),
            *(DestroyedKey("data key", *row, now) for row in sorted(data_keys, key=lambda row: (row[2], row[0]))),
        ]

    async def signer(self, uow: UnitOfWork) -> Signer:
        """The installation's signer. Its key pair is made by the migration step (`ensure_signing_key`)."""
        newest = select(SigningKey).order_by(SigningKey.created_at.desc()).limit(1)
        row = (await uow.session.scalars(newest)).one()
        return Signer(row.algorithm, await self.unseal_signing_key(row), row.public_key)

    async def ensure_signing_key(self, uow: UnitOfWork, algorithm: str = ML_DSA_65) -> None:
        """Make the installation a key pair of that algorithm, unless its newest is of it. Older public keys stay, so
        that what they signed verifies. Raises LiboqsMissing.
        """
        newest = select(SigningKey.algorithm).order_by(SigningKey.created_at.desc()).limit(1)
        if (await uow.session.scalars(newest)).first() == algorithm:
            return
        signer = generate_signer(algorithm)
        context = signing_key_context(signer.public_key)
        root_key, sealed = await self.root_keys.seal(context, signer.private_key)
        uow.session.add(
            SigningKey(
                algorithm=signer.algorithm,
                public_key=signer.public_key,
                sealed_private_key=sealed,
                root_key=root_key,
                created_at=uow.now(),
            )
        )

    async def open_wrapped(self, tenant_id: UUID, row: "WrappedKey") -> bytes:
        """Raises as `open_data_key`, apart from NotFound."""
        info = data_key_info(tenant_id, row.version, row.purpose)
        if row.wrapped_key is None:
            raise KeyDestroyed("data key", str(row.id))
        if row.retired_at is not None:
            refuse("data key", info, f"version {row.version} of the tenant's key is retired")
        if row.sealed_private_key is None:
            raise KeyDestroyed("tenant key", str(tenant_id))
        if row.suite != row.key_suite:
            refuse("data key", info, f"it names the suite {row.suite!r:.100}, the tenant's key {row.key_suite!r:.100}")
        private = await self.unseal_tenant_key(tenant_id, row.version, row.root_key, row.sealed_private_key)
        wrapped = row.wrapped_key
        if not _is_from_before_tags(row.fingerprint, wrapped):
            wrapped, tag = wrapped[:-TAG_BYTES], wrapped[-TAG_BYTES:]
            if not hmac.compare_digest(tag, _tag(private, row.id, info, wrapped)):
                refuse("data key", info, "the wrapped key does not open: somebody else wrapped it, or for another row")
        return envelopes.unwrap(row.suite, wrapped, private, info)

    async def lock_newest_tenant_key(self, uow: UnitOfWork) -> "NewestKey":
        """What data keys are wrapped to, kept from being retired until the unit of work ends. Raises KeyDestroyed,
        UnsealingFailed for a version that nobody with the root key made, and Unavailable.

        An older version is given while a newer one isn't committed yet: its retirement waits, and finds what was
        wrapped.
        """
        living = select(
            TenantKey.id, TenantKey.version, TenantKey.suite, TenantKey.root_key, TenantKey.sealed_private_key
        )
        newest = living.where(TenantKey.destroyed_at.is_(None)).order_by(TenantKey.version.desc()).limit(1)
        for _ in range(ATTEMPTS):
            # None, too, when the one that was the newest is retired while this waits for its lock: then look again.
            row = (await uow.session.execute(newest.with_for_update(read=True))).one_or_none()
            if row is not None:
                sealed = row.sealed_private_key or b""
                private = await self.unseal_tenant_key(uow.tenant_id, row.version, row.root_key, sealed)
                return NewestKey(row.id, row.version, row.suite, private)
        raise KeyDestroyed("tenant key", str(uow.tenant_id))

    async def unseal_tenant_key(self, tenant_id: UUID, version: int, root_key: str, sealed: bytes) -> bytes:
        """The private key. Raises UnsealingFailed and Unavailable."""
        context = tenant_key_context(tenant_id, version)
        what: Sealed = "tenant key"
        if root_key == UNNAMED:
            return self.root_keys.unseal_unnamed("tenant keys", context, sealed, what)
        return await self.root_keys.unseal(root_key, context, sealed, what)

    async def unseal_signing_key(self, row: SigningKey) -> bytes:
        """The private key. Raises UnsealingFailed and Unavailable."""
        what: Sealed = "signing key"
        if row.root_key == UNNAMED:
            return self.root_keys.unseal_unnamed("signing keys", row.public_key, row.sealed_private_key, what)
        context = signing_key_context(row.public_key)
        return await self.root_keys.unseal(row.root_key, context, row.sealed_private_key, what)

    async def _wrapped(self, uow: UnitOfWork, key: bytes, purpose: str) -> dict[str, object]:
        """The columns of a new data key's row."""
        newest = await self.lock_newest_tenant_key(uow)
        identifier: UUID = (await uow.session.execute(select(func.uuidv7()))).scalar_one()
        return {
            "id": identifier,
            "tenant_key_id": newest.id,
            "purpose": purpose,
            "suite": newest.suite,
            "wrapped_key": newest.wrap(uow.tenant_id, identifier, purpose, key),
            "fingerprint": data_key_fingerprint(key),
            "created_at": uow.now(),
        }


@dataclass(frozen=True)
class WrappedKey:
    """A data key and the tenant key that it is wrapped to, as one statement saw them: no rotation comes in between."""

    id: UUID
    purpose: str
    suite: str
    wrapped_key: bytes | None
    fingerprint: str
    version: int
    key_suite: str
    root_key: str
    sealed_private_key: bytes | None
    retired_at: datetime | None


@dataclass(frozen=True)
class NewestKey:
    """The tenant's newest key pair. The private half, which only the root key opens, proves the public one: that of the
    row is what anybody may have written there.
    """

    id: UUID
    version: int
    suite: str
    private_key: bytes = field(repr=False)

    def wrap(self, tenant_id: UUID, data_key_id: UUID, purpose: str, key: bytes) -> bytes:
        """The wrapped key and a tag: HPKE says for whom a key is wrapped, not by whom."""
        info = data_key_info(tenant_id, self.version, purpose)
        wrapped = envelopes.wrap(self.suite, key, self._public_key, info)
        return wrapped + _tag(self.private_key, data_key_id, info, wrapped)

    @cached_property
    def _public_key(self) -> bytes:
        return envelopes.public_key_of(self.suite, self.private_key)


def _tag(private_key: bytes, data_key_id: UUID, info: bytes, wrapped: bytes) -> bytes:
    """HMAC-SHA-256 under a key that follows from the tenant's private key."""
    return hmac.digest(derive(private_key, "data key tags"), data_key_id.bytes + wrapped + info, "sha256")


def _is_from_before_tags(known_as: str, wrapped: bytes) -> bool:
    """Migrations 0006 and 0011 took these fingerprints of what they found. The database takes no row from the
    application that has such a one.
    """
    return known_as == hashlib.sha256(wrapped).hexdigest()[: 2 * FINGERPRINT_BYTES]


def wrapped_keys() -> Select[*tuple[Any, ...]]:
    """The columns of WrappedKey."""
    return select(
        DataKey.id,
        DataKey.purpose,
        DataKey.suite,
        DataKey.wrapped_key,
        DataKey.fingerprint,
        TenantKey.version,
        TenantKey.suite,
        TenantKey.root_key,
        TenantKey.sealed_private_key,
        TenantKey.retired_at,
    ).join(TenantKey, TenantKey.id == DataKey.tenant_key_id)


def tenant_key_context(tenant_id: UUID, version: int) -> bytes:
    return f"tenant_keys/sealed_private_key/{tenant_id}/{version}".encode()


def signing_key_context(public_key: bytes) -> bytes:
    return f"signing_keys/sealed_private_key/{fingerprint(public_key)}".encode()


def data_key_info(tenant_id: UUID, version: int, purpose: str) -> bytes:
    return f"data_keys/wrapped_key/{tenant_id}/{version}/{purpose}".encode()
