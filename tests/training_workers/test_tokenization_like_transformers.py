"""Ids and masks are those of transformers, on many conversations and several templates."""

import random
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tunery.training.chat_template import ChatTemplate, TemplateError
from tunery.training.tokenization import IGNORED_LABEL, Tokenizer

WORDS = [
    "lamp",
    "Öl",
    "café",
    "🙂",
    "日本語",
    "a\nb",
    "  two  spaces",
    "<b>&amp;</b>",
    "{{ x }}",
    "9.99",
    "naïve",
    "\ttab",
]
FEATURES = """{%- set ns = namespace(n=0) -%}
{%- for message in messages if message.role != 'tool' %}
{%- set ns.n = ns.n + 1 %}
{%- if message.role == 'assistant' %}
{{- '<|assistant|>' ~ ns.n ~ '\\n' }}
{%- generation %}
    {{- message.content | trim | replace('lamp', 'LAMP') }}{{ eos_token }}
{%- endgeneration %}
{%- elif loop.first and not loop.last %}
{{- bos_token + message | tojson(indent=2) + (loop.length | string) }}
{%- else %}
    {%- macro say(who, text) %}[{{ who | upper }}] {{ text }}{% endmacro %}
    {{- say(message['role'], message.content.split(' ') | join('_')) }}
    {%- if message.content.startswith('9') %}{% continue %}{% endif %}
{%- endif %}
{%- endfor %}
{%- if tools %}{% for tool in tools %}{{ tool | tojson }}{% endfor %}{% endif %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""

CHATML = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.role == 'assistant' %}{% generation %}{{ message.content + '<|im_end|>\\n' }}{% endgeneration %}
{%- else %}{{ message.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""


def conversations(count: int) -> list[list[dict[str, Any]]]:
    choose = random.Random(7)  # noqa: S311

    def said() -> str:
        return " ".join(choose.choices(WORDS, k=choose.randint(1, 9)))

    made = []
    for _ in range(count):
        messages: list[dict[str, Any]] = []
        if choose.random() < 0.5:
            messages.append({"role": "system", "content": said()})
        for _ in range(choose.randint(1, 4)):
            messages.append({"role": "user", "content": said()})
            messages.append({"role": "assistant", "content": said()})
        made.append(messages)
    return made


@pytest.mark.parametrize("template", [None, FEATURES], ids=["shipped", "features"])
def test_ids_and_mask_equal_those_of_transformers(
    base_folder: Path, tokenizer: Tokenizer, template: str | None
) -> None:
    reference = AutoTokenizer.from_pretrained(base_folder)
    if template is not None:
        reference.chat_template = template
        tokenizer = Tokenizer(
            tokenizer._tokenizer,
            ChatTemplate(template, special_tokens=tokenizer.special_tokens),
            special_tokens=tokenizer.special_tokens,
            context_length=1_024,
        )
    examples = conversations(150)
    rows = list(tokenizer.encode_conversations(examples))
    for messages, row in zip(examples, rows, strict=True):
        expected = reference.apply_chat_template(
            messages,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            max_length=1_024,
            truncation=True,
        )
        assert row.input_ids == expected["input_ids"]
        assert [int(label != IGNORED_LABEL) for label in row.labels] == expected["assistant_masks"]
        assert 0 < row.trainable_tokens < row.tokens
        prompt = reference.apply_chat_template(
            messages[:-1], add_generation_prompt=True, tokenize=True, return_dict=True
        )
        assert tokenizer.encode_prompt(messages[:-1]) == prompt["input_ids"]


def test_a_template_without_marks_gives_the_ids_and_mask_of_its_marked_twin(tokenizer: Tokenizer) -> None:
    plain = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    marked_twin, unmarked = (
        Tokenizer(
            tokenizer._tokenizer,
            ChatTemplate(source, special_tokens=tokenizer.special_tokens),
            special_tokens=tokenizer.special_tokens,
            context_length=1_024,
        )
        for source in (CHATML, plain)
    )
    examples = conversations(150)
    expected = list(marked_twin.encode_conversations(examples))
    assert list(unmarked.encode_conversations(examples)) == expected
    assert all(0 < row.trainable_tokens < row.tokens for row in expected)


def test_the_shipped_template_refuses_what_it_was_not_trained_on(tokenizer: Tokenizer) -> None:
    with pytest.raises(TemplateError):
        tokenizer.encode_conversation([{"role": "critic", "content": "x"}])
