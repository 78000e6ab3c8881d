"""Nodes and Redis are killed by the dozen under load; nothing may be lost, nothing done twice, nothing left over."""

from pathlib import Path

import pytest

from tests.chaos.outcome import Outcome
from tests.chaos.run import Run, carry_out
from tests.chaos.suites import quick, slow
from tests.chaos.work import LEASE_S

RECOVERY_BAR_MS = round((LEASE_S + 2) * 1000)
"""What is promised of a killed node's tasks: the lease and two seconds."""


def assert_sound(outcome: Outcome, run: Run) -> None:
    assert not outcome.violations, outcome.table()
    assert (outcome.submitted, outcome.completed) == (run.tasks, run.tasks), outcome.table()
    struck = (outcome.node_kills, outcome.store_kills, outcome.freezes, outcome.leaves)
    assert struck == (run.kills, run.store_kills, run.freezes, run.leaves), outcome.table()
    assert outcome.rerun > 0, "no kill met a task in flight: this run has shown nothing"
    assert outcome.recovery.taken_back_ms[1] < RECOVERY_BAR_MS, outcome.table()


@pytest.mark.chaos
@pytest.mark.timeout(180)
async def test_six_kills_lose_and_double_nothing(backend_name: str, tmp_path: Path) -> None:
    run = quick(backend_name)
    assert_sound(await carry_out(run, tmp_path), run)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_thirty_kills_lose_and_double_nothing_and_their_tasks_recover_in_time(
    backend_name: str, tmp_path: Path
) -> None:
    run = slow(backend_name)
    assert_sound(await carry_out(run, tmp_path), run)
