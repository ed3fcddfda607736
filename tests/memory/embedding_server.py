"""A server with OpenAI's `/v1/embeddings` whose model is a bag of hashed words: texts that share words lie near each
other, the same words in another order in the same place.
"""

import asyncio
import hashlib
import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.serving.loopback import running

LIGHT = {"a", "an", "the", "is", "are", "and", "of", "in", "to", "very", "really", "she", "he", "her", "his"}
"""They hardly turn a vector: texts that differ in them alone are near duplicates."""


def embed(text: str, dimensions: int, model: str = "") -> list[float]:
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [""]:
        seed = hashlib.sha256(f"{model} {word}".encode()).digest()
        weight = 0.05 if word in LIGHT else 1.0
        for place in range(dimensions):
            byte = hashlib.sha256(seed + place.to_bytes(2, "big")).digest()[0]
            vector[place] += weight * (byte - 127.5)
    return vector


class EmbeddingServer:
    """What it was asked, and what it is to do wrong."""

    def __init__(self) -> None:
        self.url = ""
        self.reset()

    def reset(self) -> None:
        self.dimensions = 48
        self.dimensions_of: dict[str, int] = {}
        """Of some models others."""
        self.scale = 3.0
        """Of its vectors, which are not of length 1."""
        self.asked: list[list[str]] = []
        self.keys: set[str] = set()
        self.away = False
        self.statuses: list[int] = []
        """Of the next answers; then 200."""
        self.refused: set[str] = set()
        """Texts that it does not take."""
        self.choked: set[str] = set()
        """Texts on which it fails."""
        self.zeros: set[str] = set()
        """Texts that have no direction for it."""
        self.answer: object = None
        """In place of the right one."""
        self.held: asyncio.Event | None = None
        """Answers wait for it."""

    async def embeddings(self, request: Request) -> Response:
        body = await request.json()
        self.keys.add(request.headers.get("authorization", ""))
        self.asked.append(body["input"])
        if self.held is not None:
            await self.held.wait()
        status = 503 if self.away else self.statuses.pop(0) if self.statuses else 200
        if status != 200:
            return JSONResponse({"error": {"message": body["input"][0], "code": "no_good"}}, status)
        if self.refused.intersection(body["input"]):
            return JSONResponse({"error": {"message": body["input"][0], "code": "context_length_exceeded"}}, 400)
        if self.choked.intersection(body["input"]):
            return JSONResponse({"error": {"code": "internal"}}, 500)
        if self.answer is not None:
            return Response(json.dumps(self.answer), media_type="application/json")
        data = [
            {
                "object": "embedding",
                "index": index,
                "embedding": [self.scale * x for x in self._embed(text, body["model"])],
            }
            for index, text in enumerate(body["input"])
        ]
        data.reverse()  # the index says which is whose, not the order
        return JSONResponse({"object": "list", "model": body["model"], "data": data})

    def _embed(self, text: str, model: str) -> list[float]:
        if text in self.zeros:
            return [0.0] * self.dimensions_of.get(model, self.dimensions)
        vector = embed(text, self.dimensions_of.get(model, self.dimensions), model)
        length = math.hypot(*vector)
        return [x / length for x in vector]


@asynccontextmanager
async def serving_embeddings() -> AsyncIterator[EmbeddingServer]:
    server = EmbeddingServer()
    async with running(Starlette(routes=[Route("/v1/embeddings", server.embeddings, methods=["POST"])])) as url:
        server.url = f"{url}/v1"
        yield server
