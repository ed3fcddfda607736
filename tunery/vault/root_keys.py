"""Root keys: they seal the private keys of tenants and of the installation, and nothing else.

An installation has one or more of them, the newest first. The newest seals, all of them open; each row names the one
that sealed it. A root key is 32 bytes that the settings hold, or one of AWS KMS (`aws_kms`), which never leaves it.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Protocol

from tunery.core.errors import Unavailable
from tunery.core.logs import get_logger
from tunery.vault.derivation import derive
from tunery.vault.sealing import Sealed, seal_value, unseal_value, unseal_with_any

ROOT_KEY_BYTES = 32
AWS_KMS = "aws-kms:"
UNNAMED = ""
"""What rows name that were sealed before they named a root key."""

log = get_logger(__name__)


class RootKey(Protocol):
    """Seals some hundred bytes at a time, bound to a context that is no secret."""

    @property
    def id(self) -> str:
        """What rows name it by; it tells nothing of the key."""

    async def seal(self, context: bytes, secret: bytes) -> bytes:
        """Raises Unavailable when it can't be done now."""

    async def unseal(self, context: bytes, sealed: bytes, what: Sealed) -> bytes:
        """Raises UnsealingFailed, and Unavailable when it can't be done now."""


class LocalRootKey:
    """32 bytes in this process's memory."""

    def __init__(self, key: bytes) -> None:
        if len(key) != ROOT_KEY_BYTES:
            raise ValueError(f"the root key holds {len(key)} bytes, not {ROOT_KEY_BYTES}")
        self.key = key
        self.id = f"local-{derive(key, 'root key id', 8).hex()}"
        self._sealing_key = derive(key, "root key sealing")

    async def seal(self, context: bytes, secret: bytes) -> bytes:
        return seal_value(self._sealing_key, context, secret)

    async def unseal(self, context: bytes, sealed: bytes, what: Sealed) -> bytes:
        return unseal_value(self._sealing_key, context, sealed, what=what)


class RootKeys:
    """An installation's root keys, the newest first."""

    def __init__(self, keys: Sequence[RootKey]) -> None:
        """Raises ValueError when there is none, or one twice."""
        self._keys = {key.id: key for key in keys}
        if not keys:
            raise ValueError("no root key")
        if len(self._keys) < len(keys):
            raise ValueError("the same root key is given twice")
        self.newest = keys[0]

    @property
    def ids(self) -> list[str]:
        return list(self._keys)

    @property
    def older_ids(self) -> list[str]:
        """What rows may name that can be sealed anew under the newest."""
        unnamed = [UNNAMED] if self.local else []
        return [*self.ids[1:], *unnamed]

    @property
    def local(self) -> list[LocalRootKey]:
        return [key for key in self._keys.values() if isinstance(key, LocalRootKey)]

    async def seal(self, context: bytes, secret: bytes) -> tuple[str, bytes]:
        """The newest root key's id, and what it sealed."""
        return self.newest.id, await self.newest.seal(context, secret)

    async def unseal(self, root_key: str, context: bytes, sealed: bytes, what: Sealed) -> bytes:
        """What the root key of that id sealed. Raises UnsealingFailed, and Unavailable for a key that isn't here: then
        nothing is lost, the settings lack something.
        """
        if root_key not in self._keys:
            log.error("root key not among the settings", root_key=root_key, what=what)
            raise Unavailable("the root key that this needs is not here: the operator's log says which one")
        return await self._keys[root_key].unseal(context, sealed, what)

    def unseal_unnamed(self, purpose: str, context: bytes, sealed: bytes, what: Sealed) -> bytes:
        """What one of the local root keys sealed before rows named them. Raises UnsealingFailed."""
        return unseal_with_any((derive(key.key, purpose) for key in self.local), context, sealed, what=what)


def parse_root_keys(texts: Sequence[str]) -> RootKeys:
    """Root keys as settings write them: 32 bytes in base64, or `aws-kms:` and a key's ARN. Raises ValueError, without
    repeating a secret.
    """
    return RootKeys([_parse(text) for text in texts])


def decode_secret(text: str, what: str) -> bytes:
    """32 bytes from base64. Raises ValueError without repeating the secret."""
    try:
        secret = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError(f"{what} is not valid base64") from None
    if len(secret) != ROOT_KEY_BYTES:
        raise ValueError(f"{what} holds {len(secret)} bytes, not {ROOT_KEY_BYTES}")
    return secret


def _parse(text: str) -> RootKey:
    if text.startswith(AWS_KMS):
        from tunery.vault.aws_kms import AwsKmsRootKey

        return AwsKmsRootKey(text.removeprefix(AWS_KMS))
    return LocalRootKey(decode_secret(text, "the root key"))
