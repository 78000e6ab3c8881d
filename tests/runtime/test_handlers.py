"""How a node calls handlers, and what their ends become."""

import asyncio
import sys
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import pytest
from pydantic import BaseModel

from meshd import Mesh, Node, Reject, Retry, Settings, TaskContext, TaskState
from meshd.errors import DeadlineError, InvalidArgumentError, NoCandidateError, TaskNotCompletedError
from meshd.tasks.model import FailureKind
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)


class Order(BaseModel):
    item: str
    count: int


@dataclass
class Total:
    sum: int


async def test_async_and_sync_handlers_return_results_to_any_process(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node = Node("worker")

    @node.task("add.async")
    async def add_async(a: int, b: int = 1) -> int:
        return a + b

    @node.task("add.sync")
    def add_sync(a: int, b: int) -> Total:
        return Total(sum=a + b)

    async with node.running(store_url, settings=settings), Mesh(store_url, settings=settings) as other:
        first = await mesh.tasks.submit("add.async", a=2)
        second = await mesh.tasks.submit("add.sync", {"a": 2, "b": 3})
        assert await other.tasks.handle(first.id).result(timeout=SOON) == 3
        assert await other.tasks.handle(second.id).result(timeout=SOON) == {"sum": 5}


async def test_type_hints_convert_the_payload(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("order")
    async def order(order: Order, tags: list[str]) -> Order:
        assert isinstance(order, Order)
        return Order(item=order.item + tags[0], count=order.count + 1)

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("order", order={"item": "x", "count": 1}, tags=["y"])
        assert await handle.result(timeout=SOON) == {"item": "xy", "count": 2}


@pytest.mark.parametrize("payload", [{"a": "not a number"}, {}, {"a": 1, "unknown": 2}])
async def test_a_payload_that_does_not_fit_is_refused_once_and_calls_nothing(
    mesh: Mesh, store_url: str, settings: Settings, payload: dict[str, Any]
) -> None:
    node, calls = Node("worker"), list[int]()

    @node.task("typed")
    async def typed(a: int) -> None:
        calls.append(a)

    async with node.running(store_url, settings=settings):
        task = await (await mesh.tasks.submit("typed", payload)).wait(timeout=SOON)
    assert (task.state, task.failures, calls) == (TaskState.DEAD, 1, [])
    assert [error.kind for error in task.errors] == [FailureKind.REJECTED]
    assert "does not fit" in task.errors[0].message


async def test_a_failing_task_is_retried_then_dead_with_every_error(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node = Node("worker")

    @node.task("fail")
    async def fail() -> None:
        raise ValueError("no luck")

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("fail")
        task = await handle.wait(timeout=SOON)
        with pytest.raises(TaskNotCompletedError, match="no luck"):
            await handle.result()
    assert (task.state, task.failures) == (TaskState.DEAD, 3)
    assert [(error.attempt, error.message) for error in task.errors] == [
        (attempt, "ValueError: no luck") for attempt in (1, 2, 3)
    ]
    assert "raise ValueError" in task.errors[0].detail


async def test_a_retry_waits_as_long_as_the_handler_asks(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("flaky")
    async def flaky(context: TaskContext) -> int:
        if context.attempt == 1:
            raise Retry("later", delay=timedelta(milliseconds=300))
        return context.attempt

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("flaky")
        assert await handle.result(timeout=SOON) == 2
        task = await handle.status()
    assert task.started_ms is not None
    assert task.started_ms - task.errors[0].at_ms >= 300


async def test_a_rejected_task_is_dead_at_once(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("reject")
    def reject() -> None:
        raise Reject("not mine")

    async with node.running(store_url, settings=settings):
        task = await (await mesh.tasks.submit("reject")).wait(timeout=SOON)
    assert (task.state, task.failures, task.errors[0].message) == (TaskState.DEAD, 1, "not mine")


async def test_an_overdue_async_handler_is_stopped_and_marked(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node, stopped = Node("worker"), asyncio.Event()

    @node.task("slow")
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("slow", timeout=timedelta(milliseconds=200), max_attempts=1)
        task = await handle.wait(timeout=SOON)
    assert stopped.is_set()
    assert (task.state, task.errors[0].kind) == (TaskState.DEAD, FailureKind.TIMEOUT)


async def test_an_overdue_sync_handler_is_stopped_and_its_slot_is_free_again(
    mesh: Mesh, store_url: str, settings: Settings
) -> None:
    node = Node("worker", concurrency=1)

    @node.task("spin")
    def spin() -> None:
        while True:
            time.sleep(0.001)

    @node.task("quick")
    def quick() -> int:
        return 1

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("spin", timeout=timedelta(milliseconds=200), max_attempts=1)
        assert (await handle.wait(timeout=SOON)).errors[0].kind is FailureKind.TIMEOUT
        assert await (await mesh.tasks.submit("quick")).result(timeout=SOON) == 1


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_cancelling_a_running_task_stops_its_handler(
    mesh: Mesh, store_url: str, settings: Settings, kind: str
) -> None:
    node, started = Node("worker"), threading.Event()

    @node.task("async")
    async def wait_async() -> None:
        started.set()
        await asyncio.Event().wait()

    @node.task("sync")
    def wait_sync(context: TaskContext) -> None:
        started.set()
        while not context.cancelled:
            time.sleep(0.001)

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit(kind)
        await asyncio.to_thread(started.wait, 10)
        assert (await handle.cancel("changed my mind")).cancel_requested
        task = await handle.wait(timeout=SOON)
    assert (task.state, task.reason) == (TaskState.CANCELLED, "changed my mind")


async def test_context_arrives_equal_also_after_a_retry(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node, seen = Node("worker"), list[Any]()
    context_value = {"thread": "é\u0000\U0001f600", "depth": [1, 2.5, None]}

    @node.task("read")
    async def read(context: TaskContext) -> None:
        seen.append(context.value)
        if context.attempt == 1:
            raise Retry(delay=timedelta(0))

    async with node.running(store_url, settings=settings):
        await (await mesh.tasks.submit("read", context=context_value)).result(timeout=SOON)
    assert seen == [context_value, context_value]


async def test_progress_is_visible_while_the_task_runs(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node, go_on = Node("worker"), threading.Event()

    @node.task("long")
    def long(context: TaskContext) -> None:
        for step in range(1, 5):
            context.progress(step / 10, f"step {step}")
        go_on.wait(20)

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("long")

        async def reported() -> bool:
            task = await handle.status()
            return (task.progress, task.note) == (0.4, "step 4")

        await wait_until(reported)
        go_on.set()
        await handle.result(timeout=SOON)


async def test_a_node_never_runs_more_than_its_concurrency(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node, running, most = Node("worker", concurrency=3), 0, 0

    @node.task("count")
    async def count() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1

    async with node.running(store_url, settings=settings):
        handles = [await mesh.tasks.submit("count") for _ in range(30)]
        ended = [task async for task in mesh.tasks.as_ended(handles, timeout=SOON)]
    assert len(ended) == 30
    assert most == 3


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_handler_that_exits_fails_its_task_and_not_its_node(
    mesh: Mesh, store_url: str, settings: Settings, kind: str
) -> None:
    node = Node("worker")

    @node.task("async")
    async def exit_async() -> None:
        sys.exit(2)

    @node.task("sync")
    def exit_sync() -> None:
        sys.exit(2)

    @node.task("echo")
    def echo(value: int) -> int:
        return value

    async with node.running(store_url, settings=settings):
        task = await (await mesh.tasks.submit(kind, max_attempts=1)).wait(timeout=SOON)
        assert (task.state, task.errors[0].message) == (TaskState.DEAD, "SystemExit: 2")
        assert await (await mesh.tasks.submit("echo", value=1)).result(timeout=SOON) == 1


async def test_a_cancelled_task_says_why_it_was_cancelled(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("flaky")
    async def flaky() -> None:
        raise Retry("not yet", delay=timedelta(hours=1))

    async with node.running(store_url, settings=settings):
        handle = await mesh.tasks.submit("flaky")

        async def has_failed() -> bool:
            return (await handle.status()).failures == 1

        await wait_until(has_failed)
        await handle.cancel("not needed any more")
        with pytest.raises(TaskNotCompletedError, match="not needed any more"):
            await handle.result(timeout=SOON)


async def test_a_time_that_is_no_duration_is_refused(mesh: Mesh) -> None:
    handle = await mesh.tasks.submit("never")
    with pytest.raises(InvalidArgumentError, match="timedelta"):
        await handle.result(timeout=cast("timedelta", 5))
    with pytest.raises(DeadlineError, match=r"after 0\.05 s"):
        await handle.result(timeout=timedelta(milliseconds=50))


async def test_a_draining_node_is_no_candidate(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("echo")
    async def echo() -> None: ...

    async with node.running(store_url, settings=settings):
        await mesh.tasks.submit("echo", unserved="refuse")
        await mesh.nodes.drain("worker")
        with pytest.raises(NoCandidateError, match="echo"):
            await mesh.tasks.submit("echo", unserved="refuse")
