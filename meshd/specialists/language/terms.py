"""What a text is about: the words, and pairs of words, that it repeats and that carry meaning."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from meshd.specialists.language.text import BY_CHARACTER
from meshd.specialists.language.wordlists import word_lists

PAIR_WEIGHT = 1.8
"""A pair says more than a word; with 2 or more it would drown single words."""
_FEWEST_PAIRS = 2
_SHORTEST = 3
_MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u0652\u0900-\u0dff\u0e00-\u0eff"
_RUN = re.compile(rf"[{BY_CHARACTER}ー]+|(?:[^\W\d_{BY_CHARACTER}]|[{_MARKS}])+(?:['’-][^\W\d_]+)*|[^\s\w'’-]+|\d+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BY_CHARACTER = re.compile(f"[{BY_CHARACTER}]")
_POSSESSIVE = re.compile(r"['’]s?$")
_NOT_NOUNS = ("ly", "ing", "ize", "ise", "ified", "ed")
_SINGULAR_IN_S = ("ss", "us", "is", "ous", "ics", "as", "os")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    text: str
    count: int
    weight: float


def key_terms(text: str, *, language: str, top: int = 10, code: bool = False) -> tuple[Term, ...]:
    """Return up to `top` terms, heaviest first; equal weights keep the order of appearance.

    A word weighs its count, and less when it does not look like a noun. A pair that occurs twice weighs more than its
    count, and its words then count only for where they stand outside it. In source code identifiers are taken apart
    and keywords left out. Han and kana are read as pairs of characters.
    """
    stop = _stopwords(language) | (_stopwords("code") if code else frozenset[str]())
    words: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    previous: str | None = None
    for word in _words(text, code=code):
        if word is not None and word not in stop and len(word) >= (2 if _BY_CHARACTER.match(word) else _SHORTEST):
            words[word] += 1
            if previous is not None and previous != word:
                pairs[previous, word] += 1
            previous = word
        else:
            previous = None
    return _heaviest(words, pairs, language=language, top=top)


def _heaviest(words: Counter[str], pairs: Counter[tuple[str, str]], *, language: str, top: int) -> tuple[Term, ...]:
    terms: list[Term] = []
    left = words.copy()
    for (first, second), count in pairs.most_common(4 * top):
        if count >= max(_FEWEST_PAIRS, 0.4 * min(words[first], words[second])):
            weight = PAIR_WEIGHT * count * min(_nounness(first, language), _nounness(second, language))
            terms.append(Term(text=f"{first} {second}", count=count, weight=round(weight, 2)))
            left[first] -= count
            left[second] -= count
    for word, count in left.items():
        if count > 0:
            terms.append(Term(text=word, count=words[word], weight=round(count * _nounness(word, language), 2)))
    terms.sort(key=lambda term: -term.weight)
    return tuple(terms[:top])


def _nounness(word: str, language: str) -> float:
    """English endings tell verbs and adverbs; elsewhere every word is taken for a noun."""
    return 0.6 if language == "en" and word.endswith(_NOT_NOUNS) and len(word) > 4 else 1.0


def _words(text: str, *, code: bool) -> Iterator[str | None]:
    """Yield the words in base form; `None` stands for what separates phrases."""
    for run in _RUN.findall(text):
        if not run[0].isalpha():
            yield None
        elif _BY_CHARACTER.match(run):
            yield from _character_pairs(run)
        elif code:
            for part in _HUMP.split(run):
                yield _base(part)
        else:
            yield _base(run)


def _character_pairs(run: str) -> Iterator[str | None]:
    for place in range(len(run) - 1):
        yield run[place : place + 2]
        yield None


@lru_cache(maxsize=8192)
def _base(word: str) -> str:
    """Fold case and the regular English plural: `Queries` and `query` are one term."""
    word = _POSSESSIVE.sub("", word.lower())
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(_SINGULAR_IN_S) else word


@cache
def _stopwords(language: str) -> frozenset[str]:
    words = word_lists("stopwords.txt").get(language, frozenset[str]())
    return words | frozenset(map(_base, words))
