"""How many tokens a prompt has, exactly, before any money moves: the tokenizer and template that the node uses."""

import asyncio
from collections.abc import Sequence

from tunery.core.errors import Unavailable
from tunery.training.catalogue import BaseModelFiles
from tunery.training.chat_template import Message, TemplateError
from tunery.training.models import BaseModel
from tunery.training.tokenization import Tokenizer, TokenizerError


class PromptTokens:
    """Counts with cached tokenizers, one per base and revision."""

    def __init__(self, files: BaseModelFiles) -> None:
        self._files = files
        self._tokenizers: dict[tuple[str, str], Tokenizer] = {}
        self._loading = asyncio.Lock()

    async def count(self, base_model: BaseModel, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt. Raises TemplateError when the template refuses the messages."""
        tokenizer = await self._tokenizer(base_model)
        try:
            return len(await asyncio.to_thread(tokenizer.encode_prompt, messages))
        except TemplateError as error:
            raise TemplateError(error.message, field="messages") from error

    async def _tokenizer(self, base_model: BaseModel) -> Tokenizer:
        key = (base_model.name, base_model.revision)
        async with self._loading:
            if key not in self._tokenizers:
                try:
                    self._tokenizers[key] = await asyncio.to_thread(self._load, base_model)
                except (TokenizerError, TemplateError) as error:
                    raise Unavailable(f"the tokenizer of {base_model.name} can't be used: {error.message}") from error
            return self._tokenizers[key]

    def _load(self, base_model: BaseModel) -> Tokenizer:
        folder = self._files.tokenizer_folder(base_model)
        return Tokenizer.from_folder(folder, context_length=base_model.context_length)
