"""SIGTERM under load: what runs is finished, what cannot be is given back at once, and nothing runs twice."""

import asyncio
from pathlib import Path

import pytest

from meshd import Mesh, TaskState
from tests.chaos.run import Run, carry_out
from tests.faults.scene import Ledger, a_worker, settings, task_log
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.mark.timeout(60)
async def test_nodes_that_leave_one_after_another_under_load_rerun_nothing(backend_name: str, tmp_path: Path) -> None:
    run = Run(backend=backend_name, tasks=600, kills=0, leaves=4, nodes=3, concurrency=4, timeout_s=40)
    outcome = await carry_out(run, tmp_path)
    assert not outcome.violations, outcome.table()
    assert (outcome.completed, outcome.leaves, outcome.rerun) == (600, 4, 0), outcome.table()


async def test_what_is_not_finished_within_the_grace_is_claimed_by_another_in_under_a_second(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    leaver, heir = a_worker("leaver", Ledger(), concurrency=3), a_worker("heir", ledger)
    leaving = asyncio.create_task(leaver.run(server.url, settings=settings()))
    handles = [await mesh.tasks.submit("hold") for _ in range(3)]

    async def are_running() -> bool:
        return (await mesh.tasks.counts())[TaskState.RUNNING] == 3

    await wait_until(are_running)
    async with heir.running(server.url, settings=settings()):
        leaver.stop_now()
        await wait_until(lambda: len(ledger.began) == 3)
        ledger.go_on.set()
        results = [await handle.result() for handle in handles]
        await leaving
    assert results == ["heir attempt 1"] * 3
    log = await task_log(mesh)
    for handle in handles:
        (released,) = [entry["at_ms"] for entry in log if (entry["task"], entry["event"]) == (handle.id, "released")]
        claimed = max(entry["at_ms"] for entry in log if (entry["task"], entry["event"]) == (handle.id, "claimed"))
        assert 0 <= claimed - released < 1_000
