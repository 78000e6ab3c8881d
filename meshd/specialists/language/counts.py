"""How much text there is: counts a person could check by hand."""

import re
from dataclasses import dataclass

from meshd.specialists.language.text import count_words, has_word, normalize, paragraphs
from meshd.specialists.language.wordlists import english

WORDS_PER_MINUTE = 200

_STOP = re.compile(r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s|\Z)|[。！？।॥؟۔]++[”’」』）]*+")
_BEFORE = re.compile(r"[^\s(\"'“‘«\[]+\Z")
_NEXT = re.compile(r"\s*+[\"'“‘«(\[]*+(\S)")
_LOOK_BACK = 40
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]|[A-HJ-Z]")
_ABBREVIATIONS = english("abbreviations")
_BEFORE_NUMBER = english("before_number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    characters: int
    """Code points, a line end counting as one."""
    words: int
    sentences: int
    paragraphs: int
    lines: int

    @property
    def reading_minutes(self) -> float:
        """Time to read it at `WORDS_PER_MINUTE`."""
        return self.words / WORDS_PER_MINUTE


def count(text: str) -> Counts:
    """Return the counts of `text`; all are 0 for an empty one."""
    text = normalize(text)
    blocks = paragraphs(text)
    return Counts(
        characters=len(text),
        words=count_words(text),
        sentences=sum(len(sentences(block)) for block in blocks),
        paragraphs=len(blocks),
        lines=text.count("\n") + (not text.endswith("\n")) if text else 0,
    )


def sentences(paragraph: str) -> list[str]:
    """Split a paragraph into sentences, each with at least one letter or digit.

    A stop ends a sentence unless it belongs to an abbreviation, an initial or a list number, or a small letter follows.
    Text after the last stop is a sentence too.
    """
    found: list[str] = []
    begin = 0
    for stop in _STOP.finditer(paragraph):
        if _ends_sentence(paragraph, stop, begin):
            found.append(paragraph[begin : stop.end()].strip())
            begin = stop.end()
    found.append(paragraph[begin:].strip())
    return [sentence for sentence in found if has_word(sentence)]


def _ends_sentence(paragraph: str, stop: re.Match[str], begin: int) -> bool:
    after = _NEXT.match(paragraph, stop.end())
    following = after[1] if after else ""
    if following.islower():
        return False
    if stop.group() != ".":
        return True
    word = _BEFORE.search(paragraph[max(begin, stop.start() - _LOOK_BACK) : stop.start()])
    if word is None:
        return True
    last = word.group()
    if last.isdecimal() and paragraph[begin : stop.start()].rpartition("\n")[2].strip() == last:
        return False
    if last.lower() in _BEFORE_NUMBER:
        return not following.isdecimal()
    return last.lower() not in _ABBREVIATIONS and not (following and _INITIALS.fullmatch(last))
