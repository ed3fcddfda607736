"""The OpenAI-compatible gateway: `/v1/chat/completions` and `/v1/models` for the clients that people already have.

A chat is authorised, its prompt counted, its worst case held as credit, and only then sent to a node. What the client
was sent is settled; so nobody pays for a node that died, for tokens after a disconnect, or for an answer that never
began.
"""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import wraps
from typing import Any, Final

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tunery.core.clock import Clock
from tunery.core.database import Database
from tunery.core.errors import DomainError
from tunery.core.http import Handler, openai_errors
from tunery.core.identity import Identity
from tunery.core.reader import Reader
from tunery.core.services import Services
from tunery.serving.answer import Answer, collect, stream
from tunery.serving.chat_memory import ChatMemory
from tunery.serving.chat_request import LONGEST_REQUEST, ChatRequest, parse_chat_request
from tunery.serving.event_stream import EventStream, read_body, until_disconnect
from tunery.serving.metering import LONGEST_START, ChatPrice, open_bill
from tunery.serving.nodes import NodeClient, NodeLost, NodeToken, NotLoaded, live_nodes
from tunery.serving.openai_wire import CompletionWriter, TokenUsage
from tunery.serving.prompt_tokens import PromptTokens
from tunery.serving.served_models import ServedModel, find_model, list_models
from tunery.tenants.api_keys import authenticate
from tunery.training.catalogue import BaseModelFiles

CLIENT_CLOSED_REQUEST: Final = 499
"""nginx's number for an answer that nobody reads; it only shows in logs."""


class ContextLengthExceeded(DomainError):
    code = "CONTEXT_LENGTH_EXCEEDED"


def routes(services: Services) -> list[Route]:
    """To be mounted at the root. Needs Database, Reader, NodeToken, BaseModelFiles, Clock and httpx.AsyncClient."""
    gateway = _Gateway(services)
    return [
        Route("/v1/chat/completions", _edge(gateway.chat), methods=["POST"]),
        Route("/v1/models", _edge(gateway.models), methods=["GET"]),
        Route("/v1/models/{model:path}", _edge(gateway.model), methods=["GET"]),
    ]


def _edge(handler: Handler) -> Handler:
    """Errors in OpenAI's shape, and a request id on every answer unless the application's middleware sees to it."""
    inner = openai_errors(handler)

    @wraps(handler)
    async def handle(request: Request) -> Response:
        if "request_id" in request.scope:
            return await inner(request)
        request.scope["request_id"] = f"req_{uuid.uuid4().hex}"
        response = await inner(request)
        response.headers["x-request-id"] = request.scope["request_id"]
        return response

    return handle


class _Gateway:
    def __init__(self, services: Services) -> None:
        self._services = services
        self._database = services.get(Database)
        self._reader = services.get(Reader)
        self._clock = services.get(Clock)
        self._prompts = PromptTokens(services.get(BaseModelFiles))
        self._nodes = NodeClient(services.get(httpx.AsyncClient), services.get(NodeToken))

    async def models(self, request: Request) -> Response:
        identity = await self._authenticate(request)
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            found = await list_models(uow)
        return JSONResponse({"object": "list", "data": [model.to_json() for model in found]})

    async def model(self, request: Request) -> Response:
        identity = await self._authenticate(request)
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            return JSONResponse((await find_model(uow, request.path_params["model"])).to_json())

    async def chat(self, request: Request) -> Response:
        identity = await self._authenticate(request)
        asked = parse_chat_request(await read_body(request, LONGEST_REQUEST))
        async with self._database.unit_of_work(identity.tenant_id) as uow:
            model = await find_model(uow, asked.model)
            addresses = await live_nodes(uow)
        prompt_tokens = await self._count(asked, model)
        memory = None
        if model.deployment.memory and asked.user is not None:
            memory = await ChatMemory.begin(
                self._services, identity.tenant_id, model.deployment.name, asked.user, asked.messages
            )
            messages, prompt_tokens = await memory.prompt(self._prompts, model.base_model, prompt_tokens)
            asked = replace(asked, messages=messages)
        room = model.base_model.context_length - prompt_tokens
        most = TokenUsage(prompt_tokens, min(asked.max_tokens or room, room))
        nodes = await self._nodes.serving(addresses, model.base_model.name, model.deployment.digest)
        bill = await open_bill(self._database, identity.tenant_id, ChatPrice.of(model.base_model, most))
        writer = CompletionWriter(
            f"chatcmpl-{uuid.uuid4().hex}", int(self._clock.now().timestamp()), asked.model, asked.include_usage
        )
        try:
            answer = await until_disconnect(request, self._begin(nodes, asked, model, most))
            if asked.stream:
                return EventStream(stream(answer, bill, writer, asked, memory))
            return JSONResponse(await until_disconnect(request, collect(answer, bill, writer, memory)))
        except ClientDisconnect:
            await bill.close()
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        except BaseException:
            await bill.close()
            raise

    async def _authenticate(self, request: Request) -> Identity:
        return await authenticate(self._reader, request.headers.get("authorization"))

    async def _count(self, asked: ChatRequest, model: ServedModel) -> int:
        """The prompt's tokens. Raises ContextLengthExceeded."""
        prompt_tokens = await self._prompts.count(model.base_model, asked.messages)
        context = model.base_model.context_length
        if prompt_tokens >= context:
            raise ContextLengthExceeded(
                f"this model's maximum context length is {context} tokens, and your messages have {prompt_tokens}",
                field="messages",
            )
        return prompt_tokens

    async def _begin(self, nodes: Sequence[str], asked: ChatRequest, model: ServedModel, most: TokenUsage) -> Answer:
        """The answer, at its first token. A node that fails before it is no loss: the next one is asked."""
        body = {
            "model": model.node_model,
            "messages": asked.messages,
            "max_tokens": most.completion_tokens,
            "temperature": asked.temperature,
            "top_p": asked.top_p,
            "seed": asked.seed,
            "stop": list(asked.stop) or None,
        }
        lost = NodeLost("no node could begin an answer in time; try again in a moment")
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_START.total_seconds()):
                for address in nodes:
                    try:
                        return await self._begin_at(address, body, model)
                    except NodeLost as error:
                        lost = error
        raise lost

    async def _begin_at(self, address: str, body: dict[str, Any], model: ServedModel) -> Answer:
        try:
            return await Answer.begin(self._nodes.chat(address, body))
        except NotLoaded:
            await self._load(address, model)
        try:
            return await Answer.begin(self._nodes.chat(address, body))
        except NotLoaded as error:
            raise NodeLost("the node has no room for this model's adapter; try again in a moment") from error

    async def _load(self, address: str, model: ServedModel) -> None:
        deployment = model.deployment
        if deployment.digest is not None and deployment.object_prefix is not None:
            await self._nodes.load_adapter(address, deployment.digest, deployment.object_prefix, model.base_model.name)
