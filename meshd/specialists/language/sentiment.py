"""The feeling of an English text: a lexicon of words, and the rules that turn a word around.

What is negated counts the other way, and less: "not good" is negative, "not bad" and "never failed" are positive. The
score is `(praise - blame) / (praise + blame + 1)`, so it lies between -1 and 1 and grows with the evidence.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from meshd.specialists.language.counts import sentences
from meshd.specialists.language.text import normalize, paragraphs
from meshd.specialists.language.wordlists import english, word_lists

THRESHOLD = 0.1
NEGATED = -0.6
"""Weight of a negated word: turned around, and weaker than its opposite."""
_REACH = 4
"""How many words back a negation is looked for, within the clause."""
_TOKEN = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|[,;:()—–]")
_WEIGHTS = {"stronger": 1.4, "weaker": 0.7}
_AFTER_CONTRAST, _BEFORE_CONTRAST = 1.5, 0.5
_ENDINGS = (("ies", "y"), ("ied", "y"), ("es", "e"), ("ed", "e"), ("ing", "e"), ("s", ""), ("es", ""), ("ed", ""),
            ("ing", ""), ("ily", "y"), ("ly", ""), ("ier", "y"), ("iest", "y"), ("er", ""), ("er", "e"), ("est", ""),
            ("est", "e"))  # fmt: skip


class Feeling(StrEnum):
    POSITIVE = "positive"
    NEUTRAL = "neutral"
    NEGATIVE = "negative"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentiment:
    label: Feeling
    score: float
    """-1 to 1; from `THRESHOLD` on it has a label."""
    praise: float
    blame: float


def judge(text: str) -> Sentiment:
    """Return the feeling of an English text; a text without words of feeling is neutral."""
    praise = blame = 0.0
    for paragraph in paragraphs(normalize(text)):
        for sentence in sentences(paragraph):
            for value in _values([token.lower().replace("’", "'") for token in _TOKEN.findall(sentence)]):
                praise += max(value, 0.0)
                blame -= min(value, 0.0)
    score = (praise - blame) / (praise + blame + 1)
    return Sentiment(label=_label(score), score=round(score, 3), praise=round(praise, 2), blame=round(blame, 2))


def _label(score: float) -> Feeling:
    if abs(score) < THRESHOLD:
        return Feeling.NEUTRAL
    return Feeling.POSITIVE if score > 0 else Feeling.NEGATIVE


def _values(tokens: Sequence[str]) -> list[float]:
    """Return what each word of feeling contributes; what follows the last "but" counts more than what precedes it."""
    turn = max((place for place, token in enumerate(tokens) if token in english("contrasts")), default=0)
    values: list[float] = []
    for place, token in enumerate(tokens):
        value = _strength(token)
        if value and not _compares(tokens, place):
            emphasis = 1.0 if not turn else _BEFORE_CONTRAST if place < turn else _AFTER_CONTRAST
            values.append(value * emphasis * _emphasis(tokens, place) * _turned(tokens, place))
    return values


def _compares(tokens: Sequence[str], place: int) -> bool:
    """Return whether this is the "like" of "a house like this", which is no feeling."""
    return tokens[place] == "like" and (place == 0 or tokens[place - 1] not in english("who_likes"))


def _emphasis(tokens: Sequence[str], place: int) -> float:
    before = tokens[place - 1] if place else ""
    return next((weight for name, weight in _WEIGHTS.items() if before in english(name)), 1.0)


def _turned(tokens: Sequence[str], place: int) -> float:
    """Return the factor that negations before `place`, back to the start of the clause, put on its value."""
    factor = 1.0
    reach = _REACH
    for back in range(place - 1, -1, -1):
        if tokens[back] in english("clause_breaks") and not _strengthens(tokens[back], place - back):
            break
        if tokens[back] in english("opinions"):
            reach += _REACH
        if place - back <= reach and _negates(tokens, back, place):
            factor *= NEGATED
    return factor


def _strengthens(token: str, distance: int) -> bool:
    """Return whether this is the "so" right before a word; further back it begins a clause."""
    return distance == 1 and token in english("stronger")


def _negates(tokens: Sequence[str], at: int, place: int) -> bool:
    token = tokens[at]
    following = next(word for word in tokens[at + 1 :] if word != "a")
    if token in english("giving_up"):
        return following == "to"
    if token not in english("negators") and not token.endswith("n't"):
        return False
    if f"{token}|{following}" in english("no_negations"):
        return False
    return not _is_peak(tokens, at, place)


def _is_peak(tokens: Sequence[str], at: int, place: int) -> bool:
    """Return whether this is "could not be better" or "never been happier": the highest praise, not a negation."""
    before = tokens[at - 1] if at else ""
    return (
        tokens[place] in english("comparatives")
        and bool({tokens[at], f"{before}|{tokens[at]}"} & english("hypothetical"))
        and not {"be", "been", "have"}.isdisjoint(tokens[at:place])
    )


def _strength(token: str) -> float:
    known = _lexicon()
    if token in known:
        return known[token]
    for ending, base in _ENDINGS:
        if token.endswith(ending) and len(token) - len(ending) >= 3:
            stem = token.removesuffix(ending)
            for form in (stem + base, stem[:-1] if stem[-1] == stem[-2] else ""):
                if form in known:
                    return known[form]
    return 0.0


@cache
def _lexicon() -> dict[str, float]:
    return {word: float(strength) for strength, words in word_lists("lexicon.txt").items() for word in words}
