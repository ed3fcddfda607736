import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors

from tunery.training.tokenization import IGNORED_LABEL, Tokenizer, TokenizerError, token_ranges

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
MESSAGES = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Héllo 🙂"}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Byte-level tokens without merges, whose post-processor would add a second <s> and whose JSON asks for padding."""
    vocabulary = {character: index for index, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    tokenizer.enable_padding(length=999)
    tokenizer.enable_truncation(3)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    return tmp_path


def test_labels_are_the_assistants_tokens_and_specials_come_once(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder, context_length=100)
    row = tokenizer.encode_conversation(MESSAGES)
    assert tokenizer.decode(row.input_ids, skip_special_tokens=False) == "<s>user: Hi</s>assistant: Héllo 🙂</s>"
    trained = [label for label in row.labels if label != IGNORED_LABEL]
    # The emoji ends the span, spread over four tokens: all of them are trained.
    assert tokenizer.decode(trained) == "Héllo 🙂"
    assert row.trainable_tokens == len(trained) == len("Héllo 🙂".encode())
    assert not row.truncated
    assert len(row.labels) == row.tokens


def test_truncation_keeps_the_beginning_and_says_so(folder: Path) -> None:
    whole = Tokenizer.from_folder(folder, context_length=100).encode_conversation(MESSAGES)
    cut = Tokenizer.from_folder(folder, context_length=10).encode_conversation(MESSAGES)
    assert cut.truncated
    assert cut.input_ids == whole.input_ids[:10]
    assert cut.trainable_tokens == 0


def test_batches_equal_single_rows_in_order(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder, context_length=100)
    conversations = [
        [{"role": "user", "content": f"n{i}"}, {"role": "assistant", "content": "x" * i}] for i in range(600)
    ]
    assert list(tokenizer.encode_conversations(conversations)) == [
        tokenizer.encode_conversation(conversation) for conversation in conversations
    ]


def test_prompt_ends_where_the_assistant_begins(folder: Path) -> None:
    tokenizer = Tokenizer.from_folder(folder, context_length=5)
    ids = tokenizer.encode_prompt(MESSAGES[:1])
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s>user: Hi</s>assistant: "


def test_template_file_wins_over_the_configs(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    row = Tokenizer.from_folder(folder, context_length=100).encode_conversation(MESSAGES)
    assert row.tokens == 2
    assert row.trainable_tokens == 0


@pytest.mark.parametrize(
    ("spans", "offsets", "expected"),
    [
        # White space trimmed from the offsets at a span's start, in it and at its end.
        ([(2, 9)], [(0, 2), (3, 5), (6, 6), (6, 8), (9, 9), (10, 12)], [(1, 4)]),
        # Two spans that share a token; a span between tokens; a span after the last token.
        ([(0, 1), (1, 4)], [(0, 2), (2, 4)], [(0, 1), (0, 2)]),
        ([(2, 3)], [(0, 2), (3, 5)], []),
        ([(7, 9)], [(0, 2)], []),
        ([(0, 2)], [(0, 2), (2, 3)], [(0, 1)]),
    ],
)
def test_token_ranges(
    spans: list[tuple[int, int]], offsets: list[tuple[int, int]], expected: list[tuple[int, int]]
) -> None:
    assert list(token_ranges(spans, offsets)) == expected


def test_missing_files_and_templates_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(TokenizerError, match="no chat template"):
        Tokenizer.from_folder(folder, context_length=10)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.from_folder(folder, context_length=10)
