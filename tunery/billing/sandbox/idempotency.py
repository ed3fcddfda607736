"""Idempotency keys as Stripe's v1 API treats them (https://docs.stripe.com/api/idempotent_requests)."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tunery.billing.sandbox.errors import IdempotencyKeyInUse, IdempotencyMismatch, InvalidRequest
from tunery.billing.sandbox.form_encoding import Raw
from tunery.billing.sandbox.storage import Store

_KEPT_SECONDS = 24 * 3600
_MAX_KEY_LENGTH = 255


@dataclass(frozen=True)
class StoredResponse:
    """The first answer to a key; `request_id` is that of the request which was really executed."""

    status: int
    body: str
    request_id: str


class IdempotencyKeys:
    """Remembers the answers in the store, and in memory which keys are being used right now."""

    def __init__(self, store: Store) -> None:
        self._connection = store.connection
        self._in_use: set[tuple[str, str]] = set()

    @contextmanager
    def claim(self, account: str, key: str, fingerprint: str, now: int) -> Iterator[StoredResponse | None]:
        """Holds a key during one request; yields the stored response when the key was used before.

        Raises:
            InvalidRequest: the key is longer than 255 characters.
            IdempotencyKeyInUse: another request with this key has not been answered yet.
            IdempotencyMismatch: the key was used for another URL or other parameters.
        """
        if len(key) > _MAX_KEY_LENGTH:
            raise InvalidRequest("Idempotency keys can have up to 255 characters.")
        if (account, key) in self._in_use:
            raise IdempotencyKeyInUse(key)
        self._connection.execute("DELETE FROM idempotency_keys WHERE created <= ?", (now - _KEPT_SECONDS,))
        row = self._connection.execute(
            "SELECT fingerprint, status, body, request_id FROM idempotency_keys WHERE account = ? AND key = ?",
            (account, key),
        ).fetchone()
        if row is not None and row[0] != fingerprint:
            raise IdempotencyMismatch(key)
        self._in_use.add((account, key))
        try:
            yield None if row is None else StoredResponse(row[1], row[2], row[3])
        finally:
            self._in_use.discard((account, key))

    def remember(self, account: str, key: str, fingerprint: str, response: StoredResponse, now: int) -> None:
        """Belongs into the transaction that did the work, so that work and answer are kept or lost together."""
        self._connection.execute(
            "INSERT INTO idempotency_keys (account, key, fingerprint, status, body, request_id, created) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (account, key, fingerprint, response.status, response.body, response.request_id, now),
        )


def fingerprint_of(method: str, path: str, parameters: Mapping[str, Raw]) -> str:
    """A digest of what a key may be repeated with: the same URL and the same parameters in any order."""
    canonical = json.dumps([method, path, parameters], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
