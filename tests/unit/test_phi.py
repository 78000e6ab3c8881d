"""How late a beat may be: the closed form against the integral, and the bounds it promises."""

from math import erfc, log10, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshd.nodes.model import NodeTimings
from meshd.nodes.phi import WEIGHT, Z_BOUND, Z_DOUBT, Pace, patience_of, phi

TIMINGS = st.integers(10, 60_000).flatmap(
    lambda heartbeat: st.builds(
        NodeTimings, heartbeat_ms=st.just(heartbeat), timeout_ms=st.integers(heartbeat + 1, 20 * heartbeat)
    )
)
PACES = st.builds(Pace, mean_ms=st.floats(0, 1e6), variance=st.floats(0, 1e12))


def test_the_two_thresholds_are_where_the_tail_is_so_thin() -> None:
    assert -log10(erfc(Z_DOUBT / sqrt(2)) / 2) == pytest.approx(8)
    assert -log10(erfc(Z_BOUND / sqrt(2)) / 2) == pytest.approx(12)


def test_by_default_the_smallest_deviation_is_200_ms() -> None:
    patience = patience_of(NodeTimings())
    assert (patience.floor, round(patience.pause)) == (200, 1_593)


@given(TIMINGS)
def test_the_bound_of_a_regular_node_is_the_timeout(timings: NodeTimings) -> None:
    regular = Pace(mean_ms=timings.heartbeat_ms)
    patience = patience_of(timings)
    assert patience.bound_after(regular) == timings.timeout_ms
    assert timings.heartbeat_ms <= patience.doubted_after(regular) <= timings.timeout_ms
    assert patience.pause > 0


@given(TIMINGS, PACES)
def test_a_bound_is_never_under_the_timeout_nor_over_the_longest(timings: NodeTimings, pace: Pace) -> None:
    patience = patience_of(timings)
    assert timings.timeout_ms <= patience.bound_after(pace) <= round(NodeTimings.MAX_STRETCH * timings.timeout_ms)
    assert 0 < patience.doubted_after(pace) <= patience.bound_after(pace)


@given(PACES, st.floats(0, 1e6))
def test_a_pace_moves_towards_what_it_counts(pace: Pace, interval: float) -> None:
    after = pace.counting(interval)
    assert min(pace.mean_ms, interval) - 1e-6 <= after.mean_ms <= max(pace.mean_ms, interval) + 1e-6
    assert after.variance >= 0


def test_a_pace_learns_mean_and_deviation_of_its_last_hundred() -> None:
    pace = Pace(mean_ms=1_000)
    for number in range(2_000):
        pace = pace.counting(1_000 if number % 2 else 3_000)
    assert pace.mean_ms == pytest.approx(2_000, rel=0.01)
    assert pace.deviation_ms == pytest.approx(1_000, rel=0.01)
    assert WEIGHT == 1 / 100


@pytest.mark.parametrize(("interval_ms", "tells"), [(499, False), (500, True), (4_000, True), (4_001, False)])
def test_beats_out_of_turn_and_after_a_long_silence_tell_nothing(interval_ms: int, tells: bool) -> None:
    assert patience_of(NodeTimings()).tells(interval_ms, Pace(mean_ms=1_000)) is tells


def test_phi_is_8_at_the_doubt_and_12_at_the_bound_and_only_rises() -> None:
    found = [phi(now_ms=now, doubt_ms=3_716, bound_ms=4_000) for now in range(0, 120_000, 4)]
    assert found == sorted(found)
    assert phi(now_ms=3_716, doubt_ms=3_716, bound_ms=4_000) == pytest.approx(8)
    assert phi(now_ms=4_000, doubt_ms=3_716, bound_ms=4_000) == pytest.approx(12)
    assert found[0] == 0
    assert phi(now_ms=10**9, doubt_ms=0, bound_ms=0) == 999


@pytest.mark.parametrize("seed", range(20))
def test_a_slow_and_lossy_network_brings_no_live_node_to_its_bound(seed: int) -> None:
    """Ten minutes of 200 ms give or take 100; one packet of fifty is sent again, after 600 ms, then twice that."""
    rng, patience, pace = Random(seed), patience_of(NodeTimings()), Pace(mean_ms=1_000)
    before_ms = 0.0
    for second in range(600):
        late_ms, again_ms = rng.uniform(100, 300), 600.0
        while rng.random() < 0.02:
            late_ms, again_ms = late_ms + again_ms, 2 * again_ms
        at_ms = max(before_ms, second * 1_000 + late_ms)
        assert at_ms - before_ms < patience.bound_after(pace)
        if patience.tells(at_ms - before_ms, pace):
            pace = pace.counting(at_ms - before_ms)
        before_ms = at_ms
    assert patience.bound_after(pace) < 1.5 * NodeTimings().timeout_ms
