import json

import pytest

from tunery.training.validation import DataSetValidator, InvalidDataSet

GOOD = json.dumps({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]})


def conversation(*turns: tuple[str, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


def validate(text: str | bytes, *, max_line_bytes: int = 10_000, part: int = 7) -> DataSetValidator:
    data = text if isinstance(text, bytes) else text.encode()
    validator = DataSetValidator(max_line_bytes)
    for start in range(0, len(data), part):
        validator.update(data[start : start + part])
    validator.finish()
    return validator


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_good_lines_are_counted(end: str):
    assert validate(GOOD + "\n" + GOOD + "\n\n" + GOOD + end).rows == 3
    assert validate(b"\xef\xbb\xbf" + GOOD.encode()).rows == 1


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ('{"messages": [', "malformed_json", "truncated"),
        ("not json", "malformed_json", "invalid"),
        ("[1]", "wrong_format", "Expected `object`"),
        ('{"text": "hi"}', "wrong_format", "unknown field `text`"),
        ('{"messages": "hi"}', "wrong_format", "$.messages"),
        (conversation(("robot", "x")), "wrong_format", "$.messages[0].role"),
        (conversation(("user", 5)), "wrong_format", "$.messages[0].content"),
        (conversation(("user", "x")), "nothing_to_learn", "no assistant message"),
        (conversation(("user", "x"), ("assistant", " ")), "nothing_to_learn", "no assistant message"),
        ('{"messages": []}', "nothing_to_learn", "no assistant message"),
        (conversation(("assistant", "x")), "wrong_order", "turn 1"),
        (conversation(("user", "x"), ("user", "y"), ("assistant", "z")), "wrong_order", "turn 2"),
        (conversation(("user", "x"), ("assistant", "y"), ("system", "z")), "wrong_order", "system"),
        ('{"messages": [], "tools": []}', "wrong_format", "tools"),
    ],
)
def test_a_bad_line_is_reported_with_its_number_and_reason(line: str, code: str, says: str):
    with pytest.raises(InvalidDataSet) as refused:
        validate(f"{GOOD}\n{line}\n{GOOD}\n")
    [error] = refused.value.errors
    assert (error.line, error.code) == (2, code)
    assert says in error.message
    assert refused.value.message.startswith("line 2: ")


def test_every_bad_line_is_counted_and_the_first_thousand_are_told():
    with pytest.raises(InvalidDataSet) as refused:
        validate(f"{GOOD}\n" + "oops\n" * 1250)
    assert refused.value.error_count == 1250
    assert [error.line for error in refused.value.errors] == list(range(2, 1002))


@pytest.mark.parametrize("text", ["", "\n\n", "\r\n"])
def test_an_empty_set_is_refused(text: str):
    with pytest.raises(InvalidDataSet, match="no conversation"):
        validate(text)


def test_a_line_beyond_the_limit_is_refused_without_being_kept():
    validator = DataSetValidator(max_line_bytes=1000)
    validator.update(GOOD.encode() + b"\n")
    for _ in range(200):
        validator.update(b"x" * 1024 * 1024)  # a line of 200 MB
        assert len(validator._pending) <= 1000
    validator.update(b"\n" + GOOD.encode())
    with pytest.raises(InvalidDataSet) as refused:
        validator.finish()
    assert [(error.line, error.code) for error in refused.value.errors] == [(2, "line_too_long")]
    assert validator.rows == 2


def test_bytes_that_are_no_utf8_are_reported():
    with pytest.raises(InvalidDataSet) as refused:
        validate(GOOD.encode().replace(b"Hello", b"H\xffllo"))
    assert refused.value.errors[0].line == 1
