"""What operators do: hold back, reorder, refuse, bury and revive, beside a node at work."""

import asyncio
from datetime import timedelta

import pytest

from meshd import Mesh, Node, Reject, Settings, TaskState
from meshd.clock import ManualClock
from meshd.errors import BackpressureError, InvalidArgumentError, InvalidTransitionError
from meshd.tasks.dead import DeadFilter, DeadLetters
from meshd.tasks.model import FailureKind
from meshd.tasks.rates import completion_rate
from meshd.tasks.request import TaskRequest
from tests.conftest import OpenAgain
from tests.support.builders import a_task, claim_one, completed

SOON = timedelta(seconds=20)


def a_node() -> Node:
    node = Node("worker")

    @node.task("echo")
    async def echo(value: int) -> int:
        return value

    @node.task("refuse")
    async def refuse(why: str) -> None:
        raise Reject(why)

    return node


async def test_a_paused_type_waits_and_others_go_on(mesh: Mesh, store_url: str, settings: Settings) -> None:
    await mesh.tasks.pause("echo")
    async with a_node().running(store_url, settings=settings):
        held = await mesh.tasks.submit("echo", value=1)
        other = await (await mesh.tasks.submit("refuse", why="no")).wait(timeout=SOON)
        assert other.state is TaskState.DEAD
        assert (await held.status()).state is TaskState.READY
        assert (await mesh.tasks.paused()).task_types == {"echo"}
        await mesh.tasks.resume("echo")
        assert await held.result(timeout=SOON) == 1


async def test_a_paused_mesh_hands_out_nothing_until_it_is_resumed(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    async with a_node().running(store_url, settings=settings):
        await mesh.tasks.pause()
        handles = await mesh.tasks.submit_many(TaskRequest(type="echo", payload={"value": n}) for n in range(5))
        assert (await mesh.tasks.paused()).mesh
        assert {(await handle.status()).state for handle in handles} == {TaskState.READY}
        await mesh.tasks.resume()
        assert [await handle.result(timeout=SOON) for handle in handles] == list(range(5))


async def test_a_drained_node_claims_again_when_it_is_resumed(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with a_node().running(store_url, settings=settings) as node:
        await mesh.nodes.drain(node.name)
        await mesh.nodes.resume(node.name)
        assert not (await mesh.nodes.get(node.name)).drain_requested
        assert await (await mesh.tasks.submit("echo", value=3)).result(timeout=SOON) == 3


async def test_another_priority_changes_the_order(mesh: Mesh, store_url: str, settings: Settings) -> None:
    first, second = await mesh.tasks.submit("echo", value=1), await mesh.tasks.submit("echo", value=2)
    assert (await mesh.tasks.reprioritize(second.id, "critical")).priority == "critical"
    node, order = Node("worker", concurrency=1), list[int]()

    @node.task("echo")
    async def echo(value: int) -> None:
        order.append(value)

    async with node.running(store_url, settings=settings):
        await first.wait(timeout=SOON)
        await second.wait(timeout=SOON)
    assert order == [2, 1]
    with pytest.raises(InvalidTransitionError):
        await mesh.tasks.reprioritize(first.id, "high")
    with pytest.raises(InvalidArgumentError, match="urgent"):
        await mesh.tasks.reprioritize(first.id, "urgent")


async def test_a_full_queue_refuses_whole_batches_and_loses_nothing(store_url: str, settings: Settings) -> None:
    small = settings.model_copy(update={"tasks": settings.tasks.model_copy(update={"queue_size": 3})})
    async with Mesh(store_url, settings=small) as mesh:
        await mesh.tasks.submit_many(TaskRequest(type="echo", payload={"value": n}) for n in range(2))
        with pytest.raises(BackpressureError, match="3"):
            await mesh.tasks.submit_many(TaskRequest(type="echo", payload={"value": n}) for n in range(2))
        assert (await mesh.tasks.counts())[TaskState.READY] == 2


async def test_a_submit_waits_for_room_when_told_to(store_url: str, settings: Settings) -> None:
    tasks = settings.tasks.model_copy(update={"queue_size": 1, "queue_wait_seconds": 20.0})
    async with Mesh(store_url, settings=settings.model_copy(update={"tasks": tasks})) as mesh:
        first = await mesh.tasks.submit("echo", value=1)
        waiting = asyncio.create_task(mesh.tasks.submit("echo", value=2))
        async with a_node().running(store_url, settings=settings):
            assert await first.result(timeout=SOON) == 1
            assert await (await waiting).result(timeout=SOON) == 2


async def test_dead_letters_are_listed_revived_and_forgotten_in_bulk(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    whys = ["bad file", "bad file", "too late"]
    async with a_node().running(store_url, settings=settings):
        handles = [await mesh.tasks.submit("refuse", why=why) for why in whys]
        for handle in handles:
            assert (await handle.wait(timeout=SOON)).state is TaskState.DEAD
    bad = DeadFilter(text="BAD file")
    assert {task.id for task in (await mesh.tasks.dead.list(bad)).tasks} == {handle.id for handle in handles[:2]}
    assert not (await mesh.tasks.dead.list(DeadFilter(reason=FailureKind.CRASHED))).tasks
    revived = await mesh.tasks.dead.redrive(bad, limit=1)
    assert revived.done == (handles[1].id,)
    assert (await handles[1].status()).state is TaskState.READY
    assert (await mesh.tasks.dead.purge(DeadFilter(ids=frozenset({handles[0].id})))).done == (handles[0].id,)
    assert {task.id for task in (await mesh.tasks.dead.list()).tasks} == {handles[2].id}
    assert (await mesh.tasks.audit()).findings == ()


async def test_dead_letters_are_found_by_their_age(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with a_node().running(store_url, settings=settings):
        task = await (await mesh.tasks.submit("refuse", why="no")).wait(timeout=SOON)
    assert task.finished_ms is not None
    dead = DeadLetters(mesh.backend.tasks, clock=ManualClock(task.finished_ms + 3_600_000))
    assert not (await dead.list(DeadFilter(older_than=timedelta(hours=2)))).tasks
    assert (await dead.list(DeadFilter(older_than=timedelta(hours=1)))).tasks
    with pytest.raises(InvalidArgumentError, match="limit 0"):
        await dead.purge(limit=0)


async def test_the_completion_rate_of_a_known_run_is_exact(mesh: Mesh, store_url: str, settings: Settings) -> None:
    assert (await mesh.completion_rate()).rate is None
    async with a_node().running(store_url, settings=settings):
        handles = [await mesh.tasks.submit("echo", value=n) for n in range(6)]
        handles += [await mesh.tasks.submit("refuse", why="no") for _ in range(2)]
        for handle in handles:
            await handle.wait(timeout=SOON)
    found = await mesh.completion_rate(timedelta(minutes=1))
    assert (found.completed, found.failed, found.rate) == (6, 2, 0.75)
    with pytest.raises(InvalidArgumentError, match="window"):
        await mesh.completion_rate(timedelta(0))


async def test_the_completion_rate_forgets_what_is_before_its_window(open_again: OpenAgain, clock: ManualClock) -> None:
    backend = await open_again()
    for _ in range(2):
        await backend.tasks.submit([a_task()])
        await backend.tasks.finish([completed(await claim_one(backend))])
        clock.advance(seconds=100)
    assert (await completion_rate(backend.events, window=timedelta(seconds=150))).completed == 2
    assert (await completion_rate(backend.events, window=timedelta(seconds=50))).completed == 1
