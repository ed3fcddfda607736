"""What may be asked of a node's `POST /v1/embeddings`, checked field by field, and its answer in OpenAI's shape
(https://platform.openai.com/docs/api-reference/embeddings).
"""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from tunery.core.errors import InvalidInput
from tunery.serving.chat_request import UnknownParameter, UnsupportedParameter

MODEL: Final = "all-MiniLM-L6-v2"
"""What nodes embed with (`engines.embedding_engine`): its name on the wire."""
MOST_TEXTS: Final = 256
LONGEST_TEXT: Final = 8_000
"""Characters of one text."""
LONGEST_REQUEST: Final = 24 * 1024**2
"""Bytes of a request's body: enough where JSON writes each character as two `\\uXXXX`."""

_KNOWN: Final = frozenset({"input", "model", "encoding_format", "dimensions", "user"})

EncodingFormat = Literal["float", "base64"]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    model: str
    texts: tuple[str, ...]
    encoding_format: EncodingFormat = "float"


def parse_embedding_request(body: bytes) -> EmbeddingRequest:
    """Check the JSON of a request. Raises InvalidInput whose `field` is the parameter at fault."""
    try:
        raw = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the request's body is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidInput("the request's body must be a JSON object")
    if unknown := sorted(raw.keys() - _KNOWN):
        raise UnknownParameter(f"there is no parameter {unknown[0]!r:.100}", field=unknown[0][:100])
    model = raw.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidInput("model is the name of an embedding model", field="model")
    match raw.get("encoding_format"):
        case None | "float":
            encoding_format: EncodingFormat = "float"
        case "base64":
            encoding_format = "base64"
        case _:
            raise InvalidInput("encoding_format is float or base64", field="encoding_format")
    if raw.get("dimensions") is not None:
        raise UnsupportedParameter("dimensions isn't supported here: leave it out", field="dimensions")
    return EmbeddingRequest(model, _texts(raw.get("input")), encoding_format)


def _texts(given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        return (_text(given, "input"),)
    if not isinstance(given, list) or not given:
        raise InvalidInput("input is a text, or a list of at least one", field="input")
    if len(given) > MOST_TEXTS:
        raise InvalidInput(f"input has {len(given)} texts: ask for at most {MOST_TEXTS} at once", field="input")
    return tuple(_text(text, f"input[{index}]") for index, text in enumerate(given))


def _text(given: Any, field: str) -> str:
    if isinstance(given, int | list):
        raise UnsupportedParameter("tokens aren't supported here: send texts", field=field)
    if not isinstance(given, str):
        raise InvalidInput("input is a text, or a list of texts", field=field)
    if not given:
        raise InvalidInput("a text to embed can't be empty", field=field)
    if len(given) > LONGEST_TEXT:
        raise InvalidInput(f"the text has {len(given):,} characters: {LONGEST_TEXT:,} is the most", field=field)
    return given


def embedding_answer(asked: EmbeddingRequest, vectors: Sequence[Sequence[float]], tokens: int) -> dict[str, Any]:
    """OpenAI's answer; `base64` is the vector as 32-bit floats, little-endian."""
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": encode_vector(vector) if asked.encoding_format == "base64" else vector,
        }
        for index, vector in enumerate(vectors)
    ]
    return {
        "object": "list",
        "data": data,
        "model": asked.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def encode_vector(vector: Sequence[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def decode_vector(text: str) -> list[float]:
    """Raises ValueError for what `encode_vector` didn't write."""
    content = base64.b64decode(text, validate=True)
    if len(content) % 4:
        raise ValueError("a vector of 32-bit floats has a multiple of four bytes")
    return list(struct.unpack(f"<{len(content) // 4}f", content))
