"""OpenAI's chat wire format, as engines and the gateway write it
(https://platform.openai.com/docs/api-reference/chat/streaming).
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

FinishReason = Literal["stop", "length"]

GENERATE: Final = "generate"
EMBED: Final = "embed"
"""What a listed model is for. vLLM's servers don't say: theirs generate."""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens read and written by one completion, so far or in all."""

    prompt_tokens: int
    completion_tokens: int

    def to_json(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True, slots=True)
class CompletionWriter:
    """Writes one completion, whole or as chunks. `usage_field`: chunks carry `usage` even where it is null, as OpenAI's
    do when the client asked for usage.
    """

    id: str
    created: int
    model: str
    usage_field: bool = False

    def role(self, usage: TokenUsage | None = None) -> dict[str, Any]:
        return self._chunk({"role": "assistant", "content": ""}, None, usage)

    def content(self, text: str, usage: TokenUsage | None = None) -> dict[str, Any]:
        return self._chunk({"content": text}, None, usage)

    def finish(self, reason: FinishReason, usage: TokenUsage | None = None) -> dict[str, Any]:
        return self._chunk({}, reason, usage)

    def usage(self, usage: TokenUsage) -> dict[str, Any]:
        """The chunk after the last one: no choices, the usage of the whole."""
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage.to_json()}

    def completion(self, text: str, reason: FinishReason, usage: TokenUsage) -> dict[str, Any]:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": reason,
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": usage.to_json()}

    def _chunk(self, delta: dict[str, str], reason: FinishReason | None, usage: TokenUsage | None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        chunk = {**self._head("chat.completion.chunk"), "choices": [choice]}
        if self.usage_field or usage is not None:
            chunk["usage"] = None if usage is None else usage.to_json()
        return chunk

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}
