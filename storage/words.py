"""Text as words to be found by: what is indexed and what is asked go through the same few rules. Pure.

Words are runs of letters and digits in lower case without accents; an underscore parts words as a dash does. Scripts
without spaces give pairs of characters, so that a phrase of them is found without knowing where its words end.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_WORD = re.compile(r"[^\W_]+")
# Han, Hiragana, Katakana, and the Thai, Lao, Khmer and Myanmar scripts.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+"
)
_QUERY_PART = re.compile(r'(-?)"([^"]*)"?|(\S+)')
# Letters that no normal form takes apart.
_LETTERS = str.maketrans({"ı": "i", "ł": "l", "ø": "o", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h"})
# A word longer than this is no word: base64, a minified file.
MAX_WORD = 64
# What a query may ask for; more is somebody's pasted page, and its first words say enough.
MAX_TERMS = 32
# Up to so many words it is quicker to look for each of them in a line than to take the line apart.
LOOKED_FOR = 16


def words(text: str) -> list[str]:
    """The words of a text in order, repeated as often as they occur."""
    if text.isascii():
        found = _WORD.findall(text.lower())
        return [word[:MAX_WORD] for word in found] if len(text) > MAX_WORD else found
    return list(_words(text))


def holder(wanted: frozenset[str]) -> Callable[[str], frozenset[str]]:
    """Tells which of these words stand in a line of words with a space between each two."""
    if len(wanted) > LOOKED_FOR:
        return lambda line: wanted.intersection(line.split())
    apart = [(word, f" {word} ") for word in wanted]

    def held(line: str) -> frozenset[str]:
        line = f" {line} "
        return frozenset([word for word, inside in apart if inside in line])

    return held


def _words(text: str) -> Iterator[str]:
    for match in _WORD.finditer(_plain(text)):
        word = match.group()
        if word.isascii():
            yield word[:MAX_WORD]
            continue
        at = 0
        for unspaced in _UNSPACED.finditer(word):
            if unspaced.start() > at:
                yield word[at : unspaced.start()][:MAX_WORD]
            yield from _pairs(unspaced.group())
            at = unspaced.end()
        if at < len(word):
            yield word[at:][:MAX_WORD]


def _plain(text: str) -> str:
    """Lower case, compatible forms, no accents."""
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text)
    plain = unicodedata.normalize("NFC", "".join(c for c in apart if not unicodedata.combining(c))).casefold()
    return plain.translate(_LETTERS)


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for place in range(len(run) - 1):
        yield run[place : place + 2]


Phrase = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody typed. `terms`: each counts; `phrases`: must occur, word behind word; `excluded`: must not."""

    text: str
    terms: tuple[str, ...] = ()
    phrases: tuple[Phrase, ...] = ()
    excluded: tuple[Phrase, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Nothing that could be found."""
        return not (self.terms or self.phrases)


def parse(text: str) -> Query:
    """`"in this order"` and `-without` mean what they do everywhere; all else is words. `text` of the result is what
    remains for a search by meaning."""
    terms: dict[str, None] = {}
    phrases: list[Phrase] = []
    excluded: list[Phrase] = []
    meant: list[str] = []
    for minus, quoted, bare in _QUERY_PART.findall(text):
        if bare.startswith("-") and len(bare) > 1 and (out := words(bare)):
            excluded.append(tuple(out))
        elif bare:
            meant.append(bare)
            found = words(bare)
            terms.update(dict.fromkeys(found))
        elif phrase := tuple(words(quoted)):
            (excluded if minus else phrases).append(phrase)
            if not minus:
                meant.append(quoted)
    return Query(" ".join(meant), tuple(terms)[:MAX_TERMS], tuple(phrases[:MAX_TERMS]), tuple(excluded[:MAX_TERMS]))
