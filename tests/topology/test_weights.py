"""The numbers of the weight rules, each exact."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.errors import InvalidArgumentError
from meshd.topology.model import Edge, EdgeRules, Use, WeightRule
from meshd.topology.weights import TOLERANCE, aged, began, is_spent, spent_ms, used, weight_at

ADDITIVE = EdgeRules()
BOUNDED = EdgeRules(rule=WeightRule.BOUNDED)
PROPORTIONAL = EdgeRules(rule=WeightRule.BOUNDED, decay_share=1 - 0.2 ** (1 / 24))
TICK = 5_000
START = 1_700_000_000_000
ONCE = Use(source="a", target="b")

rules = st.sampled_from([ADDITIVE, BOUNDED, PROPORTIONAL, EdgeRules(decay=0.02), EdgeRules(decay=0.0)])
moments = st.integers(min_value=0, max_value=10_000_000)
uses = st.builds(
    Use,
    source=st.just("a"),
    target=st.just("b"),
    count=st.integers(min_value=1, max_value=1_000),
    quality=st.floats(min_value=0, max_value=1),
)


def an_edge(rules: EdgeRules = ADDITIVE, *, at_ms: int = START) -> Edge:
    return began("a", "b", at_ms=at_ms, rules=rules)


def test_an_edge_begins_at_a_half() -> None:
    assert an_edge() == Edge(source="a", target="b", weight=0.5, created_ms=START, touched_ms=START)


def test_a_use_adds_a_tenth_and_counts_one() -> None:
    edge = used(an_edge(), ONCE, at_ms=START, rules=ADDITIVE)
    assert (edge.weight, edge.usage, edge.used_ms) == (0.6, 1, START)


def test_a_hundred_uses_reach_the_cap_and_never_pass_it() -> None:
    edge = an_edge()
    weights: list[float] = []
    for _ in range(100):
        edge = used(edge, ONCE, at_ms=START, rules=ADDITIVE)
        weights.append(edge.weight)
    assert weights[:6] == [0.6, 0.7, 0.8, 0.9, 1.0, 1.0]
    assert (max(weights), edge.usage) == (1.0, 100)


def test_uses_told_at_once_are_the_uses_told_one_by_one() -> None:
    for rule in (ADDITIVE, BOUNDED):
        one_by_one = an_edge(rule)
        for _ in range(3):
            one_by_one = used(one_by_one, ONCE, at_ms=START, rules=rule)
        at_once = used(an_edge(rule), replace(ONCE, count=3), at_ms=START, rules=rule)
        assert at_once.weight == pytest.approx(one_by_one.weight, abs=TOLERANCE)


@pytest.mark.parametrize("decay", [0.01, 0.02, 0.05])
def test_after_n_ticks_the_weight_is_exactly_n_rates_less(decay: float) -> None:
    rules = EdgeRules(decay=decay)
    edge = an_edge(rules)
    for count in range(60):
        assert weight_at(edge, START + count * TICK, rules) == round(max(0.0, 0.5 - decay * count), 12)


def test_decay_stops_at_zero() -> None:
    assert weight_at(an_edge(), START + 10_000 * TICK, ADDITIVE) == 0.0


def test_between_two_ticks_nothing_is_lost() -> None:
    edge = an_edge()
    assert weight_at(edge, START + TICK - 1, ADDITIVE) == 0.5
    assert weight_at(edge, START + TICK, ADDITIVE) == pytest.approx(0.5 - 1 / 60, abs=1e-12)


@pytest.mark.parametrize("phase", [0, 1, 2_500, 4_999])
@pytest.mark.parametrize("rules", [ADDITIVE, PROPORTIONAL])
def test_an_unused_edge_is_gone_at_two_minutes_within_a_tick(rules: EdgeRules, phase: int) -> None:
    edge = an_edge(rules, at_ms=START + phase)
    gone_ms = spent_ms(edge, rules)
    assert gone_ms is not None
    assert 115_000 <= gone_ms - edge.created_ms <= 125_000
    assert not is_spent(edge, gone_ms - 1, rules)
    assert is_spent(edge, gone_ms, rules)


def test_decaying_tick_by_tick_prunes_at_the_same_tick_as_decaying_at_once() -> None:
    edge = an_edge()
    for count in range(1, 25):
        edge = aged(edge, now_ms=START + count * TICK, rules=ADDITIVE)
        assert is_spent(edge, START + count * TICK, ADDITIVE) == (count == 24)


def test_the_rates_of_the_original_prune_when_they_did() -> None:
    for decay, initial, seconds in ((0.02, 0.5, 100), (0.02, 1.0, 225), (0.05, 0.5, 40), (0.05, 1.0, 90)):
        rules = EdgeRules(decay=decay)
        gone_ms = spent_ms(replace(an_edge(rules), weight=initial), rules)
        assert gone_ms == START + seconds * 1000


def test_an_edge_used_each_tick_outlives_the_unused() -> None:
    edge, unused = an_edge(), an_edge()
    for count in range(1, 101):
        edge = used(edge, ONCE, at_ms=START + count * TICK, rules=ADDITIVE)
        assert not is_spent(edge, START + count * TICK, ADDITIVE)
    assert is_spent(unused, START + 100 * TICK, ADDITIVE)
    assert edge.weight == 1.0


def test_the_bounded_rule_adds_a_tenth_of_what_is_missing() -> None:
    edge = used(an_edge(BOUNDED), ONCE, at_ms=START, rules=BOUNDED)
    assert edge.weight == 0.55
    assert used(an_edge(BOUNDED), replace(ONCE, quality=0.5), at_ms=START, rules=BOUNDED).weight == 0.525


def test_the_bounded_rule_halves_for_a_failure_which_is_no_use() -> None:
    failed = used(an_edge(BOUNDED), replace(ONCE, quality=0), at_ms=START, rules=BOUNDED)
    assert (failed.weight, failed.usage, failed.used_ms) == (0.25, 0, 0)


def test_the_additive_rule_does_not_see_a_failure() -> None:
    failed = used(an_edge(), replace(ONCE, quality=0), at_ms=START, rules=ADDITIVE)
    assert (failed.weight, failed.usage) == (0.5, 0)


def test_the_bounded_rule_loses_a_twentieth_each_tick_down_to_its_floor() -> None:
    assert weight_at(an_edge(BOUNDED), START + TICK, BOUNDED) == 0.475
    assert weight_at(an_edge(BOUNDED), START + 1_000 * TICK, BOUNDED) == 0.05


def test_the_bounded_rule_spares_a_thin_edge_that_was_used_within_two_minutes() -> None:
    thin = replace(an_edge(BOUNDED), weight=0.08, used_ms=START)
    assert not is_spent(thin, START + 119_999, BOUNDED)
    assert is_spent(thin, START + 120_000, BOUNDED)


@pytest.mark.parametrize("use", [replace(ONCE, count=0), replace(ONCE, quality=1.5), replace(ONCE, quality=math.nan)])
def test_a_use_that_cannot_be_is_refused(use: Use) -> None:
    with pytest.raises(InvalidArgumentError, match=r"a -> b"):
        used(an_edge(), use, at_ms=START, rules=ADDITIVE)


@given(rules, st.floats(min_value=0, max_value=1), moments, moments, moments)
def test_ageing_twice_is_ageing_once(rules: EdgeRules, weight: float, start: int, first: int, then: int) -> None:
    edge = Edge(source="a", target="b", weight=weight, touched_ms=start)
    middle, end = start + first, start + first + then
    twice = aged(aged(edge, now_ms=middle, rules=rules), now_ms=end, rules=rules)
    assert twice.weight == pytest.approx(aged(edge, now_ms=end, rules=rules).weight, abs=TOLERANCE)


@given(rules, st.lists(st.tuples(uses, st.integers(min_value=0, max_value=300_000)), max_size=30))
def test_a_weight_is_never_outside_zero_to_one(rules: EdgeRules, story: list[tuple[Use, int]]) -> None:
    edge, now_ms = an_edge(rules), START
    for use, passed in story:
        now_ms += passed
        edge = used(edge, use, at_ms=now_ms, rules=rules)
        assert 0 <= edge.weight <= 1
        assert 0 <= weight_at(edge, now_ms + passed, rules) <= 1


@given(rules, st.floats(min_value=0, max_value=1), moments, moments)
def test_an_edge_is_spent_from_the_moment_that_was_foretold(
    rules: EdgeRules, weight: float, start: int, last_use: int
) -> None:
    edge = Edge(source="a", target="b", weight=weight, used_ms=min(last_use, start), created_ms=1, touched_ms=start)
    gone_ms = spent_ms(edge, rules)
    if gone_ms is None:
        assert not is_spent(edge, start + 10**9, rules)
        return
    assert is_spent(edge, gone_ms, rules)
    assert gone_ms <= start or not is_spent(edge, gone_ms - 1, rules)
