"""Row J4: sentiment, with negation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.specialists.language.sentiment import Feeling, judge


@pytest.mark.parametrize(
    "text",
    [
        "The food was good.",
        "Not bad at all.",
        "It never failed me.",
        "No problems with it, and it is not only good but great.",
        "It could not be better!",
        "I have never been happier.",
        "Without a doubt a wonderful film.",
        "No doubt it is wonderful.",
        "Nothing wrong with it.",
        "It was slow, but the result is excellent.",
        "No, it is good.",
        "I didn't see him. It was a lovely day.",
        "I really like it.",
    ],
)
def test_praise_is_positive(text: str) -> None:
    assert judge(text).label is Feeling.POSITIVE


@pytest.mark.parametrize(
    "text",
    [
        "The food was terrible.",
        "It is not good.",
        "It is not good at all.",
        "This isn't great.",
        "This isn’t great.",
        "Hardly useful.",
        "I don't think this is a good idea.",
        "It was never a very good plan.",
        "No one was happy.",
        "Nothing good came of it.",
        "He failed to impress.",
        "I can't recommend it.",
        "The view was lovely, but the room was awful.",
        "I do not like it.",
        "It lacks charm.",
    ],
)
def test_blame_and_negated_praise_are_negative(text: str) -> None:
    assert judge(text).label is Feeling.NEGATIVE


@pytest.mark.parametrize("text", ["", "The table is brown.", "12345", "A house like this has doors.", "你好"])
def test_a_text_without_feeling_is_neutral(text: str) -> None:
    assert judge(text).label is Feeling.NEUTRAL
    assert judge(text).score == 0.0


def test_negation_weakens_as_well_as_turns() -> None:
    good, not_good, bad = (judge(text).score for text in ("good", "not good", "bad"))

    assert bad < not_good < 0 < good
    assert abs(not_good) < good


def test_a_double_negation_is_praise_again() -> None:
    assert judge("It is never not good.").score > 0


def test_strengthening_and_weakening_words_change_the_score() -> None:
    assert judge("slightly good").score < judge("good").score < judge("very good").score


def test_a_negation_does_not_reach_over_the_end_of_its_clause() -> None:
    assert judge("I did not go because it was lovely.").score > 0
    assert judge("He said no. The food was good.").score > 0


@given(st.text(max_size=400))
def test_the_score_stays_in_bounds_and_agrees_with_the_label(text: str) -> None:
    found = judge(text)

    assert -1 < found.score < 1
    assert (found.label is Feeling.POSITIVE) == (found.score >= 0.1)
    assert found.praise >= 0 <= found.blame


@given(st.lists(st.sampled_from(["It is good.", "It is bad.", "It is not good.", "It is here."]), max_size=8))
def test_the_order_of_sentences_does_not_matter(parts: list[str]) -> None:
    assert judge(" ".join(parts)) == judge(" ".join(reversed(parts)))
