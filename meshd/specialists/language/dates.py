"""Calendar dates written with a day, a month and a year; each is checked against the calendar."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

_MONTHS = [
    "january jan januar janvier enero",
    "february feb februar février febrero",
    "march mar märz mars marzo",
    "april apr avril abril",
    "may mai mayo",
    "june jun juni juin junio",
    "july jul juli juillet julio",
    "august aug août agosto",
    "september sep sept septembre septiembre",
    "october oct oktober octobre octubre okt",
    "november nov novembre noviembre",
    "december dec dezember décembre diciembre dez",
]
"""English, German, French and Spanish names."""
_MONTH_NUMBERS = {name: number for number, names in enumerate(_MONTHS, start=1) for name in names.split()}
_NAME = "|".join(sorted(_MONTH_NUMBERS, key=len, reverse=True))
_DATE = re.compile(
    rf"""(?<![\w./-])(?=[\dadefjmnos])(?:
      (?P<iso_year>\d{{4}})(?P<iso_mark>[-/.])(?P<iso_month>\d{{1,2}})(?P=iso_mark)(?P<iso_day>\d{{1,2}})(?=T\d|(?!\w))
    | (?P<a>\d{{1,2}})(?P<mark>[./-])(?P<b>\d{{1,2}})(?P=mark)(?P<year>\d{{4}})(?!\w)
    | (?P<day_1>\d{{1,2}})(?:st|nd|rd|th|er|\.)?[\s-]{{1,3}}(?:of\s|de\s)?(?P<month_1>{_NAME})\b\.?,?[\s-]{{1,3}}
      (?:de\s)?(?P<year_1>\d{{4}})(?!\w)
    | (?P<month_2>{_NAME})\.?\s{{1,3}}(?P<day_2>\d{{1,2}})(?:st|nd|rd|th)?,?\s{{1,3}}(?P<year_2>\d{{4}})(?!\w)
    )(?![/-]\d|\.\d)""",
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DateMention:
    text: str
    """As written, on one line."""
    iso: str | None
    """`YYYY-MM-DD`; `None` when day and month cannot be told apart (`03/04/2025`)."""


def find_dates(text: str) -> Iterator[DateMention]:
    """Yield each date of `text` once, in order; days that are in no calendar are skipped."""
    seen: set[str] = set()
    for match in _DATE.finditer(text):
        mention = _mention(match)
        if mention is not None and (mention.iso or mention.text) not in seen:
            seen.add(mention.iso or mention.text)
            yield mention


def _mention(match: re.Match[str]) -> DateMention | None:
    written = " ".join(match.group().split())
    if match["a"]:
        return _numeric(written, first=int(match["a"]), second=int(match["b"]), mark=match["mark"], year=match["year"])
    if match["iso_year"]:
        iso = _iso(int(match["iso_year"]), int(match["iso_month"]), int(match["iso_day"]))
    else:
        month = _MONTH_NUMBERS[(match["month_1"] or match["month_2"]).lower()]
        iso = _iso(int(match["year_1"] or match["year_2"]), month, int(match["day_1"] or match["day_2"]))
    return DateMention(text=written, iso=iso) if iso else None


def _numeric(written: str, *, first: int, second: int, mark: str, year: str) -> DateMention | None:
    """With points the day comes first; with other marks only the calendar can tell."""
    day_first = _iso(int(year), second, first)
    if mark == ".":
        return DateMention(text=written, iso=day_first) if day_first else None
    readings = {iso for iso in (day_first, _iso(int(year), first, second)) if iso}
    if not readings:
        return None
    return DateMention(text=written, iso=readings.pop() if len(readings) == 1 else None)


def _iso(year: int, month: int, day: int) -> str | None:
    try:
        return date(year, month, day).isoformat()
    except ValueError:
        return None
