"""Hybrid times: later than everything seen, and no further from the wall clock than the clocks are from each other."""

from hypothesis import given
from hypothesis import strategies as st

from meshd.memory.hybrid_clock import MAX_TICK, Time, after, is_future, next_time

MS = st.integers(0, 1 << 47)
TIMES = st.builds(Time, MS, st.integers(0, MAX_TICK))


@given(TIMES, MS)
def test_the_next_time_is_later_and_not_before_the_wall_clock(last: Time, now_ms: int) -> None:
    following = next_time(last, now_ms)
    assert following > last
    assert following.ms >= now_ms
    assert 0 <= following.tick <= MAX_TICK


@given(TIMES, MS)
def test_the_next_time_is_at_most_a_millisecond_ahead_of_what_was_known(last: Time, now_ms: int) -> None:
    assert next_time(last, now_ms).ms <= max(last.ms + 1, now_ms)


@given(TIMES, TIMES, MS)
def test_a_write_is_later_than_what_its_writer_received(last: Time, seen: Time, now_ms: int) -> None:
    assert next_time(after(last, seen), now_ms) > max(last, seen)


@given(TIMES, TIMES, TIMES)
def test_receiving_is_the_same_in_every_order(last: Time, one: Time, other: Time) -> None:
    assert after(after(last, one), other) == after(after(last, other), one)
    assert after(last, last) == last


@given(st.lists(st.integers(-5, 5), max_size=50))
def test_times_rise_though_the_wall_clock_jumps(jumps: list[int]) -> None:
    now_ms, time = 1_000, Time(0)
    for jump in jumps:
        now_ms += jump
        time, before = next_time(time, now_ms), time
        assert time > before


def test_a_millisecond_that_is_full_runs_over_into_the_next() -> None:
    assert next_time(Time(5, MAX_TICK), 5) == Time(6, 0)


def test_a_time_beyond_the_drift_is_of_the_future() -> None:
    assert not is_future(160, now_ms=100, max_drift_ms=60)
    assert is_future(161, now_ms=100, max_drift_ms=60)
