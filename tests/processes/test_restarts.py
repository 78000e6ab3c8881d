"""The back-off rule: who comes back, and when."""

from datetime import timedelta

import pytest

from meshd.runtime.restarts import Rest, Restart, RestartPolicy, after_exit, backoff

SHORT, LONG = timedelta(seconds=1), timedelta(seconds=60)


def test_a_process_that_ends_on_purpose_stays_down() -> None:
    assert after_exit(0, lived=SHORT, short_lives=0) == Rest(failed=False)


def test_wrong_settings_are_not_tried_again() -> None:
    assert after_exit(2, lived=SHORT, short_lives=0) == Rest(failed=True)


@pytest.mark.parametrize("exit_code", [1, 4, -9, -11, -15])
def test_every_other_end_is_a_crash(exit_code: int) -> None:
    assert after_exit(exit_code, lived=SHORT, short_lives=0) == Restart(
        delay=timedelta(milliseconds=500), short_lives=1
    )


def test_waits_double_up_to_the_longest() -> None:
    policy = RestartPolicy()
    waits = [backoff(lives, policy=policy).total_seconds() for lives in range(8)]
    assert waits == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff(10_000, policy=policy) == policy.longest


def test_a_long_life_forgets_the_short_ones() -> None:
    assert after_exit(1, lived=LONG, short_lives=9) == Restart(delay=timedelta(milliseconds=500), short_lives=1)
