"""Things named in a text: addresses, links, phone numbers and dates, each reported once, in order of appearance."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from meshd.specialists.language.dates import DateMention, find_dates
from meshd.specialists.language.phones import find_phones

_URL = re.compile(
    r"(?<![A-Za-z0-9_@.-])(?:(?:https?|ftps?|wss?)://|www\.(?=\w))(?:\[[0-9a-f:.]{2,45}\]|\w)[^\s<>\"'`{}|\\^，。、）」』”’»]{0,2000}",
    re.IGNORECASE,
)
_SCHEME_HOST = re.compile(r"(?:\w+://)?[^/?#]*")
_CLOSERS = {")": "(", "]": "["}
_LOCAL = re.compile(r"[\w.+%'-]+\Z")
_DOMAIN = re.compile(r"(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,63}(?![\w-])")
_LONGEST_LOCAL = 64
_LONGEST_DOMAIN = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Entities:
    emails: tuple[str, ...]
    urls: tuple[str, ...]
    phones: tuple[str, ...]
    """In international form: `+16502530000`."""
    dates: tuple[DateMention, ...]


def find_entities(text: str, *, region: str = "US") -> Entities:
    """Return what is named in `text`. A number without a country code is read as one of `region`.

    Nothing is found twice: what is part of a URL is no e-mail address, phone number or date, and what is part of an
    e-mail address is no URL.
    """
    links = list(_links(text))
    rest = _blank(text, links)
    return Entities(
        emails=_unique(_emails(rest), key=str.lower),
        urls=_unique((text[start:end] for start, end in links), key=_url_key),
        phones=_unique(find_phones(rest, region=region), key=str),
        dates=tuple(find_dates(rest)),
    )


def _unique(values: Iterable[str], *, key: Callable[[str], str]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for value in values:
        found.setdefault(key(value), value)
    return tuple(found.values())


def _links(text: str) -> Iterator[tuple[int, int]]:
    for match in _URL.finditer(text):
        yield match.start(), match.start() + len(_without_trailing_marks(match.group()))


def _without_trailing_marks(url: str) -> str:
    """Drop punctuation of the sentence around a URL: final marks, and a closing bracket that was not opened in it."""
    while True:
        last = url[-1]
        closes_outside = last in _CLOSERS and url.count(last) > url.count(_CLOSERS[last])
        if not closes_outside and last not in ".,;:!?*_~…":
            return url
        url = url[:-1]


def _url_key(url: str) -> str:
    """Scheme and host are the same in any case; the rest is not."""
    head = _SCHEME_HOST.match(url)
    return url if head is None else head.group().lower() + url[head.end() :].removesuffix("/")


def _blank(text: str, spans: Iterable[tuple[int, int]]) -> str:
    parts: list[str] = []
    begin = 0
    for start, end in spans:
        parts += [text[begin:start], " "]
        begin = end
    return "".join([*parts, text[begin:]])


def _emails(text: str) -> Iterator[str]:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL.search(text[max(0, at - _LONGEST_LOCAL - 1) : at])
        domain = _DOMAIN.match(text, at + 1, at + 1 + _LONGEST_DOMAIN)
        if local and domain and not _is_remote_path(text, domain.end()):
            name = local.group().lstrip(".'-%")
            if 0 < len(name) <= _LONGEST_LOCAL and ".." not in name and name[-1] != ".":
                yield f"{name}@{domain.group()}"
        at = text.find("@", at + 1)


def _is_remote_path(text: str, end: int) -> bool:
    """`git@host.org:path` names a place on a host, not a mailbox."""
    return text[end : end + 1] == ":" and not text[end + 1 : end + 2].isspace() and end + 1 < len(text)
