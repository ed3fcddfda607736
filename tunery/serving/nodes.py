"""The nodes that serve: which are alive, which hold what, and how to talk to them.

Nodes speak vLLM's OpenAI-compatible protocol (`engines/server.py`).
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import msgspec
from sqlalchemy import select

from tunery.core.database import UnitOfWork
from tunery.core.errors import Conflict, DomainError, InvalidInput, Unavailable
from tunery.core.logs import get_logger
from tunery.serving.embedding_request import decode_vector
from tunery.serving.event_stream import DONE
from tunery.serving.openai_wire import GENERATE, FinishReason, TokenUsage
from tunery.training.models import Node
from tunery.training.nodes import HEARTBEAT_TIMEOUT

MODELS_TTL: Final = 5.0
"""Seconds for which a node's answer to "what do you serve" is believed."""
ASK_TIMEOUT: Final = httpx.Timeout(2.0)
# Loading fetches the adapter, and the base too when this is the first request for it.
LOAD_TIMEOUT: Final = httpx.Timeout(300.0, connect=2.0)
# Between two tokens; before the first one a chat may wait for others to end.
CHAT_TIMEOUT: Final = httpx.Timeout(60.0, connect=2.0)
# Sixty-four long texts take a core some 3.5 s, and several requests may be under way.
EMBED_TIMEOUT: Final = httpx.Timeout(30.0, connect=2.0)

_OK: Final = 200
_NOT_FOUND: Final = 404
_DATA: Final = "data: "
_END: Final = DONE.decode().strip().removeprefix(_DATA)

log = get_logger(__name__)


@dataclass(frozen=True)
class NodeToken:
    """What the gateway shows to nodes: a node answers nobody else."""

    value: str = field(repr=False)


class NoNode(Unavailable):
    code = "NO_NODE"


class NodeLost(Unavailable):
    """A node didn't answer, stopped in the middle, or has no room: another one may serve the request."""

    code = "NODE_LOST"


class NotLoaded(DomainError):
    """The node doesn't hold the adapter (any more)."""


class AdapterUnusable(Conflict):
    """The node refused the adapter's files; asking again changes nothing."""

    code = "ADAPTER_UNUSABLE"


@dataclass(frozen=True, slots=True)
class NodeChunk:
    """A piece of a node's answer, with its usage so far."""

    text: str
    usage: TokenUsage
    finish_reason: FinishReason | None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int = 0


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Error(msgspec.Struct):
    message: str = ""


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: _Error | None = None


class _Failure(msgspec.Struct):
    error: _Error | str | None = None
    message: str = ""

    @property
    def text(self) -> str:
        return self.error.message if isinstance(self.error, _Error) else self.error or self.message


class _Embedding(msgspec.Struct):
    index: int
    embedding: str


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


class _Model(msgspec.Struct):
    id: str
    task: str = GENERATE


class _Models(msgspec.Struct):
    data: list[_Model]


async def live_nodes(uow: UnitOfWork) -> list[str]:
    """Addresses of the nodes that gave a sign of life within HEARTBEAT_TIMEOUT."""
    alive = select(Node.address).where(Node.heartbeat_at > uow.now() - HEARTBEAT_TIMEOUT).order_by(Node.name)
    return list(await uow.session.scalars(alive))


