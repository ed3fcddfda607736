"""What a client may ask of `POST /v1/chat/completions`, checked field by field.

A parameter that would change the answer and isn't supported is refused, never ignored: a client that believes its tools
were offered, or its JSON schema enforced, is worse off than one that reads why not.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec

from tunery.core.errors import InvalidInput

LONGEST_REQUEST: Final = 4 * 1024**2
"""Bytes of a request's body."""
MOST_STOPS: Final = 4

# Values that say the same as leaving the parameter out; None always does.
_NEUTRAL: Final[dict[str, tuple[Any, ...]]] = {
    "n": (1,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "moderation": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "web_search_options": (),
}
# About the request, not the answer.
_WITHOUT_EFFECT: Final = frozenset(
    {
        "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention",
    }
)  # fmt: skip


class UnsupportedParameter(InvalidInput):
    code = "UNSUPPORTED_PARAMETER"


class UnknownParameter(InvalidInput):
    code = "UNKNOWN_PARAMETER"


class _Part(msgspec.Struct):
    type: str
    text: str | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None


class StreamOptions(msgspec.Struct, frozen=True):
    include_usage: bool | None = False
    continuous_usage_stats: bool | None = False
    """vLLM's: every chunk carries the usage so far."""
    include_obfuscation: bool | None = None


_Stop = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Count = Annotated[int, msgspec.Meta(ge=1)]


class _Body(msgspec.Struct):
    model: Annotated[str, msgspec.Meta(min_length=1)]
    messages: list[_Message]
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    user: Any = None
    stop: _Stop | Annotated[list[_Stop], msgspec.Meta(max_length=MOST_STOPS)] | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One completion to make. `messages` have plain text and the roles system, user and assistant."""

    model: str
    messages: list[dict[str, str]]
    stream: bool = False
    include_usage: bool = False
    continuous_usage_stats: bool = False
    max_tokens: int | None = None
    """None: as many as the context holds."""
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    user: Any = None
    """The caller's name for the person who chats, as it was sent. A deployment with memory checks it, and recalls that
    person's memories; for the others it is without effect.
    """


def parse_chat_request(body: bytes) -> ChatRequest:
    """Check the JSON of a request. Raises InvalidInput whose `field` is the parameter at fault."""
    try:
        raw = msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the request's body is no JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InvalidInput("the request's body must be a JSON object")
    _refuse_unsupported(raw)
    try:
        parsed = msgspec.convert(raw, _Body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        raise InvalidInput(message, field=path.removesuffix("`").removeprefix("$.") or _missing(message)) from error
    options = parsed.stream_options or StreamOptions()
    if parsed.stream_options is not None and not parsed.stream:
        raise InvalidInput("stream_options need stream=true", field="stream_options")
    return ChatRequest(
        model=parsed.model,
        messages=_messages(parsed.messages),
        stream=bool(parsed.stream),
        include_usage=bool(options.include_usage),
        continuous_usage_stats=bool(options.continuous_usage_stats),
        max_tokens=parsed.max_completion_tokens or parsed.max_tokens,
        temperature=1.0 if parsed.temperature is None else parsed.temperature,
        top_p=1.0 if parsed.top_p is None else parsed.top_p,
        seed=parsed.seed,
        stop=(parsed.stop,) if isinstance(parsed.stop, str) else tuple(parsed.stop or ()),
        user=parsed.user,
    )


def _refuse_unsupported(raw: dict[str, Any]) -> None:
    for name, value in raw.items():
        if name in _Body.__struct_fields__ or name in _WITHOUT_EFFECT:
            continue
        if name not in _NEUTRAL:
            raise UnknownParameter(f"there is no parameter {name!r:.100}", field=name[:100])
        if value is not None and value not in _NEUTRAL[name]:
            raise UnsupportedParameter(f"{name} isn't supported here: leave it out", field=name)


def _messages(messages: list[_Message]) -> list[dict[str, str]]:
    if not messages:
        raise InvalidInput("a chat needs at least one message", field="messages")
    return [_plain(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _plain(message: _Message, field: str) -> dict[str, str]:
    match message.role:
        # OpenAI's newer name for the system's role; chat templates know the older one.
        case "system" | "developer":
            role: Literal["system", "user", "assistant"] = "system"
        case "user" | "assistant":
            role = message.role
        case "tool" | "function":
            raise UnsupportedParameter("tools aren't supported here", field=f"{field}.role")
        case _:
            raise InvalidInput(
                f"{message.role!r:.100} is no role: use system, user or assistant", field=f"{field}.role"
            )
    if message.tool_calls or message.function_call:
        raise UnsupportedParameter("tools aren't supported here", field=f"{field}.tool_calls")
    if isinstance(message.content, str):
        return {"role": role, "content": message.content}
    if message.content is None:
        raise InvalidInput("a message needs content", field=f"{field}.content")
    return {"role": role, "content": "".join(_text(part, f"{field}.content") for part in message.content)}


def _text(part: _Part, field: str) -> str:
    if part.type != "text" or part.text is None:
        raise UnsupportedParameter(f"content of type {part.type!r:.100} isn't supported here: send text", field=field)
    return part.text


def _missing(message: str) -> str | None:
    """The field that msgspec says is missing at the top level, where it names no path."""
    match = re.fullmatch(r"Object missing required field `(\w+)`", message)
    return match[1] if match else None
