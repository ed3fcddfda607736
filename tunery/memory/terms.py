"""The words of a text, for the leg of search that goes by words. PostgreSQL sees their keyed hashes alone.

They are stemmed as English: of another language, words are found as they are written, apart from endings that look
English.
"""

import hmac
import re
import threading
import unicodedata
from collections.abc import Iterable
from typing import Final

import Stemmer

TERMS_PURPOSE: Final = "search terms"
"""Of the tenant's key that hashes them."""

_WORD: Final = re.compile(r"\w+")
_LONGEST: Final = 64
"""What is longer is no word: it is cut off."""
_HASH_BYTES: Final = 8
_STOP_WORDS: Final = frozenset(
    _WORD.findall(
        """
    a about after all also am an and any are as at be because been before being but by can could did do does doing for
    from had has have having he her here hers him his how i if in into is it its itself just me more most my no nor not
    now of off on once only or other our out over own s same she should so some such t than that the their them then
    there these they this those through to too under until up us very was we were what when where which while who whom
    why will with would you your
    """
    )
)
"""What is in almost every text tells nothing, and only makes the index longer."""


def terms_of(text: str) -> list[str]:
    """The text's words, each once, stemmed, in the order of their first appearance."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    kept = dict.fromkeys(word[:_LONGEST] for word in words if word not in _STOP_WORDS)
    return list(dict.fromkeys(_STEMMER.stem(list(kept))))


def hash_terms(key: bytes, terms: Iterable[str]) -> list[int]:
    """For each term 64 bits of HMAC-SHA-256 as a signed number: without the key, and so for other tenants, they mean
    nothing.
    """
    return [
        int.from_bytes(hmac.digest(key, term.encode(), "sha256")[:_HASH_BYTES], "big", signed=True) for term in terms
    ]


class _Stemmer(threading.local):
    """Each thread's own: it holds the word that it works on."""

    def __init__(self) -> None:
        self.stem = Stemmer.Stemmer("english").stemWords


_STEMMER: Final = _Stemmer()
