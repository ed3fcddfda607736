"""The people whom memories are about. The caller's name for a person never stands in the clear: it is found by a keyed
hash, and read back under the person's own key.
"""

import asyncio
import contextlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, InvalidInput, NotFound
from tunery.memory.models import Subject
from tunery.vault.derivation import derive
from tunery.vault.keyring import (
    KeyDestroyed,
    Keyring,
    OpenedKey,
    WrappedKey,
    data_key_fingerprint,
    generate_data_key,
    wrapped_keys,
)
from tunery.vault.models import DataKey
from tunery.vault.sealing import UnsealingFailed, place, seal_value, unseal_value

LONGEST_NAME: Final = 255
NAMES_PURPOSE: Final = "subject names"
_ATTEMPTS: Final = 5
_IS_DESTROYED: Final = (
    select(DataKey.id).where(DataKey.id == Subject.data_key_id, DataKey.destroyed_at.is_not(None)).exists()
)
"""Whether a subject's key is: of a row that a restored backup brought back."""


@dataclass(frozen=True)
class OpenedSubject:
    """A subject, and the key that seals everything of theirs."""

    id: UUID
    key: bytes = field(repr=False)
    sealed_name: bytes | None = field(repr=False)

    @cached_property
    def name(self) -> str:
        """What the caller calls the person. Raises UnsealingFailed."""
        sealed = self.sealed_name or b""
        return unseal_value(self.key, place("subjects", "sealed_name", self.id), sealed).decode()

    def digest_of(self, what: str, *parts: str) -> bytes:
        """HMAC-SHA-256 of the parts under this subject's key: equal parts have equal digests, of this subject alone."""
        encoded = [part.encode() for part in (what, *parts)]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
        return hmac_digest(self._digest_key, message, sha256)

    @cached_property
    def _digest_key(self) -> bytes:
        # One key seals, another one hashes.
        return derive(self.key, "memory digests")


def check_name(name: str, *, field: str) -> str:
    """The name itself. Raises InvalidInput."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInput(f"a subject's name has 1 to {LONGEST_NAME} characters, not {len(name):,}", field=field)
    return check_text(name, field=field)


def check_text(given: str, *, field: str) -> str:
    """The text itself. Raises InvalidInput for half a surrogate pair, which JSON can carry and UTF-8 can't."""
    try:
        given.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("this is no valid Unicode text: it holds half of a surrogate pair", field=field) from error
    return given


async def find_subject(uow: UnitOfWork, keyring: Keyring, name: str, *, lock: bool = False) -> Subject:
    """The person of that name. With `lock`, nobody else remembers or forgets of them until the end. Raises NotFound."""
    check_name(name, field="subject")
    known = await keyring.find_purpose_key(uow, NAMES_PURPOSE)
    if known is None:
        raise NotFound("subject", name, field="subject")
    found = select(Subject).where(Subject.digest == _digest(known, name))
    subject = await uow.session.scalar(found.with_for_update(key_share=True) if lock else found)
    if subject is None:
        raise NotFound("subject", name, field="subject")
    return subject


async def open_subject(uow: UnitOfWork, keyring: Keyring, name: str) -> OpenedSubject:
    """The person of that name. Raises NotFound, also for one whose key was destroyed."""
    row = await find_subject(uow, keyring, name)
    opened = await _open(uow, keyring, [row])
    if not opened:
        raise NotFound("subject", name, field="subject")
    return opened[row.id]


async def open_subjects(uow: UnitOfWork, keyring: Keyring, identifiers: Iterable[UUID]) -> dict[UUID, OpenedSubject]:
    """By their ids. One whose key was destroyed is missing: the sweep removes what is left of them."""
    living = select(Subject).where(Subject.id.in_(set(identifiers)), Subject.erased_at.is_(None))
    return await _open(uow, keyring, (await uow.session.scalars(living)).all())


async def open_those_that_open(
    uow: UnitOfWork, keyring: Keyring, identifiers: Iterable[UUID]
) -> dict[UUID, OpenedSubject]:
    """Those whose key opens: one that doesn't must not keep the others' memories waiting."""
    with contextlib.suppress(UnsealingFailed):
        return await open_subjects(uow, keyring, identifiers)
    opened: dict[UUID, OpenedSubject] = {}
    for identifier in identifiers:
        with contextlib.suppress(UnsealingFailed):  # the vault has logged it
            opened |= await open_subjects(uow, keyring, [identifier])
    return opened


async def _open(uow: UnitOfWork, keyring: Keyring, rows: Collection[Subject]) -> dict[UUID, OpenedSubject]:
    """By their ids; without those whose key was destroyed."""
    keys: dict[UUID, bytes] = {}
    wanted = wrapped_keys().where(DataKey.id.in_([row.data_key_id for row in rows]))
    for wrapped in (WrappedKey(*row) for row in await uow.session.execute(wanted)):
        with contextlib.suppress(KeyDestroyed):
            keys[wrapped.id] = await keyring.open_wrapped(uow.tenant_id, wrapped)
        await asyncio.sleep(0)  # thousands take a while: others are served in between
    known = (row for row in rows if row.data_key_id in keys)
    return {row.id: OpenedSubject(row.id, keys[row.data_key_id], row.sealed_name) for row in known}


async def last_erased(uow: UnitOfWork, keyring: Keyring, names: Collection[str]) -> dict[str, UUID]:
    """Who of those names was erased last, by the names, as far as it is remembered: for `find_or_make_subjects`."""
    known = await keyring.find_purpose_key(uow, NAMES_PURPOSE)
    if known is None:
        return {}
    digests = {name: _digest(known, name) for name in names}
    erased = await _last_erased(uow, digests.values())
    return {name: erased[digest] for name, digest in digests.items() if digest in erased}


