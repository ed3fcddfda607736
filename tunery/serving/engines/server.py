"""An engine over HTTP, with the paths and shapes of vLLM's OpenAI server, so that the gateway can't tell them apart.

vLLM's documentation: https://docs.vllm.ai/en/latest/features/lora.html. Ours differs in three ways: `lora_path` is a
prefix in object storage; `base_model` names the base, because one of our nodes can serve several; and a model that only
embeds is listed with `"task": "embed"`, so that nobody sends it a chat.
"""

import hmac
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tunery.core.errors import DomainError, InvalidInput, Unauthenticated
from tunery.core.http import Handler, fault, openai_errors
from tunery.serving import embedding_request
from tunery.serving.chat_request import LONGEST_REQUEST, ChatRequest, parse_chat_request
from tunery.serving.embedding_request import embedding_answer, parse_embedding_request
from tunery.serving.engines.engine import ChatDelta, EmbeddingEngine, Engine, LoadedModel, ModelNotLoaded
from tunery.serving.event_stream import DONE, EventStream, read_body, server_sent_event, until_disconnect
from tunery.serving.openai_wire import EMBED, GENERATE, CompletionWriter

CLIENT_CLOSED_REQUEST = 499
"""nginx's number for an answer that nobody reads; it only shows in logs."""


class _LoadAdapter(msgspec.Struct):
    lora_name: str
    lora_path: str
    base_model: str


def create_engine_app(engine: Engine, token: str, embeddings: EmbeddingEngine | None = None) -> Starlette:
    """The node's inference server. Every path but `/health` wants `Authorization: Bearer <token>`."""
    server = _EngineServer(engine, token, embeddings)
    return Starlette(
        routes=[
            Route("/health", server.health),
            Route("/v1/models", server.guard(server.models)),
            Route("/v1/load_lora_adapter", server.guard(server.load_adapter), methods=["POST"]),
            Route("/v1/chat/completions", server.guard(server.chat), methods=["POST"]),
            Route("/v1/embeddings", server.guard(server.embed), methods=["POST"]),
        ]
    )


class _EngineServer:
    def __init__(self, engine: Engine, token: str, embeddings: EmbeddingEngine | None) -> None:
        self._engine = engine
        self._embeddings = embeddings
        self._expected = f"Bearer {token}".encode()
        self._started = int(time.time())

    def guard(self, handler: Handler) -> Handler:
        @openai_errors
        async def handle(request: Request) -> Response:
            given = request.headers.get("authorization", "").encode("latin-1")
            if not hmac.compare_digest(given, self._expected):
                raise Unauthenticated("this node answers its own gateway alone")
            return await handler(request)

        return handle

    async def health(self, _request: Request) -> Response:
        return PlainTextResponse("")

    async def models(self, _request: Request) -> Response:
        data = [self._card(model, GENERATE) for model in await self._engine.models()]
        if self._embeddings is not None:
            data.append(self._card(LoadedModel(self._embeddings.model, None, self._embeddings.most_tokens), EMBED))
        return JSONResponse({"object": "list", "data": data})

    def _card(self, model: LoadedModel, task: str) -> dict[str, object]:
        return {
            "id": model.id,
            "object": "model",
            "created": self._started,
            "owned_by": "tunery",
            "root": model.id,
            "parent": model.parent,
            "max_model_len": model.context_length,
            "task": task,
        }

    async def load_adapter(self, request: Request) -> Response:
        try:
            asked = msgspec.json.decode(await read_body(request, LONGEST_REQUEST), type=_LoadAdapter)
        except ValueError as error:
            raise InvalidInput(str(error)) from error
        await self._engine.load_adapter(asked.lora_name, asked.lora_path, asked.base_model)
        return PlainTextResponse(f"Success: LoRA adapter '{asked.lora_name}' added successfully.")

    async def embed(self, request: Request) -> Response:
        asked = parse_embedding_request(await read_body(request, embedding_request.LONGEST_REQUEST))
        if self._embeddings is None or asked.model != self._embeddings.model:
            raise ModelNotLoaded(asked.model)
        try:
            done = await until_disconnect(request, self._embeddings.embed(asked.texts))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return JSONResponse(embedding_answer(asked, done.vectors, done.tokens))

    async def chat(self, request: Request) -> Response:
        asked = parse_chat_request(await read_body(request, LONGEST_REQUEST))
        writer = CompletionWriter(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), asked.model)
        deltas = self._engine.chat(asked)
        try:
            if not asked.stream:
                return JSONResponse(await until_disconnect(request, _whole(deltas, writer)))
            # Until the engine has admitted the request its refusal is still an HTTP status.
            first = await until_disconnect(request, _next(deltas))
        except ClientDisconnect:
            await deltas.aclose()
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return EventStream(_events(first, deltas, writer, asked))


async def _next(deltas: AsyncGenerator[ChatDelta, None]) -> ChatDelta:
    return await anext(deltas)


async def _whole(deltas: AsyncGenerator[ChatDelta, None], writer: CompletionWriter) -> dict[str, object]:
    text = []
    async with aclosing(deltas):
        async for delta in deltas:
            text.append(delta.text)
            if delta.finish_reason is not None:
                return writer.completion("".join(text), delta.finish_reason, delta.usage)
    raise RuntimeError("the engine ended an answer without a reason")


async def _events(
    first: ChatDelta, deltas: AsyncGenerator[ChatDelta, None], writer: CompletionWriter, asked: ChatRequest
) -> AsyncGenerator[bytes, None]:
    last = first
    async with aclosing(deltas):
        try:
            yield server_sent_event(writer.role(first.usage if asked.continuous_usage_stats else None))
            async for delta in deltas:
                last = delta
                running = delta.usage if asked.continuous_usage_stats else None
                if delta.text:
                    yield server_sent_event(writer.content(delta.text, running))
                if delta.finish_reason is not None:
                    yield server_sent_event(writer.finish(delta.finish_reason, running))
        except Exception as error:  # noqa: BLE001 - the status is sent: what is left is to say it in the stream
            known = error if isinstance(error, DomainError) else fault(error, None)
            yield server_sent_event({"error": {"message": known.message, "code": known.error_code.lower()}})
            return
    if asked.include_usage:
        yield server_sent_event(writer.usage(last.usage))
    yield DONE
