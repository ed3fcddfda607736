import time

import pytest

from tunery.core.errors import DomainError
from tunery.training.chat_template import ChatTemplate, TemplateError

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


def test_no_messages_are_refused() -> None:
    with pytest.raises(TemplateError, match="at least one"):
        ChatTemplate(CHATML).render([])


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
        "{{ '{0.__class__.__mro__}'.format(1) }}",
    ],
)
def test_reaching_out_of_the_sandbox_fails(source: str) -> None:
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)


HOSTILE = [
    "{% for a in range(100000000) %}x{% endfor %}",
    "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "{% for a in range(90000) %}{% for b in range(90000) %}0123456789{% endfor %}{% endfor %}",
    "{{ 'a' * 1000000000 }}",
    "{{ ['a'] * 1000000000 }}",
    "{{ 9 ** 99999999 }}",
]


@pytest.mark.parametrize("source", HOSTILE)
def test_a_template_that_wants_all_memory_or_time_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunery.training.template_sandbox.MOST_SECONDS", 0.5)
    start = time.monotonic()
    with pytest.raises(TemplateError):
        ChatTemplate(source).render(MESSAGES)
    assert time.monotonic() - start < 6


def test_a_long_honest_conversation_passes() -> None:
    chat = ChatTemplate(CHATML).render([{"role": "user", "content": "word " * 200}] * 2_000)
    assert len(chat.text) > 2_000_000


def test_broken_template_says_where() -> None:
    with pytest.raises(TemplateError, match="endfor"):
        ChatTemplate("{% for m in messages %}")