async def _last_erased(uow: UnitOfWork, digests: Iterable[bytes]) -> dict[bytes, UUID]:
    erased = select(Subject.erased_digest, Subject.id).where(Subject.erased_digest.in_(set(digests)))
    # Who was made later was erased later: nobody is made while another one has the name.
    rows = await uow.session.execute(erased.order_by(Subject.id))
    return {digest: identifier for digest, identifier in rows if digest is not None}


async def find_or_make_subjects(
    uow: UnitOfWork, keyring: Keyring, names: Collection[str], began_with: Mapping[str, UUID] | None = None
) -> dict[str, OpenedSubject]:
    """By their names, each locked until the end of the unit of work: what is known of a person changes in one
    transaction at a time. Raises Conflict; also when somebody of such a name was erased since `last_erased` said
    `began_with`: what was said before is not to come back by whoever was still writing it down.

    All make who is missing first, then lock, both in the order of the digests: so nobody waits in a circle.
    """
    opened_names = await keyring.purpose_key(uow, NAMES_PURPOSE)
    by_name = {name: _digest(opened_names, name) for name in names}
    by_digest = {digest: name for name, digest in by_name.items()}
    lock = select(Subject).where(Subject.digest.in_(by_digest)).order_by(Subject.digest)
    for _ in range(_ATTEMPTS):
        savepoint = await uow.session.begin_nested()
        await _make_missing(uow, keyring, by_digest)
        rows = (await uow.session.scalars(lock.with_for_update(key_share=True))).all()
        if len(rows) == len(by_digest):
            await savepoint.commit()
            break
        # Somebody was erased while this waited for their lock: let go of the others, and make a new person.
        await savepoint.rollback()
    else:
        raise Conflict("a subject is erased again and again; try again", field="subject")
    if began_with is not None:
        erased = await _last_erased(uow, by_digest)
        if any(erased.get(digest) not in {None, began_with.get(name)} for name, digest in by_name.items()):
            raise Conflict("the subject was erased meanwhile; this was said before", field="subject")
    opened = await _open(uow, keyring, rows)
    if len(opened) < len(rows):
        raise Conflict("what a backup brought back of an erased subject is being removed; try again")
    found = {row.digest: opened[row.id] for row in rows}
    return {name: found[digest] for name, digest in by_name.items()}


async def lock_subjects(uow: UnitOfWork, subject_ids: Collection[UUID]) -> None:
    """Nobody else remembers or forgets of them until the end. In the order in which everybody locks several."""
    lock = select(Subject.id).where(Subject.id.in_(subject_ids)).order_by(Subject.digest)
    await uow.session.execute(lock.with_for_update(key_share=True))


async def _make_missing(uow: UnitOfWork, keyring: Keyring, names: dict[bytes, str]) -> None:
    """By their digests."""
    for _ in range(_ATTEMPTS):
        missing = sorted(names.keys() - await _living(uow, names))
        if not missing:
            return
        # Whoever makes one of them at the same time is waited for; then theirs are found, and ours were never there.
        savepoint = await uow.session.begin_nested()
        rows, data_keys = [], []
        newest = await keyring.lock_newest_tenant_key(uow)
        identifiers = await new_ids(uow, 2 * len(missing))
        for digest, identifier, key_id in zip(missing, identifiers[::2], identifiers[1::2], strict=True):
            key, purpose = generate_data_key(), f"subject {identifier}"
            sealed = seal_value(key, place("subjects", "sealed_name", identifier), names[digest].encode())
            data_keys.append(
                {
                    "id": key_id,
                    "tenant_key_id": newest.id,
                    "purpose": purpose,
                    "suite": newest.suite,
                    "wrapped_key": newest.wrap(uow.tenant_id, key_id, purpose, key),
                    "fingerprint": data_key_fingerprint(key),
                    "created_at": uow.now(),
                }
            )
            rows.append(
                {
                    "id": identifier,
                    "digest": digest,
                    "sealed_name": sealed,
                    "data_key_id": key_id,
                    "created_at": uow.now(),
                }
            )
            await asyncio.sleep(0)  # thousands take a while: others are served in between
        await uow.session.execute(insert(DataKey), data_keys)
        made = await uow.session.execute(insert(Subject).on_conflict_do_nothing().returning(Subject.id), rows)
        if len(made.all()) == len(rows):
            await savepoint.commit()
            return
        await savepoint.rollback()
    raise Conflict("others keep making the same subjects; try again", field="subject")


async def _living(uow: UnitOfWork, digests: Collection[bytes]) -> set[bytes]:
    """Those of subjects whose key is there. A restored backup brings back rows of erased subjects, not
    their keys: whoever is called so now is somebody else, and the sweep deletes what is left of the other one.
    """
    found = (
        await uow.session.execute(select(Subject.id, Subject.digest, _IS_DESTROYED).where(Subject.digest.in_(digests)))
    ).all()
    erased = {identifier for identifier, _, is_erased in found if is_erased}
    if erased:
        nameless = update(Subject).where(Subject.id.in_(erased)).values(digest=None, sealed_name=None)
        await uow.session.execute(nameless)
    return {digest for identifier, digest, _ in found if digest is not None and identifier not in erased}


async def new_ids(uow: UnitOfWork, count: int) -> list[UUID]:
    """Ids of rows that are sealed before they are written: they are part of what is bound."""
    rows = await uow.session.scalars(text("SELECT uuidv7() FROM generate_series(1, :count)"), {"count": count})
    return list(rows)


def _digest(names_key: OpenedKey, name: str) -> bytes:
    """However a keyboard writes an accented letter, it is the same name."""
    return hmac_digest(names_key.key, unicodedata.normalize("NFC", name).encode(), sha256)
