"""One chat being generated: its cache, its sampling, its text."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache

from tunery.serving.chat_request import ChatRequest
from tunery.serving.engines.engine import ChatDelta
from tunery.serving.engines.text_stream import TextStream
from tunery.serving.openai_wire import TokenUsage

Emit = Callable[[ChatDelta | BaseException], None]


class ChatDecoder:
    """State of one generation. Every method but `cancel` belongs to the thread that owns the model.

    The key-value cache is the chat's own: it depends on the adapter, so sharing one would leak between tenants.
    """

    def __init__(
        self,
        request: ChatRequest,
        *,
        adapter: str | None,
        prompt: list[int],
        max_tokens: int,
        end_tokens: frozenset[int],
        text: TextStream,
        emit: Emit,
    ) -> None:
        self.adapter = adapter
        self.emit = emit
        self.cancelled = False
        self._request = request
        self._prompt_tokens = len(prompt)
        self._max_tokens = max_tokens
        self._end_tokens = end_tokens
        self._text = text
        self._next_input = prompt
        self._completion_tokens = 0
        self._cache: Any = None
        self._generator: torch.Generator | None = None

    def cancel(self) -> None:
        """Stop before the next token. Callable from any thread."""
        self.cancelled = True

    def step(self, model: torch.nn.Module, device: torch.device) -> bool:
        """Generate one token with the model as it is; whether the chat is over."""
        if self._cache is None:
            self._cache = DynamicCache(config=model.config)
        ids = torch.tensor([self._next_input], device=device)
        output = model(input_ids=ids, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        token = self._choose(output.logits[0, -1].float())
        self._next_input = [token]
        self._completion_tokens += 1
        return self._accept(token)

    def _accept(self, token: int) -> bool:
        ended = token in self._end_tokens
        piece = "" if ended else self._text.push(token)
        if ended or self._text.stopped:
            rest = "" if self._text.stopped else self._text.finish()
            self.emit(ChatDelta(piece + rest, self._usage, "stop"))
            return True
        if self._completion_tokens >= self._max_tokens:
            rest = self._text.finish()
            self.emit(ChatDelta(piece + rest, self._usage, "stop" if self._text.stopped else "length"))
            return True
        if piece:
            self.emit(ChatDelta(piece, self._usage))
        return False

    @property
    def _usage(self) -> TokenUsage:
        return TokenUsage(self._prompt_tokens, self._completion_tokens)

    def _choose(self, logits: torch.Tensor) -> int:
        if self._request.temperature == 0:
            return int(logits.argmax())
        if self._generator is None:
            self._generator = torch.Generator(logits.device)
            if self._request.seed is None:
                self._generator.seed()
            else:
                self._generator.manual_seed(self._request.seed)
        probabilities = torch.softmax(logits / self._request.temperature, -1)
        if self._request.top_p < 1:
            # Nucleus sampling (https://arxiv.org/abs/1904.09751): the fewest tokens that hold top_p of the mass.
            ordered, order = probabilities.sort(descending=True)
            ordered[ordered.cumsum(-1) - ordered >= self._request.top_p] = 0
            return int(order[torch.multinomial(ordered, 1, generator=self._generator)])
        return int(torch.multinomial(probabilities, 1, generator=self._generator))
