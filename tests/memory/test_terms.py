import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tunery.memory.terms import hash_terms, terms_of


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("She prefers window seats on long flights.", ["prefer", "window", "seat", "long", "flight"]),
        ("FLIGHT flights Flight", ["flight"]),
        ("ﬁne  café", ["fine", "café"]),  # a ligature, and an accent that stands apart
        ("order #A-17 of 3.50", ["order", "17", "3", "50"]),
        ("the of and", []),
        ("", []),
    ],
)
def test_a_text_s_words_are_stemmed_and_stand_once(text: str, terms: list[str]):
    assert terms_of(text) == terms


def test_what_is_no_word_is_cut_off():
    [term] = terms_of("x" * 10_000)
    assert len(term) == 64


def test_words_of_any_script_are_words():
    assert terms_of("Istanbul 2026 東京 नमस्ते") == ["istanbul", "2026", "東京", "नमस", "त"]


def test_hashes_of_two_tenants_have_nothing_in_common():
    words = terms_of(" ".join(f"word{number}" for number in range(2000)))
    one, other = (hash_terms(secrets.token_bytes(32), words) for _ in range(2))
    assert len(set(one)) == len(set(other)) == len(words) == 2000
    assert not set(one) & set(other)
    assert all(-(2**63) <= number < 2**63 for number in one)


def test_equal_words_have_equal_hashes_under_one_key():
    key = secrets.token_bytes(32)
    assert hash_terms(key, terms_of("Likes long flights"))[1:] == hash_terms(key, ["long", "flight"])


def test_threads_stem_side_by_side():
    words = ["preferences", "travelling", "connections", "happily", "organisations", "windows"]
    texts = [" ".join(words[turn:] + words[:turn]) for turn in range(len(words))] * 50
    expected = [terms_of(text) for text in texts]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(terms_of, texts)) == expected
