"""What the analysed files say together: the fold of all results."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Findings:
    """Sums over the results of `text.analyze`."""

    files: int = 0
    words: int = 0
    sentences: int = 0
    reading_minutes: float = 0.0
    languages: Counter[str] = field(default_factory=Counter[str])
    feelings: Counter[str] = field(default_factory=Counter[str])
    terms: Counter[str] = field(default_factory=Counter[str])
    """In how many files each is a key term."""
    emails: set[str] = field(default_factory=set[str])
    urls: set[str] = field(default_factory=set[str])
    phones: set[str] = field(default_factory=set[str])
    dates: set[str] = field(default_factory=set[str])

    def add(self, result: Mapping[str, Any]) -> None:
        """Take one file's analysis."""
        counts = result["counts"]
        self.files += 1
        self.words += counts["words"]
        self.sentences += counts["sentences"]
        self.reading_minutes += counts["reading_minutes"]
        self.languages[result["language"]["code"]] += 1
        self.feelings[result["sentiment"]["label"] if result["sentiment"] else "not English"] += 1
        self.terms.update(term["term"] for term in result["key_terms"])
        self.emails.update(email.lower() for email in result["emails"])
        self.urls.update(result["urls"])
        self.phones.update(result["phones"])
        self.dates.update(date["iso"] or date["text"] for date in result["dates"])


def most_common(counter: Counter[str], limit: int = 5) -> str:
    """Return the commonest entries with their counts, as one line."""
    return ", ".join(f"{name} {count}" for name, count in counter.most_common(limit)) or "none"
