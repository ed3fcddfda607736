"""What an inference engine does, whichever library generates the tokens."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tunery.core.errors import InvalidInput, NotFound, Unavailable
from tunery.serving.chat_request import ChatRequest
from tunery.serving.openai_wire import FinishReason, TokenUsage


class ModelNotLoaded(NotFound):
    """Neither a base model of this node nor the digest of an adapter that is loaded there."""

    code = "MODEL_NOT_FOUND"

    def __init__(self, model: str) -> None:
        super().__init__("model loaded here", model, field="model")


class ContextLengthExceeded(InvalidInput):
    code = "CONTEXT_LENGTH_EXCEEDED"

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        super().__init__(
            f"this model's context holds {context_length} tokens, and the messages alone have {prompt_tokens}",
            field="messages",
        )


class EngineBusy(Unavailable):
    code = "ENGINE_BUSY"


class EmbeddingModelUnusable(Unavailable):
    """The embedding model's files aren't on this machine, or aren't the ones they should be."""

    code = "EMBEDDING_MODEL_UNUSABLE"


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base model that the node serves (`parent` is None), or an adapter that is loaded, by its digest."""

    id: str
    parent: str | None
    context_length: int | None


@dataclass(frozen=True, slots=True)
class ChatDelta:
    """The next piece of an answer. `usage` counts all tokens generated so far, the end-of-turn token included."""

    text: str
    usage: TokenUsage
    finish_reason: FinishReason | None = None


class Engine(Protocol):
    async def models(self) -> list[LoadedModel]:
        """What can be asked for now: base models, and the adapters that are loaded."""
        ...

    async def load_adapter(self, digest: str, object_prefix: str, base_model: str) -> None:
        """Bring an adapter into memory under its digest; nothing happens when it is there.

        Raises AdapterRefused unless its files are exactly those that the digest stands for and fit the base;
        ModelNotLoaded for a base that this node doesn't serve; EngineBusy when every place is in use.
        """
        ...

    def chat(self, request: ChatRequest) -> AsyncGenerator[ChatDelta, None]:
        """Generate; the first delta is empty and says that the request was admitted. Closing stops the generation.

        Raises ModelNotLoaded, ContextLengthExceeded, EngineBusy, InvalidInput before the first delta.
        """
        ...


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """Vectors of unit length in the texts' order, and how many tokens were read for them."""

    vectors: list[list[float]]
    tokens: int


class EmbeddingEngine(Protocol):
    @property
    def model(self) -> str:
        """The model's name on the wire."""
        ...

    @property
    def most_tokens(self) -> int:
        """How much of a text is read."""
        ...

    async def embed(self, texts: Sequence[str]) -> EmbeddedTexts:
        """Embed texts, of each as much as the model reads. Cancelling stops the work soon.

        Raises EmbeddingModelUnusable, EngineBusy.
        """
        ...


@dataclass(frozen=True, slots=True)
class BaseModelFolder:
    """Where a base's files are on this machine."""

    folder: Path
    revision: str
    context_length: int


class BaseModelSource(Protocol):
    """Which base models a node serves, and their files."""

    async def names(self) -> list[str]: ...

    async def fetch(self, name: str) -> BaseModelFolder:
        """Bring the files here. Raises ModelNotLoaded for a base that isn't served."""
        ...
