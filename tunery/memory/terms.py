"""The words of a text, for the leg of search that goes by words. PostgreSQL sees their keyed hashes alone."""

import hmac
import re
import threading
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Final

import Stemmer

LANGUAGES: Final = frozenset(Stemmer.algorithms()) - {"porter", "dutch_porter"}

_WORD: Final = re.compile(r"\w+")
_LONGEST: Final = 64
"""What is longer is no word: it is cut off."""
_HASH_BYTES: Final = 8


def terms_of(text: str, language: str) -> list[str]:
    """The text's words, each once, stemmed, in the order of their first appearance. Raises KeyError for a language that
    is none of LANGUAGES.
    """
    stemmer, left_out = _STEMMERS.find(language), _STOP_WORDS.get(language, frozenset())
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    kept = dict.fromkeys(word[:_LONGEST] for word in words if word not in left_out)
    return list(dict.fromkeys(stemmer.stemWords(list(kept))))


def hash_terms(key: bytes, terms: Iterable[str]) -> list[int]:
    """For each term 64 bits of HMAC-SHA-256 as a signed number: without the key, and so for other tenants, they mean
    nothing.
    """
    return [
        int.from_bytes(hmac.digest(key, term.encode(), "sha256")[:_HASH_BYTES], "big", signed=True) for term in terms
    ]


class _Stemmers(threading.local):
    """Each thread's own: they hold the word that they work on."""

    def __init__(self) -> None:
        self.find = cache(Stemmer.Stemmer)


_STEMMERS: Final = _Stemmers()


_STOP_WORDS: Final = {
    language: frozenset(words.split())
    for language, words in {
        "english": """
            a about after all also am an and any are as at be because been before being but by can could did do does
            doing for from had has have having he her here hers him his how i if in into is it its itself just me more
            most my no nor not now of off on once only or other our out over own s same she should so some such t than
            that the their them then there these they this those through to too under until up us very was we were what
            when where which while who whom why will with would you your
        """,
        "german": """
            aber alle als also am an auch auf aus bei bin bis bist da damit dann das dass dein dem den denn der des die
            dies diese dieser dir doch du durch ein eine einem einen einer eines er es für hat habe haben hier ich ihm
            ihn ihr ihre im in ist ja kann kein keine man mein mich mir mit nach nicht noch nun nur ob oder sehr sein
            seine sich sie sind so über um und uns unser von vor war waren was wenn wer wie wir wird wo zu zum zur
        """,
        "french": """
            à ai as au aux avec ce ces cette dans de des du elle en est et eux il ils j je l la le les leur lui m ma
            mais me mes mon n ne nos notre nous on ont ou où par pas pour qu que qui s sa se ses son sont sur t ta te
            tes toi ton tu un une vos votre vous y
        """,
        "spanish": """
            a al algo como con de del desde donde dos el ella ellos en entre era es esa ese eso esta este esto fue ha
            hay la las le les lo los más me mi mis muy no nos o para pero por porque que quien se ser si sin sobre son
            su sus también te tiene tu tus un una uno y ya yo
        """,
    }.items()
}
"""What is in almost every text tells nothing, and only makes the index longer. Of the other languages nothing is left
out: rare words count more in search anyway.
"""
