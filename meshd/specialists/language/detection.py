"""Which language a text is written in: py3langid decides, on a sample, and may say that it cannot tell."""

import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Protocol, cast

UNDETERMINED = "und"
"""The ISO 639 code for a language that could not be determined."""
LEAST_CONFIDENCE = 0.1
SAMPLE_CHARACTERS = 4_000
_NO_LANGUAGE = "zxx"
_SLICES = 4
_LOADING = Lock()
_NOT_PROSE = re.compile(r"(?:https?://|www\.)\S+|[^\s@]{1,64}@\S{1,255}|[\d_=<>{}\[\]|\\/#*~^`$%&+-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    code: str
    """ISO 639-1 code, `und` when it could not be determined. Close relatives without such a code are not told apart."""
    confidence: float
    """0 to 1; short texts give small values even when the answer is right."""


class _Identifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


def detect(text: str) -> Language:
    """Return the language of `text`, judged on at most `SAMPLE_CHARACTERS` characters taken from all over it."""
    words = " ".join(_NOT_PROSE.sub(" ", sample(text)).split())
    if not any(map(str.isalpha, words)):
        return Language(code=UNDETERMINED, confidence=0.0)
    code, confidence = _identifier().classify(words)
    if confidence < LEAST_CONFIDENCE or code == _NO_LANGUAGE:
        return Language(code=UNDETERMINED, confidence=round(confidence, 3))
    return Language(code=code, confidence=round(confidence, 3))


def sample(text: str) -> str:
    """Return `text`, or slices of it at equal distances when it is long."""
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    size = SAMPLE_CHARACTERS // _SLICES
    step = (len(text) - size) // (_SLICES - 1)
    return " ".join([text[start : start + size] for start in range(0, step * _SLICES, step)])


def prepare() -> None:
    """Load the model that comes with the package, once per process: about half a second."""
    _identifier()


def _identifier() -> _Identifier:
    with _LOADING:
        return _load()


@cache
def _load() -> _Identifier:
    langid = import_module("py3langid.langid")
    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    identifier.set_languages([label for label in identifier.labels if len(label) == 2 or label == _NO_LANGUAGE])
    return cast("_Identifier", identifier)
