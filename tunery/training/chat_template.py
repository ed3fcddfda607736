"""Chat templates: OpenAI-style messages to the text a base model was trained on, with the assistant's parts marked.

Renders as transformers does (`transformers.utils.chat_template_utils`, Apache-2.0, is the reference that the tests
compare with), without transformers, so that an API process can show and count a data set before any money moves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tunery.core.errors import InvalidInput
from tunery.training.template_sandbox import RenderLimits, TemplateSandbox, render_bounded

Message = Mapping[str, Any]
"""One OpenAI-style message: `role`, `content` (text or a list of content parts), possibly `tool_calls` and so on."""

_MAX_TEMPLATE_CHARACTERS: Final = 256 * 1024
_MAX_NESTING: Final = 64
# Names under which clients send a message's reasoning; templates read the first or the second.
_REASONING_FIELDS: Final = ("reasoning_content", "thinking", "reasoning")


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

    def __init__(
        self, source: str, *, special_tokens: Mapping[str, str] | None = None, limits: RenderLimits | None = None
    ) -> None:
        """Compile `source`; `special_tokens` (`bos_token`, `eos_token`, ...) become variables of the template.

        Raises TemplateError when it is too long or isn't a valid template.
        """
        if len(source) > _MAX_TEMPLATE_CHARACTERS:
            raise TemplateError(f"The chat template is longer than {_MAX_TEMPLATE_CHARACTERS} characters.")
        self.source: Final = source
        self._special_tokens = dict(special_tokens or {})
        self._limits = limits or RenderLimits()
        try:
            self._template = TemplateSandbox().charged_template(source)
        except Exception as error:
            # A hostile template fails in the compiler with whatever it likes, RecursionError included.
            raise TemplateError(f"The chat template doesn't compile: {_reason(error)}") from error

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = False,
    ) -> RenderedChat:
        """Render one conversation.

        Raises TemplateError when there are no messages, when the template refuses them (`raise_exception`), fails,
        passes its limits, or opens a generation block where its place in the text can't be known (in a macro).
        """
        if not messages:
            raise TemplateError("A conversation needs at least one message.", field="messages")
        variables = self._special_tokens | {
            "messages": [_prepared(message) for message in messages],
            "tools": None if tools is None else [_plain(tool) for tool in tools],
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            text, marked = render_bounded(self._template, variables, self._limits)
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


def _prepared(message: Message) -> dict[Any, Any]:
    if not isinstance(message, Mapping):
        raise TemplateError("A message must be an object.", field="messages")
    # OpenAI clients send `content: null`; templates print it as "None", but cope with a missing key.
    plain: dict[Any, Any] = _plain({key: value for key, value in message.items() if value is not None})
    reasoning = next((plain[name] for name in _REASONING_FIELDS if name in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _plain(value: Any, depth: int = 0) -> Any:
    """Rebuild `value` from plain JSON types: other objects have methods that the sandbox doesn't know."""
    if depth > _MAX_NESTING:
        raise TemplateError("A message is nested too deeply.", field="messages")
    if value is None or type(value) in {str, int, float, bool}:
        return value
    if isinstance(value, Mapping):
        return {_plain(key, depth + 1): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    raise TemplateError(f"A message holds a {type(value).__name__}, which JSON can't.", field="messages")
