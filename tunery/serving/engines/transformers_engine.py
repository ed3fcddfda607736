"""The embedded engine: transformers and peft on this machine, one quantised copy of each base for inference alone."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

import torch

from tunery.core.storage import ObjectStorage
from tunery.serving.chat_request import ChatRequest
from tunery.serving.engines.adapter_download import download_adapter
from tunery.serving.engines.decoding import ChatDecoder
from tunery.serving.engines.engine import (
    BaseModelFolder,
    BaseModelSource,
    ChatDelta,
    ContextLengthExceeded,
    LoadedModel,
    ModelNotLoaded,
)
from tunery.serving.engines.model_owner import ModelOwner
from tunery.serving.engines.text_stream import TextStream
from tunery.serving.openai_wire import TokenUsage
from tunery.training.adapter_manifest import AdapterRefused
from tunery.training.tokenization import Tokenizer
from tunery.training_workers.base_model import load_base_model


@dataclass(frozen=True, slots=True)
class _ServedBase:
    owner: ModelOwner
    tokenizer: Tokenizer
    context_length: int

    @property
    def end_tokens(self) -> frozenset[int]:
        end = self.tokenizer.eos_token_id
        return self.owner.end_tokens if end is None else self.owner.end_tokens | {end}


class TransformersEngine:
    """An Engine. Bases load when they are first asked for; of each, up to `max_adapters` adapters stay in memory."""

    def __init__(
        self,
        storage: ObjectStorage,
        source: BaseModelSource,
        *,
        max_adapters: int = 32,
        device: torch.device | str | None = None,
    ) -> None:
        self._storage = storage
        self._source = source
        self._max_adapters = max_adapters
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._bases: dict[str, _ServedBase] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def models(self) -> list[LoadedModel]:
        bases = self._bases
        served = [
            LoadedModel(name, None, bases[name].context_length if name in bases else None)
            for name in await self._source.names()
        ]
        adapters = [
            LoadedModel(digest, name, base.context_length)
            for name, base in bases.items()
            for digest in base.owner.adapters
        ]
        return served + adapters

    async def load_adapter(self, digest: str, object_prefix: str, base_model: str) -> None:
        base = await self._base(base_model)
        async with self._lock(digest):  # of requests that come together one downloads
            if digest in base.owner.adapters:
                return
            shapes = base.owner.linear_shapes
            adapter = await download_adapter(self._storage, digest, object_prefix, base_model, shapes)
            if adapter.manifest.base_model.weights_sha256 != base.owner.weights_sha256:
                raise AdapterRefused("The adapter was trained on other weights of this base.", code="FILES_MISMATCH")
            await asyncio.wrap_future(base.owner.load(adapter))

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        base, adapter = await self._find(request.model)
        prompt = await asyncio.to_thread(base.tokenizer.encode_prompt, request.messages)
        room = base.context_length - len(prompt)
        if room < 1:
            raise ContextLengthExceeded(len(prompt), base.context_length)
        deltas: asyncio.Queue[ChatDelta | BaseException] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(delta: ChatDelta | BaseException) -> None:
            with suppress(RuntimeError):  # the loop was closed: nobody is left to read
                loop.call_soon_threadsafe(deltas.put_nowait, delta)

        chat = ChatDecoder(
            request,
            adapter=adapter,
            prompt=prompt,
            max_tokens=min(request.max_tokens or room, room),
            end_tokens=base.end_tokens,
            text=TextStream(base.tokenizer, request.stop),
            emit=emit,
        )
        try:
            await asyncio.wrap_future(base.owner.start(chat))
            yield ChatDelta("", TokenUsage(len(prompt), 0))
            while True:
                delta = await deltas.get()
                if isinstance(delta, BaseException):
                    raise delta
                yield delta
                if delta.finish_reason is not None:
                    return
        finally:
            chat.cancel()

    async def close(self) -> None:
        """End the models' threads."""
        for base in self._bases.values():
            await asyncio.to_thread(base.owner.close)

    async def _find(self, model: str) -> tuple[_ServedBase, str | None]:
        for base in self._bases.values():
            if model in base.owner.adapters:
                return base, model
        return await self._base(model), None

    async def _base(self, name: str) -> _ServedBase:
        if name in self._bases:
            return self._bases[name]
        if name not in await self._source.names():
            raise ModelNotLoaded(name)
        async with self._lock(name):
            if name not in self._bases:
                found = await self._source.fetch(name)
                self._bases[name] = await asyncio.to_thread(self._load_base, name, found)
            return self._bases[name]

    def _load_base(self, name: str, found: BaseModelFolder) -> _ServedBase:
        tokenizer = Tokenizer.from_folder(found.folder, context_length=found.context_length)
        base = load_base_model(found.folder, found.revision, device=self._device)
        return _ServedBase(ModelOwner(name, base, max_adapters=self._max_adapters), tokenizer, found.context_length)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())
