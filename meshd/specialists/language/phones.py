"""Phone numbers: a cheap pattern proposes, libphonenumber decides."""

import re
from collections.abc import Iterator

import phonenumbers
from phonenumbers import Leniency, PhoneNumberFormat, PhoneNumberMatcher

_CANDIDATE = re.compile(
    r"(?<![\w.,/+-])(?<!\d )(?:\+\d[\d \u00a0().\-–/]{6,22}\d|\(?\d{2,5}\)?(?:[ \u00a0.\-–/]{1,2}\d{2,5}){1,4})"
    r"(?![\w-])(?![ \u00a0./]\d)"
)
_FEWEST_DIGITS = 7
_MOST_DIGITS = 15


def find_phones(text: str, *, region: str) -> Iterator[str]:
    """Yield each valid phone number of `text` in international form, such as `+16502530000`.

    A number with a country code counts however it is grouped; one without must be a number of `region`, written in
    groups the way people there write it, so that ids, versions and sizes are not taken for numbers.
    """
    for candidate in _CANDIDATE.finditer(text):
        written = candidate.group()
        if not _FEWEST_DIGITS <= sum(map(str.isdigit, written)) <= _MOST_DIGITS:
            continue
        leniency = Leniency.VALID if written.startswith("+") else Leniency.STRICT_GROUPING
        for match in PhoneNumberMatcher(written, region, leniency=leniency):
            yield phonenumbers.format_number(match.number, PhoneNumberFormat.E164)
