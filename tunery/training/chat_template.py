"""Chat templates: OpenAI-style messages to the text a base model was trained on, with the assistant's parts marked.

Renders as transformers does (`transformers.utils.chat_template_utils`, Apache-2.0, is the reference that the tests
compare with), without transformers, so that an API process can show and count a data set before any money moves.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tunery.core.errors import InvalidInput
from tunery.training.template_sandbox import MOST_SECONDS, TemplateSandbox, render_bounded

Message = Mapping[str, Any]
"""One OpenAI-style message: `role` and `content`."""

_MAX_TEMPLATE_CHARACTERS: Final = 256 * 1024
_GENERATION_TAG: Final = re.compile(r"\{%[-+]?\s*generation\b")


class TemplateError(InvalidInput, ValueError):
    """The chat template doesn't compile, refuses the messages, or asks for too much."""

    code = "CHAT_TEMPLATE_ERROR"


@dataclass(frozen=True, slots=True)
class RenderedChat:
    """A conversation as text; `assistant_spans` are half-open ranges of its characters, in order."""

    text: str
    assistant_spans: tuple[tuple[int, int], ...]


class ChatTemplate:
    """A Hugging Face chat template, compiled once in a bounded sandbox. Safe to share between threads."""

    def __init__(self, source: str, *, special_tokens: Mapping[str, str] | None = None) -> None:
        """Compile `source`; `special_tokens` (`bos_token`, `eos_token`, ...) become variables of the template.

        Raises TemplateError when it is too long or isn't a valid template.
        """
        if len(source) > _MAX_TEMPLATE_CHARACTERS:
            raise TemplateError(f"The chat template is longer than {_MAX_TEMPLATE_CHARACTERS} characters.")
        self.source: Final = source
        self._special_tokens = dict(special_tokens or {})
        self._marks = _GENERATION_TAG.search(source) is not None
        try:
            self._template = TemplateSandbox().timed_template(source)
        except Exception as error:
            # A hostile template fails in the compiler with whatever it likes, RecursionError included.
            raise TemplateError(f"The chat template doesn't compile: {_reason(error)}") from error

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> RenderedChat:
        """Render one conversation. With `add_generation_prompt` an unmarked template's spans aren't looked for.

        Raises TemplateError when there are no messages, when the template refuses them (`raise_exception`), fails,
        passes its bounds, opens a generation block where its place in the text can't be known (in a macro), or has
        none and can't be cut by prefixes either.
        """
        if not messages:
            raise TemplateError("A conversation needs at least one message.", field="messages")
        text, marked = self._render(messages, add_generation_prompt=add_generation_prompt)
        if not self._marks and not add_generation_prompt:
            return RenderedChat(text, tuple(self._cut_by_prefixes(text, messages)))
        # transformers trusts these positions; inside a macro or a captured block they are wrong, and the loss would
        # silently fall on other tokens.
        if any(text[start:end] != block for start, end, block in marked):
            raise TemplateError("The chat template opens a generation block inside a macro or a captured block.")
        spans = sorted((start, end) for start, end, _ in marked if end > start)
        return RenderedChat(text, tuple(spans))

    def _render(
        self, messages: Sequence[Message], *, add_generation_prompt: bool
    ) -> tuple[str, list[tuple[int, int, str]]]:
        variables = self._special_tokens | {
            "messages": list(messages),
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return render_bounded(self._template, variables)
        except Exception as error:
            raise TemplateError(f"The chat template refuses the messages: {_reason(error)}") from error

    def _cut_by_prefixes(self, text: str, messages: Sequence[Message]) -> Iterator[tuple[int, int]]:
        """The spans under a template without generation blocks: what each assistant's message adds to its prompt.

        A first message of the assistant's is context alone: there is no prompt to which a model would answer it.
        """
        deadline = time.monotonic() + MOST_SECONDS
        end = 0
        for index, message in enumerate(messages):
            if index == 0 or message.get("role") != "assistant":
                continue
            if time.monotonic() > deadline:
                raise TemplateError(f"Cutting the conversation by prefixes takes more than {MOST_SECONDS:g} seconds.")
            last = index + 1 == len(messages)
            prompt, _ = self._render(messages[:index], add_generation_prompt=True)
            until, _ = (text, ()) if last else self._render(messages[: index + 1], add_generation_prompt=False)
            before, start, end = end, len(prompt), len(until)
            if not (text.startswith(prompt) and text.startswith(until) and before <= start <= end):
                raise TemplateError(
                    "The chat template neither marks the assistant's part with {% generation %} nor can be cut by "
                    "prefixes: it writes earlier messages differently once others follow."
                )
            if start < end:
                yield start, end


def _reason(error: Exception) -> str:
    return str(error)[:500] or type(error).__name__
