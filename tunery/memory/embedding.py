"""Texts as vectors: an interface, and the one that asks any server with OpenAI's `/v1/embeddings`.

What is sent and what comes back is never logged: it is what somebody said.
"""

import asyncio
import math
import re
from collections.abc import Sequence
from typing import Final, Protocol

import httpx
import msgspec

from tunery.core.errors import DomainError, InvalidInput, Unavailable
from tunery.core.logs import get_logger
from tunery.memory.index import MAX_DIMENSIONS

BATCH: Final = 64
"""Texts in one request."""

_TIMEOUT: Final = httpx.Timeout(10.0, connect=2.0)
_DEADLINE: Final = 15.0
"""Seconds for a batch, all attempts together: somebody waits for the answer."""
_PAUSES: Final = (0.2, 0.8)
"""Seconds before the second and the third attempt."""
_LONGEST_PAUSE: Final = 3.0
_REASON: Final = re.compile(r"[A-Za-z0-9_.-]{1,60}")

_PLAIN: Final = "a few plain words"
"""Whoever embeds anything embeds these."""

log = get_logger(__name__)


class TextRefused(InvalidInput):
    """The server doesn't embed one of these texts, now or later: too long for the model, say."""

    code = "TEXT_NOT_EMBEDDABLE"


class TextsFailed(Unavailable):
    """The server fails, or takes too long: it may be its own trouble, or one of these texts."""


class Embedder(Protocol):
    """One embedding model, wherever it runs."""

    @property
    def model(self) -> str:
        """Its name; stored with each vector. Two models never share one."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector of unit length for each text, all of one dimension. Raises Unavailable, TextRefused."""


class Embedders:
    """All that this installation can ask, the newest first: what is remembered now is embedded by that one, the others
    are there for what they embedded before.
    """

    def __init__(self, embedders: Sequence[Embedder]) -> None:
        if not embedders:
            raise ValueError("an installation has at least one embedder")
        self._embedders = {embedder.model: embedder for embedder in reversed(embedders)}
        self.current = embedders[0]

    def find(self, model: str) -> Embedder | None:
        """None when nobody can be asked for it any more."""
        return self._embedders.get(model)


