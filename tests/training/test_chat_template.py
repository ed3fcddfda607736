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
LLAMA = """{{- bos_token }}{% for message in messages -%}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}
{%- if message['role'] == 'assistant' %}{% generation %}{{ message['content'] | trim }}<|eot_id|>{% endgeneration %}
{%- else %}{{ message['content'] | trim }}<|eot_id|>{% endif %}
{%- endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
MISTRAL = """{{- bos_token }}{% for message in messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{%- if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}
{%- else %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}{% endif %}
{%- endfor %}"""
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
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


def unmarked(source: str) -> str:
    return source.replace("{% generation %}", "").replace("{% endgeneration %}", "")


@pytest.mark.parametrize(
    ("source", "begins", "ends"),
    # ChatML's line break after a turn is the turn's; a marked template may leave it out.
    [(CHATML, "", "<|im_end|>\n"), (LLAMA, "", "<|eot_id|>"), (MISTRAL, " ", "</s>")],
    ids=["chatml", "llama", "mistral"],
)
def test_a_template_without_marks_is_cut_by_prefixes(source: str, begins: str, ends: str) -> None:
    chat = ChatTemplate(unmarked(source), special_tokens=TOKENS).render(MESSAGES)
    assert [chat.text[start:end] for start, end in chat.assistant_spans] == [
        f"{begins}Good day 🙂{ends}",
        f"{begins}See you{ends}",
    ]
    marked = ChatTemplate(source, special_tokens=TOKENS).render(MESSAGES)
    assert chat.text == marked.text
    assert [start for start, _ in chat.assistant_spans] == [start for start, _ in marked.assistant_spans]


def test_prefixes_are_not_rendered_for_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChatTemplate, "_cut_by_prefixes", None)
    chat = ChatTemplate(unmarked(CHATML)).render(MESSAGES[:3], add_generation_prompt=True)
    assert chat.text == ChatTemplate(CHATML).render(MESSAGES[:3], add_generation_prompt=True).text
    assert chat.assistant_spans == ()


REWRITES = {
    "drops earlier reasoning": """{% for m in messages %}<{{ m.role }}>
        {%- if m.role == 'assistant' and not loop.last %}{{ m.content.split(' ')[-1] }}{% else %}{{ m.content }}{% endif %}
        {%- endfor %}{% if add_generation_prompt %}<assistant>{% endif %}""",
    "newest first": "{% for m in messages | reverse %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    "closes the whole": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<end>",
    "opens the answer otherwise": """{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}
        {%- if add_generation_prompt %}<assistant><think>{% endif %}""",
}


@pytest.mark.parametrize("source", REWRITES.values(), ids=REWRITES.keys())
def test_a_template_that_rewrites_earlier_turns_is_refused(source: str) -> None:
    template = ChatTemplate(source)
    with pytest.raises(TemplateError, match=r"neither marks the assistant's part .* nor can be cut by prefixes"):
        template.render(MESSAGES)
    assert template.render(MESSAGES[:3], add_generation_prompt=True).text, "it still chats"


def test_an_assistant_that_speaks_first_is_context() -> None:
    chat = ChatTemplate(unmarked(LLAMA), special_tokens=TOKENS).render(MESSAGES[1:])
    assert [chat.text[start:end] for start, end in chat.assistant_spans] == ["See you<|eot_id|>"]
    assert ChatTemplate(unmarked(LLAMA), special_tokens=TOKENS).render(MESSAGES[1:2]).assistant_spans == ()


def test_a_template_that_says_nothing_of_the_assistant_has_no_spans() -> None:
    assert ChatTemplate("{{ messages[0].content }}").render(MESSAGES).assistant_spans == ()


def test_a_conversation_of_too_many_turns_to_cut_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunery.training.chat_template.MOST_SECONDS", 0.2)
    start = time.monotonic()
    with pytest.raises(TemplateError, match=r"by prefixes takes more than 0\.2 seconds"):
        ChatTemplate(unmarked(LLAMA)).render(MESSAGES * 2_000)
    assert time.monotonic() - start < 6


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
