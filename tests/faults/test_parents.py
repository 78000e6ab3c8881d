"""Random flows of tasks that wait for tasks, while nodes and the store are killed: none early, none stuck."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pytest

from meshd import Mesh, TaskRequest, TaskState
from meshd.tasks.model import Task
from tests.chaos.client import audit, persistently
from tests.chaos.fleet import Fleet
from tests.chaos.stores import Store, open_store
from tests.chaos.work import brisk_settings
from tests.faults.scene import task_log
from tests.support.waiting import wait_until

TASKS = 500
CHUNK = 20
NODES = ("n1", "n2", "n3")
KILLS = 8
STORE_KILLS = 2
PATIENCE_S = 90
RELEASED_MS = 1_000
"""A child whose last parent completed while nobody was killed is ready this soon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One task of a flow; parents are numbers of tasks before it."""

    number: int
    is_doomed: bool
    runs_anyway: bool
    parents: tuple[int, ...]


def drawn(seed: int) -> list[Plan]:
    """Draw a flow: most tasks wait for up to four others, some of which are doomed to fail."""
    rng = Random(seed)
    plans: list[Plan] = []
    for number in range(TASKS):
        near = range(max(0, number - 60), number)
        parents = rng.sample(near, min(len(near), rng.choice([0, 1, 1, 2, 4])))
        is_doomed = rng.random() < 0.02
        plans.append(
            Plan(number=number, is_doomed=is_doomed, runs_anyway=rng.random() < 0.4, parents=tuple(sorted(parents)))
        )
    return plans


def ends_of(plans: Sequence[Plan]) -> list[TaskState]:
    """Return how each task must end, whoever is killed meanwhile."""
    ends: list[TaskState] = []
    for plan in plans:
        has_failed = any(ends[parent] is not TaskState.COMPLETED for parent in plan.parents)
        if has_failed and not plan.runs_anyway:
            ends.append(TaskState.CANCELLED)
        else:
            ends.append(TaskState.DEAD if plan.is_doomed else TaskState.COMPLETED)
    return ends


def request(plan: Plan, known: Sequence[str], chunk: Mapping[int, TaskRequest]) -> TaskRequest:
    """Return the request of one task; its key makes a repeated submit harmless."""
    return TaskRequest(
        type="doomed" if plan.is_doomed else "short",
        payload={"number": plan.number, "ms": plan.number % 7},
        idempotency_key=f"flow-{plan.number}",
        depends_on=[chunk[parent] if parent in chunk else known[parent] for parent in plan.parents],
        on_parent_failure="run_anyway" if plan.runs_anyway else "cancel",
    )


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = open_store(request.param, tmp_path, fsync="always")
    yield store
    store.close()


@pytest.fixture
def fleet(store: Store, mesh_name: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(url=store.url, mesh=mesh_name, directory=tmp_path, concurrency=4)
    yield fleet
    fleet.close()


@pytest.fixture
async def mesh(store: Store, mesh_name: str) -> AsyncIterator[Mesh]:
    async with Mesh(store.url, settings=brisk_settings(mesh_name)) as opened:
        yield opened


async def submit(mesh: Mesh, plans: Sequence[Plan], known: list[str]) -> None:
    """Submit the flow in parts, each naming tasks of its own and of parts before it."""
    for start in range(0, len(plans), CHUNK):
        chunk: dict[int, TaskRequest] = {}
        for plan in plans[start : start + CHUNK]:
            chunk[plan.number] = request(plan, known, chunk)
        handles = await persistently(partial(mesh.tasks.submit_many, list(chunk.values())))
        known += [handle.id for handle in handles]


async def trouble(mesh: Mesh, store: Store, fleet: Fleet) -> None:
    """Kill nodes, and the store between two of them, each time some of the work is done."""
    for blow in range(1, KILLS + 1):

        async def has_gone_on(share: float = blow / (KILLS + 2)) -> bool:
            counts = await persistently(mesh.tasks.counts)
            return counts[TaskState.COMPLETED] + counts[TaskState.CANCELLED] >= share * TASKS

        await wait_until(has_gone_on, timeout=PATIENCE_S)
        if store.port is not None and blow % (KILLS // STORE_KILLS) == 0:
            await store.kill()
            await store.restart()
        victim = (fleet.at_work() or [fleet.start(NODES[0])])[blow % max(1, len(fleet.at_work()))]
        fleet.kill(victim)
        fleet.start(victim.partition(".")[0])


async def all_ended(mesh: Mesh, ids: Sequence[str]) -> list[Task]:
    """Return the tasks once each has ended."""

    async def is_over() -> bool:
        counts = await persistently(mesh.tasks.counts)
        return sum(count for state, count in counts.items() if state.is_terminal) == len(ids)

    await wait_until(is_over, timeout=PATIENCE_S)
    tasks = [*await mesh.backend.tasks.get(ids[:250]), *await mesh.backend.tasks.get(ids[250:])]
    return [task for task in tasks if task is not None]


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_no_flow_starts_early_or_stays_stuck_whoever_is_killed(store: Store, fleet: Fleet, mesh: Mesh) -> None:
    plans, ids = drawn(seed=11), list[str]()
    for name in NODES:
        fleet.start(name)
    async with asyncio.TaskGroup() as group:
        group.create_task(submit(mesh, plans, ids))
        group.create_task(trouble(mesh, store, fleet))
    tasks = await all_ended(mesh, ids)
    assert [task.state for task in tasks] == ends_of(plans)
    log = await task_log(mesh)
    ended: dict[str, int] = {}
    for place, entry in enumerate(log):
        if TaskState(entry["state"]).is_terminal and entry["event"] != "purged":
            ended.setdefault(entry["task"], place)
    begun = {entry["task"]: place for place, entry in reversed(list(enumerate(log))) if entry["event"] == "started"}
    parents_of = {ids[plan.number]: [ids[parent] for parent in plan.parents] for plan in plans}
    early = [task_id for task_id, at in begun.items() if any(ended[parent] > at for parent in parents_of[task_id])]
    assert early == []
    steps = [(entry["task"], entry["event"]) for entry in log if entry["event"] in ("unblocked", "cancelled")]
    assert len(steps) == len(set(steps))
    assert (await audit(mesh))[1] == []
    await fleet.leave()
    assert not any(left for name, left in store.indexes(mesh.name).items() if "kids" in name or "outbox" in name)
    waits_ms = sorted(_waits(log, parents_of))
    assert waits_ms[len(waits_ms) * 9 // 10] < RELEASED_MS, waits_ms


def _waits(log: Sequence[Mapping[str, object]], parents_of: Mapping[str, Sequence[str]]) -> Iterator[int]:
    """Yield how long after the end of its last parent each child was let go, by the store's clock."""
    ended: dict[str, int] = {}
    for entry in log:
        task_id, at_ms = str(entry["task"]), int(str(entry["at_ms"]))
        if entry["event"] == "unblocked":
            yield at_ms - max(ended[parent] for parent in parents_of[task_id])
        elif TaskState(str(entry["state"])).is_terminal:
            ended.setdefault(task_id, at_ms)
