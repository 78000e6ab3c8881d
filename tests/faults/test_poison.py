"""Tasks that kill whoever runs them: three deaths each at most, and nobody beside them pays with its life."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from meshd import Mesh, TaskState
from meshd.tasks.model import FailureKind
from meshd.tasks.request import TaskRequest
from tests.chaos.client import audit
from tests.chaos.effects import read_effects
from tests.chaos.fleet import Fleet
from tests.chaos.history import Phase
from tests.chaos.work import brisk_settings
from tests.faults.scene import SOON


async def start_again(fleet: Fleet) -> None:
    """Start every process again that ends, as a supervisor would."""
    while True:
        for life in fleet.fallen():
            fleet.start(life.rpartition(".")[0])
        await asyncio.sleep(0.02)


def crowd(*, killers: int, innocents: int) -> list[TaskRequest]:
    """Return the tasks, the killers spread among the innocents."""
    every = innocents // killers
    requests: list[TaskRequest] = []
    for number in range(innocents):
        if number % every == every // 2 and number // every < killers:
            requests.append(TaskRequest(type="poison", payload={"number": number}))
        requests.append(TaskRequest(type="slow", payload={"number": number, "ms": 10 + number % 50}))
    return requests


@pytest.mark.parametrize(
    ("killers", "innocents"),
    [(2, 80), pytest.param(10, 600, marks=[pytest.mark.slow, pytest.mark.timeout(180)])],
)
async def test_killers_end_as_dead_letters_after_three_deaths_and_no_innocent_with_them(
    store_url: str, mesh_name: str, tmp_path: Path, killers: int, innocents: int
) -> None:
    fleet = Fleet(url=store_url, mesh=mesh_name, directory=tmp_path, concurrency=4)
    for number in range(3):
        fleet.start(f"n{number}")
    restarting = asyncio.create_task(start_again(fleet))
    try:
        async with Mesh(store_url, settings=brisk_settings(mesh_name, max_crashes=3)) as mesh:
            handles = await mesh.tasks.submit_many(crowd(killers=killers, innocents=innocents))
            ended = [task async for task in mesh.tasks.as_ended(handles, timeout=5 * SOON)]
            deaths = Counter(one.task_id for one in read_effects(tmp_path) if one.phase is Phase.START)
            for task in ended:
                if task.type == "poison":
                    assert (task.state, task.reason, task.crashes) == (TaskState.DEAD, "crashed", 3)
                    assert deaths[task.id] == 3
                    assert [error.kind for error in task.errors] == [FailureKind.CRASHED] * 3
                    assert task.payload
                else:
                    assert (task.state, task.crashes <= 1) == (TaskState.COMPLETED, True), task
            restarting.cancel()
            (redriven,) = [task for task in ended if task.type == "poison"][:1]
            fleet.close()
            assert (await mesh.tasks.redrive(redriven.id)).crashes == 0
            await mesh.tasks.cancel(redriven.id)
            assert (await audit(mesh))[1] == []
    finally:
        restarting.cancel()
        fleet.close()