class NodeClient:
    """Talks to nodes by their addresses, with the installation's node token."""

    def __init__(self, client: httpx.AsyncClient, token: NodeToken) -> None:
        self._client = client
        self._headers = {"authorization": f"Bearer {token.value}"}
        self._models: dict[str, tuple[float, frozenset[str]]] = {}

    async def serving(self, addresses: Sequence[str], base_model: str, digest: str | None) -> list[str]:
        """The nodes that serve the base, the one to ask first at the front. Raises NoNode when there is none.

        Rendezvous hashing (Thaler, Ravishankar 1998): an adapter keeps its node, and its memory there, while others
        come and go.
        """
        held = await asyncio.gather(*(self._served(address) for address in addresses))
        found = [address for address, models in zip(addresses, held, strict=True) if base_model in models]
        if not found:
            raise NoNode(f"no node serves {base_model} at the moment; try again in a little while")
        key = digest or base_model
        return sorted(found, key=lambda address: hashlib.sha256(f"{key} {address}".encode()).digest())

    async def load_adapter(self, address: str, digest: str, object_prefix: str, base_model: str) -> None:
        """Have the node hold the adapter. Raises AdapterUnusable, NodeLost."""
        body = {"lora_name": digest, "lora_path": object_prefix, "base_model": base_model}
        try:
            response = await self._client.post(
                f"{address}/v1/load_lora_adapter", json=body, headers=self._headers, timeout=LOAD_TIMEOUT
            )
        except httpx.HTTPError as error:
            raise _lost(address, error) from error
        # vLLM says 400 when it holds the adapter; a name is a digest, so what it holds is the right one.
        if response.status_code == _OK or "already been loaded" in response.text:
            return
        reason = _reason(response.content)
        log.warning("node can't load adapter", node=address, digest=digest, status=response.status_code, reason=reason)
        if response.is_client_error and response.status_code != httpx.codes.UNAUTHORIZED:
            raise AdapterUnusable(f"this model's adapter can't be served: {reason}", field="model")
        raise NodeLost(f"the node can't load the adapter now: {reason}")

    async def chat(self, address: str, body: dict[str, Any]) -> AsyncGenerator[NodeChunk, None]:
        """Stream a completion; closing it stops the node. Raises NotLoaded, InvalidInput, NodeLost."""
        request = {**body, "stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
        try:
            async with self._client.stream(
                "POST", f"{address}/v1/chat/completions", json=request, headers=self._headers, timeout=CHAT_TIMEOUT
            ) as response:
                if response.status_code != _OK:
                    raise _refusal(response.status_code, _reason(await response.aread()))
                async for line in response.aiter_lines():
                    if not line.startswith(_DATA):
                        continue
                    if (data := line.removeprefix(_DATA)) == _END:
                        return
                    if (chunk := _read_chunk(data)) is not None:
                        yield chunk
        except httpx.HTTPError as error:
            raise _lost(address, error) from error
        raise NodeLost("the node ended its answer in the middle")

    async def embed(self, address: str, model: str, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in their order. Raises NotLoaded, InvalidInput, NodeLost."""
        body = {"model": model, "input": list(texts), "encoding_format": "base64"}
        try:
            response = await self._client.post(
                f"{address}/v1/embeddings", json=body, headers=self._headers, timeout=EMBED_TIMEOUT
            )
        except httpx.HTTPError as error:
            raise _lost(address, error) from error
        if response.status_code != _OK:
            raise _refusal(response.status_code, _reason(response.content))
        try:
            found = msgspec.json.decode(response.content, type=_Embeddings).data
            vectors = {embedding.index: decode_vector(embedding.embedding) for embedding in found}
        except ValueError as error:
            raise NodeLost("the node sent something that is no embedding") from error
        if vectors.keys() != set(range(len(texts))):
            raise NodeLost("the node didn't embed every text")
        return [vectors[index] for index in range(len(texts))]

    async def _served(self, address: str) -> frozenset[str]:
        """Ids of what the node can be asked to chat with; nothing when it doesn't answer."""
        until, models = self._models.get(address, (0.0, frozenset()))
        if time.monotonic() < until:
            return models
        try:
            response = await self._client.get(f"{address}/v1/models", headers=self._headers, timeout=ASK_TIMEOUT)
            response.raise_for_status()
            listed = msgspec.json.decode(response.content, type=_Models).data
            models = frozenset(model.id for model in listed if model.task == GENERATE)
        except (httpx.HTTPError, ValueError) as error:
            log.warning("node doesn't say what it serves", node=address, error=repr(error))
            models = frozenset()
        self._models[address] = (time.monotonic() + MODELS_TTL, models)
        return models


def _read_chunk(data: str) -> NodeChunk | None:
    """None for the chunks that carry nothing: the role, and the usage of the whole."""
    try:
        chunk = msgspec.json.decode(data, type=_Chunk)
    except ValueError as error:
        raise NodeLost("the node sent something that is no chunk") from error
    if chunk.error is not None:
        log.error("node failed in the middle of an answer", reason=chunk.error.message)
        raise NodeLost("the node failed in the middle of its answer")
    if not chunk.choices:
        return None
    choice = chunk.choices[0]
    text = choice.delta.content or ""
    if not text and choice.finish_reason is None:
        return None
    if chunk.usage is None:
        raise NodeLost("the node doesn't say how many tokens it generated")
    reason: FinishReason | None = None
    if choice.finish_reason is not None:
        reason = "length" if choice.finish_reason == "length" else "stop"
    return NodeChunk(text, TokenUsage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens), reason)


def _refusal(status: int, reason: str) -> DomainError:
    if status == _NOT_FOUND:
        return NotLoaded(reason)
    if status == httpx.codes.BAD_REQUEST:
        return InvalidInput(reason)
    log.warning("node refuses a request", status=status, reason=reason)
    return NodeLost("the node can't take the request now; try again in a moment")


def _reason(content: bytes) -> str:
    try:
        return msgspec.json.decode(content, type=_Failure).text[:500]
    except ValueError:
        return content[:500].decode(errors="replace")


def _lost(address: str, error: httpx.HTTPError) -> NodeLost:
    log.warning("node lost", node=address, error=repr(error))
    return NodeLost("the node that serves this model stopped answering; try again in a moment")
