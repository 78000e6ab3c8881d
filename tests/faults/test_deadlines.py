"""Deadlines of all lengths under more work than there is time for: nothing starts late, nothing stays open."""

from datetime import timedelta
from random import Random

from meshd import Mesh, TaskState
from meshd.tasks.request import TaskRequest
from tests.faults.scene import SOON, Ledger, a_worker, settings, task_log
from tests.support.redis_server import RedisServer

CLOCK_SLACK_MS = 50
ENDED_MS = 1_500


async def test_nothing_starts_after_its_deadline_and_everything_ends_soon_after_it(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    rng = Random(7)
    requests = [
        TaskRequest(
            type="work",
            payload={"number": number, "ms": rng.uniform(5, 40)},
            deadline=timedelta(milliseconds=rng.randint(1, 1_500)) if number % 4 else None,
            delay=timedelta(milliseconds=rng.randint(0, 400)) if number % 3 == 0 else None,
        )
        for number in range(400)
    ]
    async with a_worker("n1", ledger, concurrency=2).running(server.url, settings=settings()):
        handles = await mesh.tasks.submit_many(requests)
        tasks = {task.id: task async for task in mesh.tasks.as_ended(handles, timeout=SOON)}
    for entry in await task_log(mesh):
        deadline_ms = tasks[entry["task"]].deadline_ms
        if deadline_ms is None:
            continue
        if entry["event"] in ("claimed", "started"):
            assert entry["at_ms"] <= deadline_ms
        if entry["event"] == "expired":
            assert 0 <= entry["at_ms"] - deadline_ms <= ENDED_MS
    states = {TaskState.COMPLETED: 0, TaskState.EXPIRED: 0}
    for task in tasks.values():
        states[task.state] += 1
        if task.deadline_ms is None:
            assert task.state is TaskState.COMPLETED
        elif task.id in ledger.began:
            assert ledger.began_ms[task.id] <= task.deadline_ms + CLOCK_SLACK_MS
        else:
            assert task.state is TaskState.EXPIRED
    assert min(states.values()) > 50, states
