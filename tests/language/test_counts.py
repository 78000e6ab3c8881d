"""Row J3: counts and reading time that a person could check by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.specialists.language.counts import count, sentences


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \n\t ", 0),
        ("one", 1),
        ("one  two\tthree\nfour", 4),
        ("don't split well-known words", 4),
        ("a dash - and an arrow -> are no words", 8),
        ("3.14 and 1,000,000", 3),
        ("Ἀθήνα naïve Straße", 3),
        ("नमस्ते दुनिया", 2),
        ("你好世界", 4),
        ("日本語 and English", 5),
        ("👍 fine", 1),
    ],
)
def test_words_are_what_stands_between_white_space_and_each_han_or_kana_character(text: str, words: int) -> None:
    assert count(text).words == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("No stop at the end", ["No stop at the end"]),
        ("Dr. Smith met Mr. J. R. Jones.", ["Dr. Smith met Mr. J. R. Jones."]),
        ("At 5 p.m. it rains, e.g. in the U.S. today.", ["At 5 p.m. it rains, e.g. in the U.S. today."]),
        ("It costs 3.14 dollars. Cheap!", ["It costs 3.14 dollars.", "Cheap!"]),
        ("Really?! Yes... maybe. No.", ["Really?!", "Yes... maybe.", "No."]),
        ('"Go." She left.', ['"Go."', "She left."]),
        ("See fig. 3 and No. 5. No. I will not.", ["See fig. 3 and No. 5.", "No.", "I will not."]),
        ("1. First.\n2. Second.", ["1. First.", "2. Second."]),
        ("... !!! ???", []),
        ("明天再说！好。", ["明天再说！", "好。"]),
        ("नमस्ते दुनिया। कैसे हो?", ["नमस्ते दुनिया।", "कैसे हो?"]),
    ],
)
def test_sentences_end_at_stops_that_are_stops(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_blank_line_ends_a_paragraph_and_its_sentence() -> None:
    counts = count("A heading\n\nOne line,\ncontinued. Next.\n \n\nLast")

    assert (counts.paragraphs, counts.sentences, counts.words, counts.lines) == (3, 4, 7, 7)


def test_line_ends_of_any_system_count_the_same() -> None:
    assert count("a\r\nb\r\n\r\nc") == count("a\nb\n\nc") == count("a\rb\r\rc")


def test_a_letter_counts_once_however_it_is_encoded() -> None:
    assert count("cafe\u0301") == count("café")
    assert count("\ufeffcafé").characters == 4


def test_two_hundred_words_take_a_minute_to_read() -> None:
    assert count("word " * 200).reading_minutes == 1.0
    assert count("word " * 50).reading_minutes == 0.25
    assert count("").reading_minutes == 0.0


@given(st.text(max_size=300), st.text(max_size=300))
def test_paragraphs_add_up(first: str, second: str) -> None:
    both = count(f"{first}\n\n{second}")

    assert both.words == count(first).words + count(second).words
    assert both.sentences == count(first).sentences + count(second).sentences


@given(st.text(max_size=500))
def test_no_text_has_more_sentences_than_words_or_fewer_characters_than_words(text: str) -> None:
    counts = count(text)

    assert counts.sentences <= counts.words <= counts.characters
