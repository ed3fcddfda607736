"""An engine that says what it is told to, when it is told to."""

import asyncio
from collections.abc import AsyncGenerator

from lora_adapters import TINY, TINY_FOLDER

from tunery.serving.chat_request import ChatRequest
from tunery.serving.engines.engine import ChatDelta, LoadedModel, ModelNotLoaded
from tunery.serving.openai_wire import TokenUsage
from tunery.training.adapter_manifest import AdapterRefused
from tunery.training.tokenization import Tokenizer

TOKENIZER = Tokenizer.from_folder(TINY_FOLDER, context_length=1024)


class ScriptedEngine:
    """Answers `words`, one token each and one for the end. With `paced`, a word takes a `pace.release()`."""

    def __init__(self, words: list[str], *, paced: bool = False) -> None:
        self.words = words
        self.paced = paced
        self.pace = asyncio.Semaphore(0)
        self.loaded: list[str] = []
        self.load_calls: list[str] = []
        self.refuses_loads = False
        self.fails_after: int | None = None
        self.asked: list[ChatRequest] = []
        self.stopped = 0

    async def models(self) -> list[LoadedModel]:
        return [LoadedModel(TINY, None, 1024), *(LoadedModel(digest, TINY, 1024) for digest in self.loaded)]

    async def load_adapter(self, digest: str, object_prefix: str, base_model: str) -> None:  # noqa: ARG002
        self.load_calls.append(digest)
        if self.refuses_loads:
            raise AdapterRefused("The manifest isn't the one of this digest.", code="FILES_MISMATCH")
        self.loaded.append(digest)

    async def chat(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        if request.model not in (TINY, *self.loaded):
            raise ModelNotLoaded(request.model)
        self.asked.append(request)
        prompt = len(TOKENIZER.encode_prompt(request.messages))
        finished = False
        try:
            yield ChatDelta("", TokenUsage(prompt, 0))
            for number, word in enumerate(self.words, 1):
                if self.fails_after is not None and number > self.fails_after:
                    raise RuntimeError("the accelerator fell off the bus")
                if self.paced:
                    await self.pace.acquire()
                if request.max_tokens is not None and number >= request.max_tokens:
                    finished = True
                    yield ChatDelta(word, TokenUsage(prompt, number), "length")
                    return
                yield ChatDelta(word, TokenUsage(prompt, number))
            finished = True
            yield ChatDelta("", TokenUsage(prompt, len(self.words) + 1), "stop")
        finally:
            self.stopped += not finished