class _Item(msgspec.Struct):
    index: int
    embedding: list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class _Error(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _Failure(msgspec.Struct):
    error: _Error | None = None


class HttpEmbedder:
    """Asks `POST {url}/embeddings`, as OpenAI has it (https://platform.openai.com/docs/api-reference/embeddings)."""

    def __init__(self, client: httpx.AsyncClient, url: str, model: str, api_key: str | None = None) -> None:
        self._client = client
        self._url = f"{url.rstrip('/')}/embeddings"
        self._headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self.model = model

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        vectors: list[list[float]] = []
        for start in range(0, len(texts), BATCH):
            try:
                async with asyncio.timeout(_DEADLINE):
                    vectors += await self._batch(texts[start : start + BATCH])
            except TimeoutError as error:
                raise self._lost("takes too long", TextsFailed) from error
        if len({len(vector) for vector in vectors}) > 1:
            raise self._lost("gave vectors of several dimensions")
        return vectors

    async def _batch(self, texts: Sequence[str]) -> list[list[float]]:
        body = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        for pause in (*_PAUSES, None):
            try:
                response = await self._client.post(self._url, json=body, headers=self._headers, timeout=_TIMEOUT)
            except httpx.HTTPError as error:
                reason, asked, kind = f"does not answer ({type(error).__name__})", 0.0, Unavailable
            else:
                if response.is_success:
                    return self._vectors(response.content, len(texts))
                reason, asked = self._refusal(response)
                kind = TextsFailed if response.status_code == httpx.codes.INTERNAL_SERVER_ERROR else Unavailable
            if pause is not None:
                await asyncio.sleep(min(max(pause, asked), _LONGEST_PAUSE))
        raise self._lost(reason, kind)

    def _vectors(self, content: bytes, count: int) -> list[list[float]]:
        try:
            items = msgspec.json.decode(content, type=_Answer).data
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise self._lost("sent something else than embeddings") from error
        by_index = {item.index: item.embedding for item in items}
        if len(items) != count or by_index.keys() != set(range(count)):
            raise self._lost(f"sent {len(items)} embeddings for {count} texts, or not one for each")
        return [self._unit(by_index[index]) for index in range(count)]

    def _unit(self, vector: list[float]) -> list[float]:
        length = math.hypot(*vector)
        if 1 <= len(vector) <= MAX_DIMENSIONS and length == 0:
            log.warning("embedding server gives a vector of zeros", model=self.model)
            raise TextRefused(f"the embedding model {self.model} gives this text a vector of zeros")
        if not 1 <= len(vector) <= MAX_DIMENSIONS or not math.isfinite(length):
            raise self._lost(f"sent a vector of {len(vector)} dimensions and length {length}")
        return [value / length for value in vector]

    def _refusal(self, response: httpx.Response) -> tuple[str, float]:
        """Why to ask again, and the seconds that the server asks to wait. Raises what asking again won't mend."""
        status = response.status_code
        if status in (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT) or response.is_server_error:
            asked = response.headers.get("retry-after", "")
            return f"answers {status}", float(asked) if asked.isdecimal() else 0.0
        reason = _reason(response.content)
        if status in (
            httpx.codes.BAD_REQUEST,
            httpx.codes.REQUEST_ENTITY_TOO_LARGE,
            httpx.codes.UNPROCESSABLE_ENTITY,
        ):
            log.warning("embedding server refuses texts", model=self.model, status=status, reason=reason)
            raise TextRefused(f"the embedding model {self.model} does not take this text ({reason or status})")
        # A wrong key or address is the operator's to mend: for the caller the model is away.
        log.error("embedding server refuses us", model=self.model, status=status, reason=reason)
        raise Unavailable(f"the embedding model {self.model} can't be asked at the moment")

    def _lost(self, reason: str, kind: type[Unavailable] = Unavailable) -> DomainError:
        log.warning("embedding server fails", model=self.model, reason=reason)
        return kind(f"the embedding model {self.model} {reason}; try again in a moment")


def _reason(content: bytes) -> str:
    """The error's code alone: its message may repeat the text."""
    try:
        error = msgspec.json.decode(content, type=_Failure).error or _Error()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
    reason = str(error.code or error.type or "")
    return reason if _REASON.fullmatch(reason) else ""


async def embed_what_goes(embedder: Embedder, texts: Sequence[str]) -> list[list[float] | None]:
    """A vector for each text, None for one that the model doesn't take: it must not keep its neighbours from theirs.
    Raises Unavailable.
    """
    if not texts:
        return []
    try:
        return list(await embedder.embed(texts))
    except TextRefused:
        if len(texts) == 1:
            return [None]
    middle = len(texts) // 2
    return await embed_what_goes(embedder, texts[:middle]) + await embed_what_goes(embedder, texts[middle:])


async def embed_around_failures(embedder: Embedder, texts: Sequence[str]) -> list[list[float] | None]:
    """As above, for who is in no hurry: a text on which the server fails twice, and not on others, is one that the
    model doesn't take. Raises Unavailable when the server fails on any text.
    """
    try:
        return await embed_what_goes(embedder, texts)
    except TextsFailed:
        await embedder.embed([_PLAIN])
    if len(texts) > 1:
        middle = len(texts) // 2
        halves = texts[:middle], texts[middle:]
        return [vector for half in halves for vector in await embed_around_failures(embedder, half)]
    try:
        return await embed_what_goes(embedder, texts)
    except TextsFailed as error:
        await embedder.embed([_PLAIN])
        log.error("a memory stays without a vector", model=embedder.model, error=error.message)  # noqa: TRY400
        return [None]
