import time

import pytest

from tunery.core.errors import DomainError
from tunery.training.chat_template import ChatTemplate, TemplateError
from tunery.training.template_sandbox import RenderLimits

CHATML = """{% for message in messages -%}
{{ '<|im_start|>' + message['role'] + '\n' }}
{%- if message['role'] == 'assistant' %}{% generation %}{{ message['content'] }}<|im_end|>{% endgeneration %}
{%- else %}{{ message['content'] }}<|im_end|>{% endif %}
{{ '\n' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""
MESSAGES = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Good day 🙂"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you"},
]


def test_spans_are_exactly_the_assistants_parts() -> None:
    chat = ChatTemplate(CHATML).render(MESSAGES)
    assert [chat.text[start:end] for start, end in chat.assistant_spans] == [
        "Good day 🙂<|im_end|>",
        "See you<|im_end|>",
    ]


def test_generation_prompt_and_special_tokens() -> None:
    template = ChatTemplate("{{ bos_token }}" + CHATML, special_tokens={"bos_token": "<s>"})
    text = template.render(MESSAGES[:1], add_generation_prompt=True).text
    assert text.startswith("<s><|im_start|>user\n")
    assert text.endswith("<|im_start|>assistant\n")


def test_a_template_that_marks_nothing_has_no_spans() -> None:
    assert ChatTemplate("{{ messages[0].content }}").render(MESSAGES).assistant_spans == ()


def test_its_own_refusal_is_the_message() -> None:
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(TemplateError, match="roles must alternate") as caught:
        template.render(MESSAGES)
    assert isinstance(caught.value, DomainError)
    assert isinstance(caught.value, ValueError)


def test_generation_inside_a_macro_is_refused_not_misplaced() -> None:
    source = "{% macro say(m) %}[{% generation %}{{ m }}{% endgeneration %}]{% endmacro %}Hello {{ say('you') }}"
    with pytest.raises(TemplateError, match="macro"):
        ChatTemplate(source).render(MESSAGES)


@pytest.mark.parametrize("messages", [[], ["text"], [{"role": "user", "content": object()}]])
def test_messages_that_are_not_json_objects_are_refused(messages: list[object]) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(CHATML).render(messages)  # type: ignore[arg-type]


def test_null_fields_are_absent_and_reasoning_has_its_names() -> None:
    template = ChatTemplate("{{ messages[0].keys() | sort | join(',') }}={{ messages[0].thinking }}")
    message = {"role": "assistant", "content": None, "reasoning": "because"}
    assert template.render([message]).text == "reasoning,reasoning_content,role,thinking=because"


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='system') }}",
        "{{ (''|attr('__class__')).mro() }}",
        "{{ raise_exception.__globals__['json'] }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% include '/etc/passwd' %}",
        "{% set n = namespace(__class__=1) %}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{{ 'x'.encode() }}{{ (1).to_bytes(1000000000, 'big') }}",
    ],
)
def test_reaching_out_of_the_sandbox_fails(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)


HOSTILE = [
    "{% for a in range(100000000) %}x{% endfor %}",
    "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 1000000000 }}",
    "{{ ['a'] * 1000000000 }}",
    "{% set s = 'a' * 10000000 %}",
    "{{ 9 ** 99999999 }}",
    "{% set n = namespace(v=9) %}{% for i in range(40) %}{% set n.v = n.v * n.v %}{% endfor %}{{ n.v }}",
    "{% set n = namespace(v='ab') %}{% for i in range(40) %}{% set n.v = n.v ~ n.v %}{% endfor %}",
    "{% set n = namespace(v='ab') %}{% for i in range(40) %}{% set n.v = n.v + n.v %}{% endfor %}",
    "{% set n = namespace(v=['ab']) %}{% for i in range(40) %}{% set n.v = [n.v, n.v] %}{% endfor %}{{ n.v }}",
    "{% set n = namespace(v=['ab']) %}{% for i in range(40) %}{% set n.v = [n.v, n.v] %}{% endfor %}{{ n.v|tojson }}",
    "{% set s = 'a' * 1000000 %}{{ [s] * 100000 }}",
    "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "{{ ('a' * 100000)|replace('a', 'b' * 100000) }}",
    "{{ ('b' * 100000).join(['a'] * 100000) }}",
    "{{ (['a'] * 100000)|join('b' * 100000) }}",
    "{{ 'a'|center(1000000000) }}",
    "{{ 'a'.center(1000000000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%*d' % (1000000000, 1) }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ '{:{w}}'.format(1, w=1000000000) }}",
    "{{ lipsum(n=100000) }}",
    "{% macro m(d) %}{{ m(d + 1) }}{{ m(d + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(d) %}{% if d %}{{ m(d - 1) }}{{ m(d - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for x in [[[1]]] recursive %}{{ loop([x, x]) }}{% endfor %}",
    "{% set x %}{{ 'a' * 8000000 }}{% endset %}{% set y %}{{ x }}{{ x }}{{ x }}{% endset %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "-" * 20000 + "1 }}",
    "{{ 'x' }}" * 60000,
]


@pytest.mark.parametrize("source", HOSTILE, ids=[source[:60] for source in HOSTILE])
def test_a_template_that_wants_all_memory_or_time_is_stopped(source: str) -> None:
    limits = RenderLimits(steps=100_000, seconds=2.0)
    start = time.monotonic()
    with pytest.raises(TemplateError):
        ChatTemplate(source, limits=limits).render(MESSAGES)
    assert time.monotonic() - start < 6


def test_a_long_honest_conversation_passes() -> None:
    chat = ChatTemplate(CHATML).render([{"role": "user", "content": "word " * 200}] * 2_000)
    assert len(chat.text) > 2_000_000


def test_broken_template_says_where() -> None:
    with pytest.raises(TemplateError, match="endfor"):
        ChatTemplate("{% for m in messages %}")
