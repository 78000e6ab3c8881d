"""Reputation: rises and falls with outcomes, is forgiven by time, and never shuts anybody out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.groups.model import REPUTATION_HALF_LIFE_MS, Reputation
from meshd.groups.reputation import FLOOR, mean_at, recorded, reputation_at, standing_at

WEEK = REPUTATION_HALF_LIFE_MS
START = 1_700_000_000_000

weights, ages = st.floats(0, 1e6), st.integers(0, 20 * WEEK)


def after(*ends: bool) -> Reputation:
    reputation = Reputation()
    for is_success in ends:
        reputation = recorded(reputation, is_success=is_success, at_ms=START)
    return reputation


def test_a_newcomer_stands_at_a_half() -> None:
    assert mean_at(Reputation(), START) == 0.5
    assert standing_at(Reputation(), START) == 0.5


def test_known_outcomes_give_known_means() -> None:
    assert mean_at(after(True), START) == pytest.approx(3 / 5)
    assert mean_at(after(False), START) == pytest.approx(2 / 5)
    assert mean_at(after(*[True] * 8, *[False] * 2), START) == pytest.approx(10 / 14)


def test_a_week_halves_the_weight_of_what_was() -> None:
    reputation = after(*[True] * 8, *[False] * 4)
    assert mean_at(reputation, START + WEEK) == pytest.approx((4 + 2) / (4 + 2 + 4))
    assert mean_at(reputation, START + 2 * WEEK) == pytest.approx((2 + 2) / (2 + 1 + 4))
    assert recorded(reputation, is_success=True, at_ms=START + WEEK) == Reputation(
        completed=5.0, failed=2.0, at_ms=START + WEEK
    )


def test_the_floor_holds_under_any_number_of_failures() -> None:
    hopeless = after(*[False] * 1_000)
    assert mean_at(hopeless, START) < 0.01
    assert standing_at(hopeless, START) == FLOOR == 0.25


def test_failures_are_forgiven() -> None:
    assert mean_at(after(*[False] * 100), START + 20 * WEEK) == pytest.approx(0.5, abs=0.001)


@given(weights, weights, ages)
def test_a_success_never_lowers_it_and_a_failure_never_raises_it(completed: float, failed: float, age: int) -> None:
    reputation = Reputation(completed=completed, failed=failed, at_ms=START)
    now_ms = START + age
    before = mean_at(reputation, now_ms)
    assert mean_at(recorded(reputation, is_success=True, at_ms=now_ms), now_ms) >= before - 1e-12
    assert mean_at(recorded(reputation, is_success=False, at_ms=now_ms), now_ms) <= before + 1e-12
    assert 0 < before < 1


@given(weights, weights, ages, ages)
def test_looking_at_it_on_the_way_changes_nothing(completed: float, failed: float, first: int, more: int) -> None:
    reputation = Reputation(completed=completed, failed=failed, at_ms=START)
    end = START + first + more
    on_the_way = reputation_at(reputation, START + first)
    assert mean_at(on_the_way, end) == pytest.approx(mean_at(reputation, end))


@given(weights, weights, st.integers(0, START))
def test_an_earlier_time_changes_nothing(completed: float, failed: float, now_ms: int) -> None:
    reputation = Reputation(completed=completed, failed=failed, at_ms=START)
    assert reputation_at(reputation, now_ms) == reputation
