"""The people whom memories are about. The caller's name for a person never stands in the clear: it is found by a keyed
hash, and read back under the person's own key.
"""

import contextlib
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from hmac import digest as hmac_digest
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, InvalidInput, NotFound
from tunery.memory.models import Subject
from tunery.vault.keyring import KeyDestroyed, Keyring, OpenedKey, generate_data_key
from tunery.vault.models import DataKey
from tunery.vault.sealing import KEY_BYTES, place, seal_value, unseal_value

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
        return HKDF(SHA256(), KEY_BYTES, salt=None, info=b"tunery/1/memory digests").derive(self.key)


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
    try:
        return await _open(uow, keyring, row)
    except KeyDestroyed as error:
        raise NotFound("subject", name, field="subject") from error


async def _open(uow: UnitOfWork, keyring: Keyring, row: Subject) -> OpenedSubject:
    return OpenedSubject(row.id, await keyring.open_data_key(uow, row.data_key_id), row.sealed_name)


async def open_subjects(uow: UnitOfWork, keyring: Keyring, identifiers: Iterable[UUID]) -> dict[UUID, OpenedSubject]:
    """By their ids. One whose key was destroyed is missing."""
    living = select(Subject).where(Subject.id.in_(set(identifiers)), Subject.erased_at.is_(None))
    opened = {}
    for row in (await uow.session.scalars(living)).all():
        with contextlib.suppress(KeyDestroyed):  # the sweep removes what is left
            opened[row.id] = await _open(uow, keyring, row)
    return opened


async def ids_of_subjects(uow: UnitOfWork, keyring: Keyring, names: Collection[str]) -> dict[str, UUID]:
    """Whom these names name at the moment, by the names; for `find_or_make_subjects` later."""
    known = await keyring.find_purpose_key(uow, NAMES_PURPOSE)
    if known is None:
        return {}
    by_digest = {_digest(known, name): name for name in names}
    named = select(Subject.id, Subject.digest).where(Subject.digest.in_(by_digest), ~_IS_DESTROYED)
    return {by_digest[row.digest]: row.id for row in await uow.session.execute(named)}


async def find_or_make_subjects(
    uow: UnitOfWork, keyring: Keyring, names: Collection[str], began_with: Mapping[str, UUID] | None = None
) -> dict[str, OpenedSubject]:
    """By their names, each locked until the end of the unit of work: what is known of a person changes in one
    transaction at a time. Raises Conflict; also when a name isn't that person's any more whose it was in `began_with`:
    what was said before somebody was erased is not to come back by whoever was still writing it down.

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
            opened = await _open_locked(uow, keyring, rows)
            found = {name: opened[digest] for name, digest in by_name.items()}
            if any(found[name].id != identifier for name, identifier in (began_with or {}).items() if name in found):
                raise Conflict("the subject was erased meanwhile; this was said before", field="subject")
            return found
        # Somebody was erased while this waited for their lock: let go of the others, and make a new person.
        await savepoint.rollback()
    raise Conflict("a subject is erased again and again; try again", field="subject")


async def _open_locked(uow: UnitOfWork, keyring: Keyring, rows: Iterable[Subject]) -> dict[bytes, OpenedSubject]:
    """By their digests. Raises Conflict."""
    opened = {}
    for row in rows:
        assert row.digest is not None  # noqa: S101 - it was found by it
        try:
            opened[row.digest] = await _open(uow, keyring, row)
        except KeyDestroyed as error:
            raise Conflict("what a backup brought back of an erased subject is being removed; try again") from error
    return opened


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
        rows = []
        for digest, identifier in zip(missing, await new_ids(uow, len(missing)), strict=True):
            key = generate_data_key()
            data_key = await keyring.store_data_key(uow, key, purpose=f"subject {identifier}")
            sealed = seal_value(key, place("subjects", "sealed_name", identifier), names[digest].encode())
            rows.append(
                {
                    "id": identifier,
                    "digest": digest,
                    "sealed_name": sealed,
                    "data_key_id": data_key.id,
                    "created_at": uow.now(),
                }
            )
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
