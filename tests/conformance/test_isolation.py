"""Two meshes on one store know nothing of each other."""

from dataclasses import replace

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.errors import BackpressureError, NotFoundError
from meshd.nodes.store import NODES_LOG
from meshd.tasks.model import Outcome, Pauses, TaskFilter, TaskState
from meshd.tasks.store import TASKS_LOG
from tests.conftest import OpenAgain
from tests.support.builders import (
    LEASE_MS,
    a_claimer,
    a_profile,
    a_task,
    claim_all,
    claim_one,
    hold_of,
    rung,
    submit_one,
    vitals,
)


@pytest.fixture
async def neighbour(open_again: OpenAgain, options: BackendOptions) -> Backend:
    """Another mesh on the same store, whose name begins like the first one's."""
    return await open_again(replace(options, mesh=options.mesh + "2"))


async def test_tasks_of_another_mesh_are_neither_seen_nor_served(backend: Backend, neighbour: Backend) -> None:
    new = a_task(key="k")
    await submit_one(backend, new)
    assert await claim_all(neighbour) == []
    assert list(await neighbour.tasks.get([new.id])) == [None]
    assert (await neighbour.tasks.list(TaskFilter(), limit=10)).tasks == ()
    assert (await neighbour.tasks.counts())[TaskState.READY] == 0


async def test_one_idempotency_key_may_be_used_in_each_mesh(backend: Backend, neighbour: Backend) -> None:
    assert (await submit_one(backend, a_task(key="k"))).created
    assert (await submit_one(neighbour, a_task(key="k"))).created


async def test_a_holder_of_another_mesh_finds_no_such_task(backend: Backend, neighbour: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    assert list(await neighbour.tasks.start([hold_of(task)])) == [Outcome.MISSING]
    assert list(await neighbour.tasks.renew([hold_of(task)], lease_ms=LEASE_MS)) == [Outcome.MISSING]
    with pytest.raises(NotFoundError):
        await neighbour.tasks.cancel(task.id, reason="no")


async def test_reclaim_and_open_counts_stay_in_their_mesh(backend: Backend, neighbour: Backend) -> None:
    await submit_one(backend, a_task())
    await claim_one(backend, a_claimer("n1"))
    assert await neighbour.tasks.reclaim("n1", up_to_incarnation=9) == 0
    assert dict(await neighbour.tasks.open_counts(["n1"])) == {"n1": 0}
    assert dict(await backend.tasks.open_counts(["n1"])) == {"n1": 1}


async def test_nodes_of_another_mesh_are_not_here(backend: Backend, neighbour: Backend) -> None:
    await backend.nodes.join(a_profile("n1", capabilities=["gpu"]), vitals())
    assert await neighbour.nodes.get("n1") is None
    assert await neighbour.nodes.list() == []
    assert list(await neighbour.nodes.holders(frozenset({"gpu"}))) == []


async def test_records_of_another_mesh_are_not_read(backend: Backend, neighbour: Backend) -> None:
    await backend.records.create("k", b"1")
    assert await neighbour.records.get("k") is None
    assert list(await neighbour.records.list("")) == []
    await neighbour.records.create("k", b"2")


async def test_logs_of_another_mesh_are_not_read(backend: Backend, neighbour: Backend) -> None:
    await submit_one(backend, a_task())
    await backend.nodes.join(a_profile("n1"), vitals())
    await backend.events.append("news", {"n": 1})
    for log in (TASKS_LOG, NODES_LOG, "news"):
        assert list(await neighbour.events.read(log)) == []


async def test_hints_of_another_mesh_are_not_heard(backend: Backend, neighbour: Backend) -> None:
    async with neighbour.events.subscribe("a") as subscription:
        await backend.events.publish("a", {"from": "backend"})
        await neighbour.events.publish("a", {"from": "neighbour"})
        hint = await subscription.get(timeout_ms=5_000)
    assert hint is not None
    assert hint.body["from"] == "neighbour"


async def test_a_submit_rings_nobody_in_another_mesh(backend: Backend, neighbour: Backend) -> None:
    claimer = a_claimer()
    assert await claim_all(neighbour, claimer) == []
    await submit_one(backend, a_task())
    assert await rung(neighbour, claimer) == [False]


async def test_pauses_stay_in_their_mesh(backend: Backend, neighbour: Backend) -> None:
    await backend.tasks.pause("work")
    await backend.tasks.pause()
    await submit_one(neighbour, a_task())
    assert await neighbour.tasks.paused() == Pauses()
    assert len(await claim_all(neighbour)) == 1


async def test_purge_and_reconcile_stay_in_their_mesh(backend: Backend, neighbour: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task()])
    task, ended = await claim_all(backend, limit=2)
    await backend.tasks.cancel(ended.id, reason="no")
    assert await neighbour.tasks.reconcile(a_claimer(), known=[]) == 0
    assert list(await neighbour.tasks.purge([ended.id])) == [False]
    assert list(await backend.tasks.renew([hold_of(task)], lease_ms=LEASE_MS)) == [Outcome.OK]
    assert (await backend.tasks.counts())[TaskState.CANCELLED] == 1


async def test_a_full_queue_is_full_for_its_mesh_alone(
    backend: Backend, neighbour: Backend, open_again: OpenAgain, options: BackendOptions
) -> None:
    await submit_one(neighbour, a_task())
    small = await open_again(replace(options, queue_size=1))
    assert (await submit_one(small, a_task())).created
    with pytest.raises(BackpressureError):
        await submit_one(small, a_task())
    assert len(await claim_all(backend)) == 1
