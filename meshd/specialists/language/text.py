"""Text as the rules below see it: one form of line end, one form of each letter, and what counts as a word."""

import re
import unicodedata

BY_CHARACTER = "\u3041-\u3096\u30a1-\u30fa\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Han and kana, written without spaces: each character counts as a word."""

_BY_CHARACTER = re.compile(f"[{BY_CHARACTER}]")
_PARAGRAPH_BREAK = re.compile(r"\n[^\S\n]*\n")


def normalize(text: str) -> str:
    """Return `text` in Unicode form NFC with line feeds only and no byte order mark."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def count_words(text: str) -> int:
    """Return how many words `text` has.

    A word is what stands between white space and holds a letter or digit; a Han or kana character is a word by itself.
    """
    alone = len(_BY_CHARACTER.findall(text))
    rest = _BY_CHARACTER.sub(" ", text) if alone else text
    return alone + sum(1 for word in rest.split() if has_word(word))


def has_word(text: str) -> bool:
    """Return whether `text` holds a letter or digit at all."""
    return any(map(str.isalnum, text))


def paragraphs(text: str) -> list[str]:
    """Return the blocks between blank lines that are not blank themselves."""
    return [block for block in _PARAGRAPH_BREAK.split(text) if not block.isspace() and block]
