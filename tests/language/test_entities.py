"""Row J5: e-mail addresses, URLs, phone numbers and dates, each reported once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.specialists.language.entities import find_entities


def test_email_addresses_are_found_once_in_order() -> None:
    text = "Mail ann@example.com, <bob.o'neil+x@sub.example.org>; ANN@Example.com again. mailto:c@d.io"

    assert find_entities(text).emails == ("ann@example.com", "bob.o'neil+x@sub.example.org", "c@d.io")


@pytest.mark.parametrize(
    "text",
    ["@decorator.name", "user@localhost", "a..b@example.com", "git@example.com:team/repo.git", "@", "x@y", "1 @ 2.50"],
)
def test_what_only_looks_like_an_email_address_is_none(text: str) -> None:
    assert find_entities(text).emails == ()


def test_an_email_address_is_no_url_and_a_url_holds_no_email_address() -> None:
    found = find_entities("me@www.example.com https://user:pw@host.example.com/inbox?of=you@example.com")

    assert found.emails == ("me@www.example.com",)
    assert found.urls == ("https://user:pw@host.example.com/inbox?of=you@example.com",)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("See https://example.com.", "https://example.com"),
        ("(see http://example.com/a)", "http://example.com/a"),
        ("https://en.wikipedia.org/wiki/Foo_(bar)", "https://en.wikipedia.org/wiki/Foo_(bar)"),
        ("<https://example.com/?a=1&b=2#c>", "https://example.com/?a=1&b=2#c"),
        ("'http://localhost:8000/x', 'y'", "http://localhost:8000/x"),
        ("www.example.com/path, and", "www.example.com/path"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("ftp://files.example.com/a.txt!", "ftp://files.example.com/a.txt"),
        ("见https://例子.测试/路径。", "https://例子.测试/路径"),
        ("[text](https://example.com/a_b)", "https://example.com/a_b"),
    ],
)
def test_a_url_ends_where_the_sentence_around_it_goes_on(text: str, url: str) -> None:
    assert find_entities(text).urls == (url,)


@pytest.mark.parametrize("text", ["http://", "http://{host}/x", "os.path.join", "README.md", "https:", "awww.x"])
def test_what_only_looks_like_a_url_is_none(text: str) -> None:
    assert find_entities(text).urls == ()


def test_the_same_url_in_another_spelling_is_not_repeated() -> None:
    assert find_entities(
        "HTTP://Example.com/A http://example.com/A http://example.com/A/ http://example.com/a"
    ).urls == (
        "HTTP://Example.com/A",
        "http://example.com/a",
    )


def test_phone_numbers_come_in_international_form_once() -> None:
    text = "+1 (650) 253-0000, (650) 253-0000, 650-253-0000, +44 20 7946 0958, +49 30 901820"

    assert find_entities(text).phones == ("+16502530000", "+442079460958", "+4930901820")


def test_numbers_without_country_code_are_read_as_the_region_asked_for() -> None:
    assert find_entities("020 7946 0958", region="GB").phones == ("+442079460958",)
    assert find_entities("020 7946 0958", region="US").phones == ()


@pytest.mark.parametrize(
    "text",
    ["2147483647", "127.0.0.1", "216.239.32.10", "1999-12-31 10:20:30", "978-0-13-468599-1", "3.14159265358979",
     "123-456-7890", "0x6502530000", "12 34 56 78 90 12 34 56", "1,650,253,0000"],
)  # fmt: skip
def test_other_numbers_are_no_phone_numbers(text: str) -> None:
    assert find_entities(text).phones == ()


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-11-21", "2026-11-21"),
        ("2026-11-21T10:00:00Z", "2026-11-21"),
        ("2026/1/5", "2026-01-05"),
        ("21 November 2026", "2026-11-21"),
        ("21st of November, 2026", "2026-11-21"),
        ("Nov. 21, 2026", "2026-11-21"),
        ("29-Feb-2024", "2024-02-29"),
        ("1. Januar 2020", "2020-01-01"),
        ("14 juillet 1789", "1789-07-14"),
        ("3 de mayo de 2021", "2021-05-03"),
        ("21.11.2026", "2026-11-21"),
        ("12/25/2025", "2025-12-25"),
        ("25/12/2025", "2025-12-25"),
        ("05/05/2025", "2025-05-05"),
        ("03/04/2025", None),
    ],
)
def test_dates_are_understood_or_said_to_be_ambiguous(text: str, iso: str | None) -> None:
    (found,) = find_entities(f"On {text}, at last.").dates

    assert (found.text.startswith(text[:4]), found.iso) == (True, iso)


@pytest.mark.parametrize("text", ["2026-02-30", "31 Feb 2020", "13/13/2020", "1.2.3", "1234-56-78", "v2026-1-1-3"])
def test_days_in_no_calendar_are_no_dates(text: str) -> None:
    assert find_entities(text).dates == ()


def test_the_same_day_is_reported_once_as_first_written() -> None:
    found = find_entities("Nov 21, 2026, 2026-11-21, 21 November\n2026, 22.11.2026").dates

    assert [date.text for date in found] == ["Nov 21, 2026", "22.11.2026"]


@given(st.text(alphabet="ab@.:/-w+0123456789 ()[]'\n", max_size=200))
def test_what_is_found_stands_in_the_text_and_is_found_once(text: str) -> None:
    found = find_entities(text)

    assert all(url in text for url in found.urls)
    assert all(email in text for email in found.emails)
    for kind in (found.emails, found.urls, found.phones, found.dates):
        assert len(set(kind)) == len(kind)
