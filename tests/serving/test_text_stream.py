"""Incremental detokenisation: whole characters only, and nothing of a stop string."""

import pytest
from scripted_engine import TOKENIZER

from tunery.serving.engines.text_stream import TextStream


def ids_of(text: str) -> list[int]:
    return TOKENIZER._tokenizer.encode(text, add_special_tokens=False).ids


def pieces(text: str, *stop: str) -> tuple[list[str], TextStream]:
    stream = TextStream(TOKENIZER, stop)
    given = []
    for token in ids_of(text):
        given.append(stream.push(token))
        if stream.stopped:
            return given, stream
    return [*given, stream.finish()], stream


@pytest.mark.parametrize("text", ["Grüße an 日本 und 🦜🦜!", " leading space", "two  spaces\n\nand lines", "12.50"])
def test_pieces_join_to_the_text_and_hold_no_broken_character(text: str) -> None:
    given, _ = pieces(text)
    assert "".join(given) == text
    assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in given)


def test_a_character_cut_off_by_the_length_limit_is_dropped() -> None:
    stream = TextStream(TOKENIZER)
    ids = ids_of("ok 🦜")
    assert len(ids) > 4  # the bird takes several tokens
    given = "".join(stream.push(token) for token in ids[:-1]) + stream.finish()
    assert given.strip() == "ok"


def test_bytes_that_never_become_a_character_do_not_hold_up_the_stream() -> None:
    stream = TextStream(TOKENIZER)
    first_byte = ids_of("🦜")[0]
    given = "".join(stream.push(token) for token in [first_byte] * 6)
    assert "\N{REPLACEMENT CHARACTER}" in given
    assert "a" in "".join(stream.push(token) for token in ids_of("abc")) + stream.finish()


def test_a_stop_string_ends_the_text_before_it_however_it_is_split() -> None:
    given, stream = pieces("We close at eight STOP and more", "P and", "zebra")
    assert stream.stopped
    assert "".join(given) == "We close at eight STO"


def test_what_only_looks_like_a_stop_string_is_given_in_the_end() -> None:
    given, stream = pieces("We close at STO", "STOP")
    assert not stream.stopped
    assert "".join(given) == "We close at STO"
    assert not any("STO" in piece for piece in given[:-1])
