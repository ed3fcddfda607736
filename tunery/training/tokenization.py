"""Tokens and loss masks of conversations, with `tokenizers` alone, so that quote, check and training agree."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import tokenizers

from tunery.core.errors import InvalidInput
from tunery.training.chat_template import ChatTemplate, Message, RenderedChat

IGNORED_LABEL: Final = -100
"""The label of a token that isn't trained on; the value that torch's cross entropy ignores by default."""

_BATCH: Final = 256
_NAMED_TOKENS: Final = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class TokenizerError(InvalidInput, ValueError):
    """The tokenizer's files are missing, broken, or carry no chat template."""

    code = "TOKENIZER_ERROR"


class TokenizedRow(msgspec.Struct, frozen=True):
    """One conversation as token ids; `labels[i]` is `input_ids[i]` where it is trained on, else `IGNORED_LABEL`.

    The labels aren't shifted: the model predicts `labels[i]` from `input_ids[:i]`. `truncated` says that the end was
    cut off at the context length.
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool = False

    @property
    def tokens(self) -> int:
        return len(self.input_ids)

    @property
    def trainable_tokens(self) -> int:
        """How many tokens the loss falls on; never the first, which nothing predicts."""
        return sum(label != IGNORED_LABEL for label in self.labels[1:])


class Tokenizer:
    """A fast tokenizer and its chat template. Safe to share between threads; encoding releases the GIL."""

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        template: ChatTemplate,
        *,
        special_tokens: Mapping[str, str],
        context_length: int,
    ) -> None:
        # What tokenizer.json says about padding and truncation is for somebody else's batches.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self.template: Final = template
        self.special_tokens: Final = dict(special_tokens)
        self.context_length: Final = context_length

    @classmethod
    def from_folder(cls, folder: Path, *, context_length: int) -> Self:
        """Load `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` (which wins over the config's).

        `context_length` is in tokens. Raises TokenizerError, or TemplateError for a template that doesn't compile.
        """
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # `tokenizers` raises bare Exception
            raise TokenizerError(f"{folder.name}/tokenizer.json can't be read: {error}") from error
        config = _read_config(folder / "tokenizer_config.json")
        special_tokens = {name: content for name in _NAMED_TOKENS if (content := _content(config.get(name)))}
        template_file = folder / "chat_template.jinja"
        source = template_file.read_text("utf-8") if template_file.is_file() else _template(config)
        template = ChatTemplate(source, special_tokens=special_tokens)
        return cls(tokenizer, template, special_tokens=special_tokens, context_length=context_length)

    @property
    def vocabulary_size(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    @property
    def eos_token_id(self) -> int | None:
        token = self.special_tokens.get("eos_token")
        return None if token is None else self._tokenizer.token_to_id(token)

    def encode_conversation(self, messages: Sequence[Message]) -> TokenizedRow:
        """Tokenise one conversation and mark the assistant's tokens.

        Where the template has no `{% generation %}`, what each of the assistant's messages adds to its prompt is
        its part. Raises TemplateError.
        """
        chat = self.template.render(messages)
        return self._row(chat, self._tokenizer.encode(chat.text, add_special_tokens=False))

    def encode_conversations(self, conversations: Iterable[Sequence[Message]]) -> Iterator[TokenizedRow]:
        """Tokenise many conversations, in order, in batches that use every core. Raises TemplateError."""
        remaining = iter(conversations)
        while chats := [self.template.render(messages) for messages in islice(remaining, _BATCH)]:
            encodings = self._tokenizer.encode_batch([chat.text for chat in chats], add_special_tokens=False)
            for chat, encoding in zip(chats, encodings, strict=True):
                yield self._row(chat, encoding)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The token ids from which the model generates the assistant's next message; never truncated."""
        chat = self.template.render(messages, add_generation_prompt=True)
        return list(self._tokenizer.encode(chat.text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens)

    def _row(self, chat: RenderedChat, encoding: tokenizers.Encoding) -> TokenizedRow:
        # The template has written the special tokens, so none are added; the mask comes from character offsets.
        ids: list[int] = encoding.ids
        labels = [IGNORED_LABEL] * len(ids)
        for start, end in token_ranges(chat.assistant_spans, encoding.offsets):
            labels[start:end] = ids[start:end]
        limit = self.context_length
        return TokenizedRow(ids[:limit], labels[:limit], truncated=len(ids) > limit)


def token_ranges(spans: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Half-open token ranges covering half-open character `spans` (ascending); `offsets` is each token's characters.

    A token that overlaps a span at all belongs to it, as in transformers. Unlike there, a span that starts with white
    space which the tokenizer's offsets leave out still begins at its first token, and the last character of a span
    keeps all its tokens when it is spread over several (an emoji as bytes).
    """
    index = 0
    for start, end in spans:
        while index < len(offsets) and offsets[index][1] <= start:
            index += 1
        first = last = index
        while index < len(offsets) and offsets[index][0] < end:
            index += 1
            # Tokens without width at the end (trimmed white space) belong to what follows.
            if offsets[index - 1][1] > offsets[index - 1][0]:
                last = index
        if last > first:
            yield first, last
        # The next span may begin inside this one's last token.
        index = max(first, last - 1)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise TokenizerError(f"{path.name} isn't JSON: {error}") from error
    if not isinstance(config, dict):
        raise TokenizerError(f"{path.name} isn't an object.")
    return config


def _content(token: Any) -> str | None:
    """A special token is written as text or as an object with its matching rules."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None


def _template(config: Mapping[str, Any]) -> str:
    template = config.get("chat_template")
    if isinstance(template, list):  # named templates; "default" is the one for chats
        template = next((entry.get("template") for entry in template if entry.get("name") == "default"), None)
    if not isinstance(template, str):
        raise TokenizerError("The base model has no chat template.")
    return template
