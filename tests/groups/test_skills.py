"""Skills: what is declared, what is recorded of them, and exact figures for known sequences."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import InvalidArgumentError
from meshd.groups.model import PRIOR_OUTCOMES, REPUTATION_HALF_LIFE_MS, Skill
from meshd.groups.skills import (
    UNKNOWN_MS,
    EvidenceRule,
    check_skill,
    declared_anew,
    level_at,
    level_named,
    recorded,
    success_at,
    time_ms,
)
from meshd.nodes.model import Level

WEEK = REPUTATION_HALF_LIFE_MS
START = 1_700_000_000_000

outcomes = st.lists(st.tuples(st.booleans(), st.floats(1, 1e6), st.integers(0, 3 * WEEK)), max_size=30)


def after(skill: Skill, *ends: bool, took_ms: float = 100.0, at_ms: int = START) -> Skill:
    """Return the skill after these outcomes, all at one moment."""
    for is_success in ends:
        skill = recorded(skill, is_success=is_success, took_ms=took_ms, at_ms=at_ms)
    return skill


def test_a_declared_rate_is_worth_four_outcomes() -> None:
    skill = Skill(name="python", success_rate=0.95)
    assert success_at(skill, START) == 0.95
    assert success_at(after(skill, False), START) == pytest.approx(3.8 / 5)
    assert success_at(after(skill, False, True), START) == pytest.approx(4.8 / 6)


def test_a_known_sequence_gives_known_figures() -> None:
    skill = Skill(name="python", success_rate=0.5, average_ms=1_000)
    for is_success, took_ms in [(True, 500.0), (True, 1_400.0), (False, 900.0), (True, 900.0)]:
        skill = recorded(skill, is_success=is_success, took_ms=took_ms, at_ms=START)
    assert (skill.count, skill.completed, skill.failed) == (4, 3.0, 1.0)
    assert success_at(skill, START) == pytest.approx((4 * 0.5 + 3) / 8)
    assert time_ms(skill) == pytest.approx(964)  # 1000, 900, 1000, 980, 964
    assert skill.average_ms == 1_000


def test_a_week_halves_what_was_recorded_and_not_what_was_declared() -> None:
    skill = after(Skill(name="python", success_rate=1.0), False, False, False, False)
    assert success_at(skill, START) == pytest.approx(4 / 8)
    assert success_at(skill, START + WEEK) == pytest.approx(4 / 6)
    assert success_at(skill, START + 40 * WEEK) == pytest.approx(1.0)
    later = recorded(skill, is_success=True, took_ms=1, at_ms=START + WEEK)
    assert (later.completed, later.failed, later.count) == (1.0, 2.0, 5)


def test_the_first_time_is_the_mean_when_none_was_declared() -> None:
    skill = Skill(name="python")
    assert time_ms(skill) == UNKNOWN_MS
    once = after(skill, True, took_ms=250)
    assert time_ms(once) == 250
    assert time_ms(after(once, True, took_ms=500)) == pytest.approx(300)


def test_an_unknown_time_leaves_the_mean_as_it_is() -> None:
    assert time_ms(after(Skill(name="python", average_ms=70), True, took_ms=0)) == 70


def test_a_skill_declared_anew_keeps_what_was_recorded() -> None:
    before = after(Skill(name="python", level=Level.NOVICE), True, False)
    anew = declared_anew(before, Skill(name="python", level=Level.EXPERT, success_rate=0.9))
    assert (anew.level, anew.success_rate) == (Level.EXPERT, 0.9)
    assert (anew.completed, anew.failed, anew.count, anew.measured_ms) == (1.0, 1.0, 2, 100.0)


def test_levels_have_an_order_and_names() -> None:
    assert Level.NOVICE < Level.INTERMEDIATE < Level.ADVANCED < Level.EXPERT
    assert [level_named(said) for said in ("Expert", "novice", 3, Level.ADVANCED)] == [4, 1, 3, 3]
    with pytest.raises(InvalidArgumentError, match="'guru' is not one of novice, intermediate, advanced, expert"):
        level_named("guru")
    with pytest.raises(InvalidArgumentError, match="level 5"):
        level_named(5)


@pytest.mark.parametrize(
    ("skill", "told"),
    [
        (Skill(name="no spaces"), "not a valid name"),
        (Skill(name="python", success_rate=1.1), "success rate 1.1 is not 0 to 1"),
        (Skill(name="python", success_rate=float("nan")), "success rate nan"),
        (Skill(name="python", average_ms=-1), "mean time -1 ms"),
        (Skill(name="python", average_ms=float("inf")), "mean time inf ms"),
    ],
)
def test_what_cannot_be_declared_is_refused_by_name(skill: Skill, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=told):
        check_skill(skill)


def test_evidence_moves_a_level_by_one_where_a_rule_asks_for_it() -> None:
    rule, skill = EvidenceRule(), Skill(name="python", level=Level.INTERMEDIATE)
    assert level_at(after(skill, *[True] * 9), START, rule) is Level.INTERMEDIATE
    good = after(skill, *[True] * 10)
    assert level_at(good, START, rule) is Level.ADVANCED
    assert level_at(good, START) is Level.INTERMEDIATE
    assert level_at(good, START + WEEK, rule) is Level.INTERMEDIATE
    assert level_at(after(skill, *[False] * 6, *[True] * 4), START, rule) is Level.NOVICE
    assert level_at(after(skill, *[False] * 5, *[True] * 5), START, rule) is Level.INTERMEDIATE


def test_evidence_moves_no_level_past_the_ends() -> None:
    best, least = Skill(name="python", level=Level.EXPERT), Skill(name="python", level=Level.NOVICE)
    assert level_at(after(best, *[True] * 20), START, EvidenceRule()) is Level.EXPERT
    assert level_at(after(least, *[False] * 20), START, EvidenceRule()) is Level.NOVICE


@given(outcomes, st.floats(0, 1), st.sampled_from(Level))
def test_no_history_moves_the_declared_values(story: list[tuple[bool, float, int]], rate: float, level: Level) -> None:
    declared = Skill(name="python", level=level, success_rate=rate, average_ms=5)
    skill = declared
    for is_success, took_ms, since_ms in story:
        skill = recorded(skill, is_success=is_success, took_ms=took_ms, at_ms=START + since_ms)
    assert (skill.level, skill.success_rate, skill.average_ms) == (level, rate, 5)
    assert skill.count == len(story)
    assert 0 <= success_at(skill, START) <= 1


@given(outcomes, st.floats(0, 1))
def test_one_outcome_moves_the_rate_by_a_fifth_at_most(story: list[tuple[bool, float, int]], rate: float) -> None:
    skill = Skill(name="python", success_rate=rate)
    for is_success, took_ms, since_ms in story:
        at_ms = max(skill.at_ms, START + since_ms)
        before = success_at(skill, at_ms)
        skill = recorded(skill, is_success=is_success, took_ms=took_ms, at_ms=at_ms)
        moved = success_at(skill, at_ms) - before
        assert abs(moved) <= 1 / (PRIOR_OUTCOMES + 1) + 1e-9
        assert moved >= -1e-9 if is_success else moved <= 1e-9


@given(outcomes)
def test_outcomes_out_of_order_never_turn_time_back(story: list[tuple[bool, float, int]]) -> None:
    skill = Skill(name="python")
    for is_success, took_ms, since_ms in story:
        before = skill
        skill = recorded(skill, is_success=is_success, took_ms=took_ms, at_ms=START + since_ms)
        assert skill.at_ms == max(before.at_ms, START + since_ms)
        assert replace(skill, count=0) != replace(before, count=0)
