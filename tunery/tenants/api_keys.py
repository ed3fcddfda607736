"""API keys: `tnr_`, 256 random bits in base 62, six characters of checksum.

Only the SHA-256 is stored; with 256 bits of entropy a slow hash would protect nothing more. The prefix and checksum let
secret scanners find leaked keys and drop false alarms without asking us.
"""

import hashlib
import secrets
import zlib
from uuid import UUID

from tunery.core import ids
from tunery.core.database import API_KEY_SETTING, UnitOfWork
from tunery.core.errors import InvalidInput, NotFound, Unauthenticated
from tunery.core.identity import Identity
from tunery.core.reader import Reader, with_setting
from tunery.tenants.models import ApiKey

PREFIX = "tnr_"
SECRET_BYTES = 32
LONGEST_NAME = 100
KEY_IS_VALID = "EXISTS (SELECT FROM api_keys WHERE id = {} AND revoked_at IS NULL)"
"""SQL over the id of a key that was authenticated a while ago, in its tenant's context."""
_PRESENTED = with_setting(  # row-level security shows a key to whoever presents it
    API_KEY_SETTING,
    "encode($1, 'hex')",
    "(SELECT row(tenant_id, id, created_by, revoked_at IS NULL) FROM api_keys WHERE digest = $1)",
)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6


def generate_secret() -> str:
    body = _base62(secrets.randbits(8 * SECRET_BYTES), _SECRET_LENGTH)
    return PREFIX + body + _checksum(body)


def create_api_key(uow: UnitOfWork, name: str, member_id: UUID) -> tuple[ApiKey, str]:
    """A new key and its secret, which is shown this once."""
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidInput(f"a key's name has 1 to {LONGEST_NAME} characters", field="name")
    secret = generate_secret()
    key = ApiKey(name=name, hint=secret[-4:], digest=_digest(secret), created_by=member_id, created_at=uow.now())
    uow.session.add(key)
    return key, secret


async def revoke_api_key(uow: UnitOfWork, identifier: UUID) -> ApiKey:
    """Refuse the key from now on. Revoking twice changes nothing. Raises NotFound."""
    key = await uow.session.get(ApiKey, identifier, with_for_update=True)
    if key is None:
        raise NotFound("API key", ids.encode("API key", identifier), field="id")
    key.revoked_at = key.revoked_at or uow.now()
    return key


async def authenticate(reader: Reader, authorization: str | None) -> Identity:
    """Who presents `Bearer tnr_…`. Raises Unauthenticated."""
    if authorization is None:
        raise Unauthenticated("send your API key: Authorization: Bearer tnr_…")
    scheme, _, secret = authorization.partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not _is_well_formed(secret):
        raise Unauthenticated("this is no Tunery API key: they begin with tnr_ and have 53 characters")
    key = await reader.value(_PRESENTED, [_digest(secret)])
    if key is None:
        raise Unauthenticated("this API key is unknown")
    tenant_id, key_id, member_id, is_valid = key
    if not is_valid:
        raise Unauthenticated("this API key was revoked")
    return Identity(tenant_id, key_id, member_id)


def _is_well_formed(secret: str) -> bool:
    if not secret.startswith(PREFIX) or len(secret) != len(PREFIX) + _SECRET_LENGTH + _CHECKSUM_LENGTH:
        return False
    body = secret[len(PREFIX) : -_CHECKSUM_LENGTH]
    return secret.isascii() and secret[-_CHECKSUM_LENGTH:] == _checksum(body)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
