"""A thousand seeded fault schedules against the real worker on virtual time."""

import logging

import pytest

from tests.simulator.schedule import simulate

SCHEDULES = 1_000
SHARE = 100
"""Schedules per test, so that several workers share them."""


@pytest.fixture(autouse=True)
def _quiet() -> object:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SCHEDULES, SHARE))
def test_no_schedule_of_faults_breaks_a_promise(first: int) -> None:
    for seed in range(first, first + SHARE):
        verdict = simulate(seed)
        assert not verdict.breaches, str(verdict)


def test_a_seed_gives_the_same_run_each_time() -> None:
    assert simulate(7) == simulate(7)


def test_a_store_without_fencing_is_found_out() -> None:
    assert any(simulate(seed, is_fenced=False).breaches for seed in range(60))
