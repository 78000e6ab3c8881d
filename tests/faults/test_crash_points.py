"""A node killed at an exact step: what the step before was, and no more, is what its tasks are charged."""

import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meshd import Mesh, TaskState
from meshd.tasks.model import FailureKind
from tests.chaos.client import audit
from tests.chaos.effects import read_effects
from tests.chaos.fleet import Fleet
from tests.chaos.history import Phase
from tests.chaos.work import brisk_settings
from tests.faults.scene import MESH, SOON, steps
from tests.support.redis_server import RedisServer


@pytest.fixture
async def mesh(store_url: str, mesh_name: str) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=brisk_settings(mesh_name)) as opened:
        yield opened
        assert (await audit(opened))[1] == []


@pytest.fixture
def fleet(store_url: str, mesh_name: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(url=store_url, mesh=mesh_name, directory=tmp_path, concurrency=1)
    yield fleet
    fleet.close()


async def test_death_between_claim_and_start_costs_no_attempt(mesh: Mesh, fleet: Fleet, tmp_path: Path) -> None:
    handle = await mesh.tasks.submit("short", number=7, ms=0)
    victim = fleet.start("victim", environment={"MESHD_CRASH_POINT": "after_claim"})
    assert await fleet.wait(victim) == -signal.SIGKILL
    assert (await handle.status()).state is TaskState.CLAIMED
    fleet.start("heir")
    await handle.result(timeout=SOON)
    task = await handle.status()
    assert (task.claims, task.starts, task.failures, task.crashes, task.errors) == (2, 1, 0, 0, ())
    assert [(effect.phase, effect.attempt) for effect in read_effects(tmp_path)] == [
        (Phase.START, 1),
        (Phase.FINISH, 1),
    ]
    await fleet.leave()


async def test_death_between_the_end_and_its_report_runs_that_task_again_and_no_other(
    mesh: Mesh, fleet: Fleet, tmp_path: Path
) -> None:
    handles = [await mesh.tasks.submit("short", number=number, ms=0) for number in range(20)]
    victim = fleet.start("victim", environment={"MESHD_CRASH_POINT": "before_ack"})
    assert await fleet.wait(victim) == -signal.SIGKILL
    fleet.start("heir")
    async for task in mesh.tasks.as_ended(handles, timeout=SOON):
        assert task.state is TaskState.COMPLETED
    finished = Counter(effect.task_id for effect in read_effects(tmp_path) if effect.phase is Phase.FINISH)
    assert sorted(finished.values()) == [1] * 19 + [2]
    assert Counter(await steps(mesh, "completed")) == Counter(handle.id for handle in handles)
    (again,) = [task_id for task_id, times in finished.items() if times == 2]
    task = await mesh.tasks.get(again)
    assert (task.starts, task.crashes, [error.kind for error in task.errors]) == (2, 1, [FailureKind.CRASHED])
    await fleet.leave()


async def test_the_first_start_a_server_ever_sees_is_charged_though_its_process_dies_at_once(
    server: RedisServer, tmp_path: Path
) -> None:
    fleet = Fleet(url=server.url, mesh=MESH, directory=tmp_path, concurrency=1)
    try:
        async with Mesh(server.url, settings=brisk_settings(MESH, max_crashes=1)) as mesh:
            handle = await mesh.tasks.submit("poison", number=0)
            assert await fleet.wait(fleet.start("victim")) == -signal.SIGKILL
            assert (await handle.status()).state is TaskState.RUNNING
            fleet.start("witness")
            task = await handle.wait(timeout=SOON)
        assert (task.state, task.starts, task.crashes) == (TaskState.DEAD, 1, 1)
    finally:
        fleet.close()
