"""What clients may ask for, and how they are told what they may not."""

import json
from typing import Any

import pytest

from tunery.core.errors import DomainError
from tunery.serving.chat_request import ChatRequest, parse_chat_request

HELLO = [{"role": "user", "content": "Hello"}]


def parse(**body: Any) -> ChatRequest:
    return parse_chat_request(json.dumps({"model": "shop", "messages": HELLO, **body}).encode())


def test_defaults_are_those_of_openai() -> None:
    assert parse() == ChatRequest(model="shop", messages=HELLO)


def test_everything_that_is_supported_is_taken_over() -> None:
    asked = parse(
        messages=[
            {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
            *HELLO,
        ],
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=7,
        max_tokens=9,
        temperature=0,
        top_p=0.5,
        seed=3,
        stop="\n",
        n=1,
        tools=[],
        user="u1",
        logprobs=False,
        frequency_penalty=0,
        response_format={"type": "text"},
    )
    assert asked == ChatRequest(
        model="shop",
        messages=[{"role": "system", "content": "Be brief."}, *HELLO],
        stream=True,
        include_usage=True,
        max_tokens=7,
        temperature=0.0,
        top_p=0.5,
        seed=3,
        stop=("\n",),
        user="u1",
    )


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        ({"messages": []}, "messages", "INVALID_INPUT"),
        ({"messages": None}, "messages", "INVALID_INPUT"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", "INVALID_INPUT"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "INVALID_INPUT"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "INVALID_INPUT"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role", "UNSUPPORTED_PARAMETER"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content",
            "UNSUPPORTED_PARAMETER",
        ),
        ({"model": None}, "model", "INVALID_INPUT"),
        ({"n": 2}, "n", "UNSUPPORTED_PARAMETER"),
        ({"tools": [{"type": "function"}]}, "tools", "UNSUPPORTED_PARAMETER"),
        ({"response_format": {"type": "json_object"}}, "response_format", "UNSUPPORTED_PARAMETER"),
        ({"logprobs": True}, "logprobs", "UNSUPPORTED_PARAMETER"),
        ({"colour": "red"}, "colour", "UNKNOWN_PARAMETER"),
        ({"max_tokens": 0}, "max_tokens", "INVALID_INPUT"),
        ({"max_tokens": "many"}, "max_tokens", "INVALID_INPUT"),
        ({"temperature": 2.5}, "temperature", "INVALID_INPUT"),
        ({"top_p": 0}, "top_p", "INVALID_INPUT"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "INVALID_INPUT"),
        ({"stop": ""}, "stop", "INVALID_INPUT"),
        ({"stream_options": {"include_usage": True}}, "stream_options", "INVALID_INPUT"),
    ],
)
def test_what_is_refused_names_its_parameter(body: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DomainError) as refusal:
        parse(**body)
    assert (refusal.value.field, refusal.value.error_code) == (field, code)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"messages": []}', b"[" * 100_000])
def test_bodies_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(DomainError):
        parse_chat_request(body)
