"""Chat templates: OpenAI-style messages to the text a base model was trained on, with the assistant's parts marked.

Renders as transformers does (`transformers.utils.chat_template_utils`, Apache-2.0, is the reference that the tests
compare with), without transformers, so that an API process can show and count a data set before any money moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tunery.core.errors import InvalidInput
from tunery.training.template_sandbox import TemplateSandbox, render_bounded

Message = Mapping[str, Any]
"""One OpenAI-style message: `role` and `content`."""

_MAX_TEMPLATE_CHARACTERS: Final = 256 * 1024


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
        try:
            self._template = TemplateSandbox().timed_template(source)
        except Exception as error:
            # A hostile template fails in the compiler with whatever it likes, RecursionError included.
            raise TemplateError(f"The chat template doesn't compile: {_reason(error)}") from error

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> RenderedChat:
        """Render one conversation.

        Raises TemplateError when there are no messages, when the template refuses them (`raise_exception`), fails,
        passes its bounds, or opens a generation block where its place in the text can't be known (in a macro).
        """
        if not messages:
            raise TemplateError("A conversation needs at least one message.", field="messages")
        variables = self._special_tokens | {
            "messages": list(messages),
            "tools": None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            text, marked = render_bounded(self._template, variables)
        except Exception as error:
            raise TemplateError(f"The chat template refuses the messages: {_reason(error)}") from error
        # transformers trusts these positions; inside a macro or a captured block they are wrong, and the loss would
        # silently fall on other tokens.
        if any(text[start:end] != block for start, end, block in marked):
            raise TemplateError("The chat template opens a generation block inside a macro or a captured block.")
        spans = sorted((start, end) for start, end, _ in marked if end > start)
        return RenderedChat(text, tuple(spans))


def _reason(error: Exception) -> str:
    return str(error)[:500] or type(error).__name__
