"""A slot that moves under load: nothing half done, nothing lost, only delay."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.backends.redis.partitions import partition_of
from meshd.errors import UnavailableError
from meshd.events import START
from meshd.tasks.model import Outcome, TaskState, TaskTimings
from meshd.tasks.store import TASKS_LOG
from tests.support.builders import a_claimer, a_task, claim_all, completed, get_one, hold_of, submit_one
from tests.support.redis_cluster import RedisCluster
from tests.support.stores import ClusterMeshes

pytestmark = pytest.mark.slow

PARTITION = "p0"


@pytest.fixture
async def options(redis_cluster: RedisCluster, mesh_name: str) -> AsyncIterator[BackendOptions]:
    """A mesh of one partition, so that its slot is the busiest there is."""
    yield BackendOptions(mesh=mesh_name, partitions=1, timeout_ms=20_000, tasks=TaskTimings(poll_ms=200))
    ClusterMeshes(redis_cluster, partitions=1).finish(mesh_name)


@pytest.fixture
async def backend(redis_cluster: RedisCluster, options: BackendOptions) -> AsyncIterator[Backend]:
    backend = await open_backend(redis_cluster.url, options)
    yield backend
    await backend.aclose()


def slot_of(cluster: RedisCluster, mesh: str) -> int:
    return cluster.slot_of(f"mesh:{{{mesh}:{PARTITION}}}:clock")


async def test_while_a_slot_is_on_its_way_no_script_sees_half_of_it(
    backend: Backend, redis_cluster: RedisCluster, options: BackendOptions
) -> None:
    quick = await open_backend(redis_cluster.url, BackendOptions(mesh=options.mesh, timeout_ms=400))
    news = [a_task(payload=b'"%d"' % n) for n in range(40)]
    await backend.tasks.submit(news)
    slot = slot_of(redis_cluster, options.mesh)
    source = redis_cluster.owner_of(slot)
    target = (source + 1) % 3
    redis_cluster.open_slot(slot, source=source, target=target)
    steps = 0
    while redis_cluster.move_keys(slot, source=source, target=target, limit=5):
        steps += 1
        with pytest.raises(UnavailableError):
            await quick.tasks.get([news[0].id])
        with pytest.raises(UnavailableError):
            await submit_one(quick, a_task())
    assert steps > 8
    waiting = asyncio.create_task(submit_one(backend, a_task()))
    await asyncio.sleep(0)
    redis_cluster.close_slot(slot, target=target)
    assert (await waiting).created
    assert (await quick.tasks.counts())[TaskState.READY] == 41
    assert len(await claim_all(backend, limit=100)) == 41
    await quick.aclose()


async def test_while_one_partition_moves_the_others_are_worked_on(redis_cluster: RedisCluster, mesh_name: str) -> None:
    backend = await open_backend(redis_cluster.url, BackendOptions(mesh=mesh_name, partitions=6, timeout_ms=10_000))
    news = [a_task() for _ in range(120)]
    await backend.tasks.submit(news)
    slot = slot_of(redis_cluster, mesh_name)
    source = redis_cluster.owner_of(slot)
    target = (source + 1) % 3
    redis_cluster.open_slot(slot, source=source, target=target)
    moving = {new.id for new in news if partition_of(new.id, 6) == 0}
    found: list[str] = []
    async with asyncio.timeout(5):
        while len(found) < 120 - len(moving):
            found += [task.id for task in await claim_all(backend, limit=10)]
    assert not moving & set(found)
    while redis_cluster.move_keys(slot, source=source, target=target):
        pass
    redis_cluster.close_slot(slot, target=target)
    async with asyncio.timeout(5):
        while len(found) < 120:
            found += [task.id for task in await claim_all(backend, limit=10)]
    assert sorted(found) == sorted(new.id for new in news)
    await backend.aclose()
    ClusterMeshes(redis_cluster, partitions=6).finish(mesh_name)


async def test_the_busiest_slot_moves_twice_under_load_and_nothing_is_lost_or_done_twice(
    backend: Backend, redis_cluster: RedisCluster, options: BackendOptions
) -> None:
    worker = await open_backend(redis_cluster.url, options)
    submitted: list[str] = []
    ended: Counter[str] = Counter()
    is_enough, is_over = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        submitting = group.create_task(submit_until(backend, submitted, is_enough))
        working = [group.create_task(work_until(worker, f"n{n}", ended, is_over, submitted)) for n in range(2)]
        for shift in (1, 2):
            await asyncio.sleep(0.7)
            slot = slot_of(redis_cluster, options.mesh)
            target = (redis_cluster.owner_of(slot) + shift) % 3
            moved = await asyncio.to_thread(redis_cluster.migrate, slot, target=target)
            assert moved > 50
        await asyncio.sleep(0.7)
        is_enough.set()
        await submitting
        is_over.set()
        await asyncio.wait(working)
    await worker.aclose()
    assert len(submitted) > 300
    assert set(submitted) == set(ended)
    assert set(ended.values()) == {1}
    counts = await backend.tasks.counts()
    assert counts[TaskState.COMPLETED] == len(submitted)
    assert sum(counts.values()) == len(submitted)
    verbs = await verbs_of(backend)
    assert verbs["submitted"] == verbs["completed"] == len(submitted)
    assert await findings(backend) == []


async def submit_until(backend: Backend, submitted: list[str], is_enough: asyncio.Event) -> None:
    while not is_enough.is_set():
        receipts = await backend.tasks.submit([a_task() for _ in range(5)])
        submitted += [receipt.task_id for receipt in receipts]
        await asyncio.sleep(0.01)


async def work_until(
    backend: Backend, name: str, ended: "Counter[str]", is_over: asyncio.Event, submitted: list[str]
) -> None:
    claimer = a_claimer(name)
    while not (is_over.is_set() and len(ended) == len(submitted)):
        tasks = await claim_all(backend, claimer, limit=20)
        holds = [hold_of(task) for task in tasks]
        assert set(await backend.tasks.start(holds)) <= {Outcome.OK}
        outcomes = await backend.tasks.finish([completed(task) for task in tasks])
        ended.update(task.id for task, outcome in zip(tasks, outcomes, strict=True) if outcome is Outcome.OK)
        if not tasks:
            with suppress(UnavailableError):
                await backend.tasks.wait_for_work(claimer, timeout_ms=100)


async def verbs_of(backend: Backend) -> "Counter[str]":
    verbs: Counter[str] = Counter()
    cursor = START
    while events := await backend.events.read(TASKS_LOG, after=cursor, limit=1_000):
        verbs.update(str(event.body["event"]) for event in events)
        cursor = events[-1].cursor
    return verbs


async def findings(backend: Backend) -> list[str]:
    page = await backend.tasks.audit(repair=False)
    found = list(page.findings)
    while page.cursor is not None:
        page = await backend.tasks.audit(repair=False, cursor=page.cursor)
        found += page.findings
    return [f"{finding.invariant} {finding.subject}: {finding.what}" for finding in found]


async def test_a_task_held_while_its_slot_moves_is_ended_by_its_holder(
    backend: Backend, redis_cluster: RedisCluster, options: BackendOptions
) -> None:
    new = a_task()
    await submit_one(backend, new)
    (task,) = await claim_all(backend)
    await backend.tasks.start([hold_of(task)])
    slot = slot_of(redis_cluster, options.mesh)
    moving = asyncio.to_thread(redis_cluster.migrate, slot, target=(redis_cluster.owner_of(slot) + 1) % 3)
    async with asyncio.TaskGroup() as group:
        finishing = group.create_task(backend.tasks.finish([completed(task)]))
        group.create_task(moving)
    assert list(finishing.result()) == [Outcome.OK]
    assert (await get_one(backend, new.id)).state is TaskState.COMPLETED
