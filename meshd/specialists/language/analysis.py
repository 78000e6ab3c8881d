"""Everything the language specialist says about one text."""

from dataclasses import dataclass
from typing import Any

from meshd.specialists.language.code import is_code, prose_of
from meshd.specialists.language.counts import Counts, count
from meshd.specialists.language.detection import UNDETERMINED, Language, detect
from meshd.specialists.language.entities import Entities, find_entities
from meshd.specialists.language.sentiment import Sentiment, judge
from meshd.specialists.language.terms import Term, key_terms
from meshd.specialists.language.text import normalize

_SURE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    is_code: bool
    counts: Counts
    language: Language
    sentiment: Sentiment | None
    """`None` for a text that is surely not English: the lexicon knows English only."""
    entities: Entities
    key_terms: tuple[Term, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return {
            "kind": "code" if self.is_code else "prose",
            "language": {"code": self.language.code, "confidence": self.language.confidence},
            "counts": {
                "characters": self.counts.characters,
                "words": self.counts.words,
                "sentences": self.counts.sentences,
                "paragraphs": self.counts.paragraphs,
                "lines": self.counts.lines,
                "reading_minutes": self.counts.reading_minutes,
            },
            "sentiment": _sentiment_dict(self.sentiment),
            "emails": list(self.entities.emails),
            "urls": list(self.entities.urls),
            "phones": list(self.entities.phones),
            "dates": [{"text": found.text, "iso": found.iso} for found in self.entities.dates],
            "key_terms": [{"term": term.text, "count": term.count, "weight": term.weight} for term in self.key_terms],
        }


def analyze(text: str, *, top: int = 10, region: str = "US") -> Analysis:
    """Return the analysis of `text`. Of source code, language and feeling are those of its comments."""
    text = normalize(text)
    code = is_code(text)
    prose = prose_of(text) if code else text
    language = detect(prose or text)
    foreign = language.code not in ("en", UNDETERMINED) and language.confidence >= _SURE
    return Analysis(
        is_code=code,
        counts=count(text),
        language=language,
        sentiment=None if foreign else judge(prose),
        entities=find_entities(text, region=region),
        key_terms=key_terms(text, language="en" if code else language.code, top=top, code=code),
    )


def _sentiment_dict(sentiment: Sentiment | None) -> dict[str, Any] | None:
    if sentiment is None:
        return None
    return {
        "label": sentiment.label.value,
        "score": sentiment.score,
        "praise": sentiment.praise,
        "blame": sentiment.blame,
    }
