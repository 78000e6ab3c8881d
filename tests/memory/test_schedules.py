"""Three thousand seeded lives of a shared memory, each judged by an oracle; and stores that must not survive them."""

import pytest

from tests.memory.controls import ForgetsItsClock, LastWriterWins
from tests.memory.mesh import OpenStore
from tests.memory.schedule import simulate

SCHEDULES = 3_000
SHARE = 300
"""Schedules per test, so that several workers share them."""


@pytest.mark.parametrize("first", range(0, SCHEDULES, SHARE))
def test_whatever_happens_all_stores_end_with_what_the_oracle_says(first: int) -> None:
    for seed in range(first, first + SHARE):
        verdict = simulate(seed)
        assert not verdict.breaches, str(verdict)


def test_a_seed_gives_the_same_run_each_time() -> None:
    assert simulate(7) == simulate(7)


@pytest.mark.parametrize("control", [LastWriterWins, ForgetsItsClock])
def test_a_store_that_takes_a_short_cut_is_found_out(control: OpenStore) -> None:
    assert any(simulate(seed, open_store=control).breaches for seed in range(200))


def test_plain_last_writer_wins_brings_deleted_keys_back() -> None:
    breaches = [each for seed in range(100) for each in simulate(seed, open_store=LastWriterWins).breaches]
    assert any(" not nothing" in breach for breach in breaches)
