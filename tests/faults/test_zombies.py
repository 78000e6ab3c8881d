"""Nodes frozen until they are judged dead: others do their work, nothing they say counts, and they come back."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from meshd import Mesh, TaskState
from tests.chaos.client import audit
from tests.chaos.effects import read_effects
from tests.chaos.fleet import Fleet
from tests.chaos.history import Phase
from tests.chaos.work import LEASE_S, brisk_settings
from tests.faults.scene import SOON, task_log, until_alive
from tests.support.waiting import wait_until

BACK_S = 3.0
WORK_MS = 2_500
"""Long enough that a frozen node finishes it after it wakes, when it is another's already."""


@pytest.mark.parametrize(
    ("nodes", "zombies", "frozen_s"),
    [(4, 2, 0.0), pytest.param(8, 3, 4 * LEASE_S, marks=pytest.mark.slow)],
)
async def test_zombies_are_fenced_and_back_at_work_soon_after_they_wake(
    store_url: str, mesh_name: str, tmp_path: Path, nodes: int, zombies: int, frozen_s: float
) -> None:
    """Each node runs one task, so every heir can run one of the suspects alone."""
    fleet = Fleet(url=store_url, mesh=mesh_name, directory=tmp_path, concurrency=1)
    names = [f"n{number}" for number in range(nodes)]
    try:
        async with Mesh(store_url, settings=brisk_settings(mesh_name)) as mesh:
            victims = [fleet.start(name) for name in names[:zombies]]
            handles = [await mesh.tasks.submit("slow", number=number, ms=WORK_MS) for number in range(zombies)]
            await wait_until(lambda: len(list(read_effects(tmp_path))) == len(handles), timeout=20)
            before = {node.id: node.incarnation for node in await mesh.nodes.list()}
            for life in victims:
                await fleet.halt(life)
            for name in names[zombies:]:
                fleet.start(name)
            await asyncio.sleep(frozen_s)
            async for task in mesh.tasks.as_ended(handles, timeout=SOON):
                assert (task.state, task.crashes) == (TaskState.COMPLETED, 1)
                assert task.node_id in names[zombies:]
            woken = time.monotonic()
            for life in victims:
                fleet.wake(life)
            for name in names[:zombies]:
                await until_alive(mesh, name, after=before[name])
            assert time.monotonic() - woken < BACK_S
            log = await task_log(mesh)
            assert Counter(entry["task"] for entry in log if entry["event"] == "completed") == {
                handle.id: 1 for handle in handles
            }
            counted = {(entry["task"], entry["token"]) for entry in log if entry["event"] == "completed"}
            ended = {(one.task_id, one.token) for one in read_effects(tmp_path) if one.phase is Phase.FINISH}
            assert counted <= ended
            assert (await audit(mesh))[1] == []
            await fleet.leave()
    finally:
        fleet.close()
    assert fleet.exits == {}, fleet.last_words()
