"""Nodes and Redis are killed by the dozen under load; nothing may be lost, nothing done twice, nothing left over."""

from pathlib import Path

import pytest

from tests.chaos.outcome import Outcome
from tests.chaos.run import Run, carry_out
from tests.chaos.work import LEASE_S, SWEEP_S

RECOVERY_BAR_MS = round((LEASE_S + SWEEP_S + 1) * 1000)
"""What was promised of a killed node's tasks: lease, sweep, one second."""


def assert_sound(outcome: Outcome, run: Run) -> None:
    assert not outcome.violations, outcome.table()
    assert (outcome.submitted, outcome.completed) == (run.tasks, run.tasks), outcome.table()
    assert (outcome.node_kills, outcome.store_kills, outcome.freezes) == (run.kills, run.store_kills, run.freezes), (
        outcome.table()
    )
    assert outcome.rerun > 0, "no kill met a task in flight: this run has shown nothing"


@pytest.mark.chaos
@pytest.mark.timeout(180)
async def test_six_kills_lose_and_double_nothing(backend_name: str, tmp_path: Path) -> None:
    run = Run(
        backend=backend_name,
        tasks=3_000,
        kills=6,
        freezes=2,
        store_kills=1 if backend_name == "redis" else 0,
        concurrency=4,
        timeout_s=120,
    )
    assert_sound(await carry_out(run, tmp_path), run)


@pytest.mark.chaos
@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_thirty_kills_lose_and_double_nothing_and_their_tasks_recover_in_time(
    backend_name: str, tmp_path: Path
) -> None:
    run = Run(
        backend=backend_name,
        tasks=20_000,
        kills=30,
        freezes=4,
        store_kills=2 if backend_name == "redis" else 0,
        timeout_s=400,
    )
    outcome = await carry_out(run, tmp_path)
    assert_sound(outcome, run)
    assert outcome.recovery.taken_back_ms[1] <= RECOVERY_BAR_MS, outcome.table()
