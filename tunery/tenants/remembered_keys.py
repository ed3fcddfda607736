"""Identities of API keys that were valid a moment ago, so that not every request asks the database twice.

Whoever goes by a remembered identity looks at the key again before it matters: the planner within its one statement
(`KEY_IS_VALID`), everything else by `confirm`. A revoked key is refused at once, by every process.
"""

import hashlib
import time
from collections import OrderedDict

from tunery.core.errors import Unauthenticated
from tunery.core.identity import Identity
from tunery.core.reader import Reader
from tunery.tenants.api_keys import authenticate

SECONDS = 60
MOST = 10_000


class RememberedKeys:
    """Of one process, by the SHA-256 of what was presented."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    def recall(self, authorization: str) -> Identity | None:
        """Who presents it, if that is remembered."""
        return self.remembered(hashlib.sha256(authorization.encode()).digest())

    def remembered(self, digest: bytes) -> Identity | None:
        """Who presents what has this SHA-256, if that is remembered."""
        known = self._known.get(digest)
        return known[1] if known is not None and known[0] > time.monotonic() else None

    async def confirm(self, authorization: str | None) -> Identity:
        """Who presents it, by the database. Raises Unauthenticated."""
        digest = hashlib.sha256((authorization or "").encode()).digest()
        try:
            identity = await authenticate(self._reader, authorization)
        except Unauthenticated:
            self._known.pop(digest, None)
            raise
        self._known[digest] = (time.monotonic() + SECONDS, identity)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return identity
