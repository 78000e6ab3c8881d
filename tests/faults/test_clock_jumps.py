"""Wall clocks that jump by an hour: a node's changes nothing, the store's delays nothing by more than a lease."""

from pathlib import Path

import pytest

from meshd import Mesh, TaskState
from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.nodes.model import NodeTimings
from tests.chaos.fleet import Fleet
from tests.faults.scene import MESH, SOON, task_log, until_alive
from tests.support.builders import (
    LEASE_MS,
    a_claimer,
    a_profile,
    a_task,
    claim_all,
    completed,
    get_one,
    hold_of,
    start_one,
    submit_one,
    vitals,
)
from tests.support.false_time import FalseTime
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

HOUR = 3_600
WORK_MS = 2_000


@pytest.mark.parametrize("seconds", [HOUR, -HOUR])
async def test_a_node_whose_clock_jumps_keeps_its_tasks_and_its_place(
    server: RedisServer, mesh: Mesh, tmp_path: Path, seconds: int
) -> None:
    clock = FalseTime(tmp_path)
    fleet = Fleet(url=server.url, mesh=MESH, directory=tmp_path, concurrency=8)
    fleet.start("jumper", environment=clock.environment)
    try:
        await until_alive(mesh, "jumper")
        handles = [await mesh.tasks.submit("slow", number=number, ms=WORK_MS) for number in range(8)]
        await wait_until(lambda: len(fleet.at_work()) == 1, timeout=20)
        clock.jump(seconds)
        tasks = [task async for task in mesh.tasks.as_ended(handles, timeout=SOON)]
        await (await mesh.tasks.submit("short", number=1, ms=1)).result(timeout=SOON)
    finally:
        await fleet.leave()
    assert {(task.state, task.claims) for task in tasks} == {(TaskState.COMPLETED, 1)}
    assert "reclaimed" not in {entry["event"] for entry in await task_log(mesh)}
    nodes = await mesh.events.read("nodes", limit=1_000)
    assert "dead" not in {entry.body["event"] for entry in nodes}


async def test_a_store_whose_clock_jumps_ahead_takes_nobodys_task_and_judges_nobody(
    backend: Backend, clock: ManualClock
) -> None:
    member = await backend.nodes.join(a_profile("n1"), vitals())
    await backend.tasks.sweep()
    await backend.nodes.sweep()
    await submit_one(backend, a_task())
    task = await start_one(backend, a_claimer("n1"))
    clock.advance(seconds=HOUR)
    assert list(await backend.nodes.sweep()) == []
    assert (await backend.tasks.sweep()).reclaimed == 0
    clock.advance(ms=100)
    await backend.nodes.heartbeat(member, vitals())
    assert (await backend.tasks.sweep()).reclaimed == 0
    assert list(await backend.tasks.finish([completed(task)])) == ["ok"]


async def test_a_store_whose_clock_jumps_back_goes_on_from_where_it_was(backend: Backend, clock: ManualClock) -> None:
    member = await backend.nodes.join(a_profile("silent"), vitals())
    await backend.nodes.heartbeat(member, vitals())
    await submit_one(backend, a_task("held"))
    held = await start_one(backend, a_claimer("silent", types=["held"]))
    before = clock()
    clock.advance(seconds=-HOUR)
    delayed = a_task("delayed", delay_ms=1_000)
    await submit_one(backend, delayed)
    judged: set[str] = set()
    for _ in range(2 * LEASE_MS // 500):
        clock.advance(ms=500)
        await backend.tasks.sweep()
        judged |= {each.node_id for each in await backend.nodes.sweep()}
    assert judged == {"silent"}
    assert (await get_one(backend, held.id)).state is TaskState.READY
    assert [task.id for task in await claim_all(backend, a_claimer("n2", types=["delayed"]))] == [delayed.id]
    late = a_task("late")
    await submit_one(backend, late)
    assert before <= (await get_one(backend, late.id)).created_ms <= before + 3 * LEASE_MS
    assert NodeTimings().timeout_ms < LEASE_MS
    assert list(await backend.tasks.start([hold_of(held)])) == ["fenced"]
