"""A root key of AWS KMS: it seals and opens there, and never leaves it.

Each call says in KMS's encryption context what it is for, so that a policy can bind it and CloudTrail shows it. What
was opened is remembered for some minutes: a busy tenant costs a call now and then, not one per read.
"""

import asyncio
import hashlib
import importlib.util
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tunery.core.errors import Unavailable
from tunery.core.logs import get_logger
from tunery.vault.sealing import Sealed, refuse

REMEMBERED_SECONDS = 300.0
MOST_REMEMBERED = 10_000
CONTEXT_NAME = "tunery"
TIMEOUT_SECONDS = 2
"""Of a call, with its wait for a thread: whoever calls holds a transaction open. Of a connection and of an answer, too,
so that threads come back.
"""
ATTEMPTS = 1
PATIENCE_SECONDS = 5.0
"""For so long after KMS did not answer, nobody asks it again."""
THREADS = 4
"""Of its own, so that an outage of KMS leaves others theirs."""
AWAY = "the root key in AWS KMS can't be reached"
REFUSALS = ("InvalidCiphertextException", "IncorrectKeyException")
"""KMS's names for bytes that this key did not seal, or not in this context."""

_ARN = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+")

log = get_logger(__name__)


class AwsKmsRootKey:
    """Region and key are the ARN's; credentials come from where boto3 looks for them."""

    def __init__(self, arn: str, *, now: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError for what is no key's ARN (an alias may come to mean another key), and without boto3."""
        match = _ARN.fullmatch(arn)
        if match is None:
            raise ValueError(f"{arn!r} is no ARN of a KMS key: arn:aws:kms:<region>:<account>:key/<id>")
        if importlib.util.find_spec("boto3") is None:
            raise ValueError("root keys of AWS KMS need boto3: pip install 'tunery[aws]'")
        self.id = f"aws-kms:{arn}"
        self._arn = arn
        self._region = match[1]
        self._now = now
        self._connected: Any = None
        self._opened: OrderedDict[bytes, tuple[float, bytes]] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kms")
        self._away_until = -math.inf

    async def seal(self, context: bytes, secret: bytes) -> bytes:
        """`secret` has at most 4,096 bytes."""
        answer = await self._call("encrypt", context, Plaintext=secret)
        sealed: bytes = answer["CiphertextBlob"]
        return sealed

    async def unseal(self, context: bytes, sealed: bytes, what: Sealed) -> bytes:
        name = hashlib.sha256(len(context).to_bytes(4, "big") + context + sealed).digest()
        remembered = self._remembered(name)
        if remembered is not None:
            return remembered
        try:
            answer = await self._call("decrypt", context, CiphertextBlob=sealed)
        except _Refused as error:
            refuse(what, context, f"KMS does not open it: {error}")
        secret: bytes = answer["Plaintext"]
        self._opened[name] = (self._now() + REMEMBERED_SECONDS, secret)
        while len(self._opened) > MOST_REMEMBERED:
            self._opened.popitem(last=False)
        return secret

    def _remembered(self, name: bytes) -> bytes | None:
        # In the order of their ends, as all last equally long.
        while self._opened and next(iter(self._opened.values()))[0] <= self._now():
            self._opened.popitem(last=False)
        entry = self._opened.get(name)
        return entry[1] if entry else None

    async def _call(self, operation: str, context: bytes, **arguments: bytes) -> dict[str, Any]:
        """Raises _Refused, and Unavailable: what else goes wrong is KMS's or the network's or the rights' doing."""
        self._check_not_away()
        asked = self._threads.submit(self._ask, operation, context, arguments)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asked), TIMEOUT_SECONDS)
        except TimeoutError as error:
            if asked.cancel():  # it never had its turn: that many ask is no outage
                raise Unavailable(AWAY) from error
            raise self._gone_away(operation, error) from error

    def _ask(self, operation: str, context: bytes, arguments: dict[str, bytes]) -> dict[str, Any]:
        """In a thread. Raises as `_call`."""
        from botocore.exceptions import BotoCoreError, ClientError

        self._check_not_away()  # whoever had the thread before may have found out
        encryption_context = {CONTEXT_NAME: context.decode()}
        try:
            answer: dict[str, Any] = getattr(self._client(), operation)(
                KeyId=self._arn, EncryptionContext=encryption_context, **arguments
            )
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in REFUSALS:
                raise _Refused(code) from None
            log.warning("KMS refuses", operation=operation, key=self._arn, code=code)
            raise Unavailable(f"the root key in AWS KMS can't be used now: {code}") from error
        except BotoCoreError as error:
            raise self._gone_away(operation, error) from error
        return answer

    def _check_not_away(self) -> None:
        if self._now() < self._away_until:
            raise Unavailable(AWAY)

    def _gone_away(self, operation: str, error: Exception) -> Unavailable:
        self._away_until = self._now() + PATIENCE_SECONDS
        log.warning("KMS does not answer", operation=operation, key=self._arn, error=repr(error))
        return Unavailable(AWAY)

    def _client(self) -> Any:
        """Made in the thread that needs it first: it reads files and may ask the machine's metadata. Two threads may
        both make one, then one of them is dropped.
        """
        if self._connected is None:
            import boto3
            from botocore.config import Config

            config = Config(
                connect_timeout=TIMEOUT_SECONDS,
                read_timeout=TIMEOUT_SECONDS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            )
            self._connected = boto3.session.Session().client("kms", region_name=self._region, config=config)
        return self._connected


class _Refused(Exception):
    """KMS did not open the ciphertext."""
