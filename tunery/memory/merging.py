"""Near duplicates: the same said again with other marks, capitals or emphasis. Vectors find the candidates, the texts
decide. A vector hardly sees a number, a negation, a name, a tense, or who does what to whom, and of a long text not its
end: whatever differs in more than that stays.
"""

import unicodedata
from typing import Final

NEAR: Final = 0.95
"""Cosine from which two texts may be the same statement."""

_MARKS: Final = ".,;:!\"'()[]*_\u00ab\u00bb\u2013\u2014\u2018\u2019\u201c\u201d\u201e\u2026"
"""What may stand before or behind a word. A question mark says something, and so does what `C++` and `-5` hold."""
_LIGHT: Final = frozenset({"the", "really", "very", "actually", "also"})
"""What a statement may have or not. After a negation it counts: who is not very ill may be ill."""
_NEGATIONS: Final = frozenset({"not", "no", "never", "hardly", "cannot"})


def says_the_same(one: str, other: str) -> bool:
    """Whether two texts whose vectors are near are one statement."""
    return statement_of(one) == statement_of(other)


def statement_of(text: str) -> str:
    """The words that count, in their order: equal for texts that say the same."""
    counted: list[str] = []
    before = ""
    for given in unicodedata.normalize("NFC", text).casefold().replace("\u2019", "'").split():
        word = given.strip(_MARKS)
        if word and (word not in _LIGHT or before in _NEGATIONS or before.endswith("n't")):
            counted.append(word)
        before = word or before
    return " ".join(counted)
