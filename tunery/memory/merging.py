"""Near duplicates: the same said in other words. Vectors find the candidates; what a vector hardly sees (a number, a
negation, a name) is compared in the texts, and in doubt both memories stay.
"""

import re
from collections.abc import Collection
from typing import Final

NEAR: Final = 0.95
"""Cosine from which two texts may be the same statement."""

_WORD: Final = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
_NUMBER: Final = re.compile(r"\d+(?:[.,:/-]\d+)*")
_SENTENCE_END: Final = ".!?:\n"
_OPENING: Final = " \t\"'([*-\u00ab\u2013\u2014\u2018\u201c\u201e"
"""What may stand between a sentence's beginning and its first word: space, brackets, dashes, quotation marks."""


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NUMERALS: Final = _set_of(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty forty fifty
    sixty seventy eighty ninety hundred thousand million billion half third quarter dozen first second once twice
    thrice null eins ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf zwanzig hundert tausend un deux
    trois quatre cinq sept huit neuf dix uno dos tres cuatro cinco seis siete ocho nueve diez due tre quattro cinque
    sei sette otto nove dieci
    """
)
_NEGATIONS: Final = _set_of(
    """
    no not never none nobody nothing nowhere neither nor without cannot hardly rarely seldom except unless former
    formerly longer stopped stop quit nicht nichts nie niemals niemand kein keine keinen keiner keinem ohne ne pas
    jamais aucun aucune sans nunca nada nadie ningún ninguna sin non mai nessuno nessuna senza
    """
)
_PREFIXES: Final = ("un", "dis", "in", "im", "il", "ir", "non", "mis", "anti")
_BEGINNINGS: Final = _set_of(
    """
    a an the this that these those he she it they we you i his her its their our your my is are was were has have had
    does do did will would can could should may might in on at to for from by with of and or but if when while since
    after before there here
    """
)


def says_the_same(one: str, other: str) -> bool:
    """Whether two texts whose vectors are near differ in nothing that would make them two statements: no number, no
    negation, no capitalised name, nor the order in which they come.
    """
    return (
        _numbers(one) == _numbers(other)
        and _negations(one) == _negations(other)
        and not _names(one) - set(_words(other))
        and not _names(other) - set(_words(one))
        and _in_order(one, _names(one) | _names(other)) == _in_order(other, _names(one) | _names(other))
        and not _is_negated(one, other)
    )


def _numbers(text: str) -> tuple[list[str], list[str]]:
    return _NUMBER.findall(text), _in_order(text, _NUMERALS)


def _negations(text: str) -> int:
    """How many: "does not" and "doesn't" deny the same."""
    return sum(word in _NEGATIONS or word.endswith(("n't", "n\u2019t")) for word in _words(text))


def _in_order(text: str, wanted: Collection[str]) -> list[str]:
    return [word for word in _words(text) if word in wanted]


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _names(text: str) -> set[str]:
    """Capitalised words. At the beginning of a sentence a function word is no name."""
    names = set()
    for match in _WORD.finditer(text):
        word = match[0].casefold()
        before = text[: match.start()].rstrip(_OPENING)
        begins = not before or before[-1] in _SENTENCE_END
        if match[0][0].isupper() and not (begins and word in _BEGINNINGS):
            names.add(word)
    return names


def _is_negated(one: str, other: str) -> bool:
    """Whether a word of one is a word of the other with a negating prefix: likes and dislikes."""
    here, there = set(_words(one)), set(_words(other))
    pairs = ((here - there, there - here), (there - here, here - there))
    return any(prefix + word in others for words, others in pairs for word in words for prefix in _PREFIXES)
