"""Being told when a task ends, without asking again and again."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.events import Subscription
from meshd.tasks.model import Stopped, TaskPolicy, TaskState
from tests.conftest import OpenAgain
from tests.support.builders import a_task, completed, failed, hold_of, start_one, submit_one

TOPIC = "ends-of-client-7"
WAIT_MS = 5_000


async def told(subscription: Subscription) -> tuple[str, str]:
    """Return the task and state of the next hint, which must come."""
    hint = await subscription.get(timeout_ms=WAIT_MS)
    assert hint is not None
    assert hint.topic == TOPIC
    return hint.body["task"], hint.body["state"]


async def test_a_watcher_named_in_the_submit_is_told_of_the_end(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    new = a_task(watcher=TOPIC)
    async with backend.events.subscribe(TOPIC) as subscription:
        await submit_one(backend, new)
        task = await start_one(other)
        await other.tasks.finish([completed(task)])
        assert await told(subscription) == (new.id, TaskState.COMPLETED)


async def test_a_watch_set_later_is_told_too(backend: Backend, open_again: OpenAgain) -> None:
    other = await open_again()
    new = a_task()
    await submit_one(backend, new)
    async with other.events.subscribe(TOPIC) as subscription:
        (task,) = await other.tasks.watch([new.id], topic=TOPIC)
        assert task is not None
        assert task.state is TaskState.READY
        await backend.tasks.finish([completed(await start_one(backend))])
        assert await told(subscription) == (new.id, TaskState.COMPLETED)


async def test_watching_an_ended_task_returns_its_state_and_sends_no_hint(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    await backend.tasks.cancel(new.id, reason="no")
    async with backend.events.subscribe(TOPIC) as subscription:
        (task,) = await backend.tasks.watch([new.id], topic=TOPIC)
        assert task is not None
        assert task.state is TaskState.CANCELLED
        await backend.events.publish(TOPIC, {"task": "last", "state": "marker"})
        assert await told(subscription) == ("last", "marker")


async def test_watching_answers_in_order_and_none_for_unknown_tasks(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    found = await backend.tasks.watch(["01HZZZZZZZZZZZZZZZZZZZZZZZ", new.id], topic=TOPIC)
    assert [task and task.id for task in found] == [None, new.id]


async def test_a_watch_set_twice_tells_once(backend: Backend) -> None:
    new = a_task(watcher=TOPIC)
    await submit_one(backend, new)
    async with backend.events.subscribe(TOPIC) as subscription:
        await backend.tasks.watch([new.id], topic=TOPIC)
        await backend.tasks.cancel(new.id, reason="no")
        await backend.events.publish(TOPIC, {"task": "last", "state": "marker"})
        assert [await told(subscription), await told(subscription)] == [
            (new.id, TaskState.CANCELLED),
            ("last", "marker"),
        ]


@pytest.mark.parametrize("end", [TaskState.DEAD, TaskState.CANCELLED, TaskState.EXPIRED])
async def test_every_kind_of_end_is_told(backend: Backend, clock: ManualClock, end: TaskState) -> None:
    await backend.tasks.sweep()
    new = a_task(watcher=TOPIC, expires_in_ms=700, policy=TaskPolicy(max_attempts=1))
    await submit_one(backend, new)
    async with backend.events.subscribe(TOPIC) as subscription:
        task = await start_one(backend)
        if end is TaskState.DEAD:
            await backend.tasks.finish([failed(task)])
        elif end is TaskState.CANCELLED:
            await backend.tasks.cancel(new.id, reason="no")
            await backend.tasks.finish([Stopped(hold=hold_of(task))])
        else:
            clock.advance(ms=701)
            await backend.tasks.sweep()
        assert await told(subscription) == (new.id, end)


async def test_a_failure_that_is_retried_is_no_end(backend: Backend) -> None:
    new = a_task(watcher=TOPIC)
    await submit_one(backend, new)
    async with backend.events.subscribe(TOPIC) as subscription:
        await backend.tasks.finish([failed(await start_one(backend), retry_in_ms=0)])
        await backend.tasks.finish([completed(await start_one(backend))])
        assert await told(subscription) == (new.id, TaskState.COMPLETED)
