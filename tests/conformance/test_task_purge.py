"""Forgetting ended tasks before their retention is over."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import InvalidArgumentError, NotFoundError
from meshd.ids import new_id
from meshd.tasks.model import Outcome, Task, TaskFilter, TaskState
from meshd.tasks.store import MAX_BATCH
from tests.support.builders import (
    a_task,
    claim_all,
    claim_one,
    completed,
    failed,
    get_one,
    hold_of,
    start_one,
    submit_one,
)

ENDS = [TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED, TaskState.EXPIRED]
OPEN = [TaskState.SCHEDULED, TaskState.READY, TaskState.CLAIMED, TaskState.RUNNING]


async def ended(backend: Backend, clock: ManualClock, end: TaskState) -> Task:
    """Return a task that ended in this way."""
    new = a_task(key="order-7", expires_in_ms=600 if end is TaskState.EXPIRED else None)
    await submit_one(backend, new)
    if end is TaskState.CANCELLED:
        await backend.tasks.cancel(new.id, reason="no")
    elif end is TaskState.EXPIRED:
        clock.advance(ms=601)
        await backend.tasks.sweep()
    else:
        task = await start_one(backend)
        await backend.tasks.finish([completed(task) if end is TaskState.COMPLETED else failed(task, retry_in_ms=None)])
    return await get_one(backend, new.id)


@pytest.mark.parametrize("end", ENDS)
async def test_a_purged_task_is_forgotten_everywhere(backend: Backend, clock: ManualClock, end: TaskState) -> None:
    task = await ended(backend, clock, end)
    assert task.state is end
    assert list(await backend.tasks.purge([task.id])) == [True]
    assert list(await backend.tasks.get([task.id])) == [None]
    assert (await backend.tasks.list(TaskFilter(), limit=10)).tasks == ()
    assert not any((await backend.tasks.counts()).values())
    with pytest.raises(NotFoundError):
        await backend.tasks.redrive(task.id)
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.MISSING]


@pytest.mark.parametrize("end", ENDS)
async def test_its_idempotency_key_is_free_again(backend: Backend, clock: ManualClock, end: TaskState) -> None:
    task = await ended(backend, clock, end)
    await backend.tasks.purge([task.id])
    new = a_task(key="order-7")
    receipt = await submit_one(backend, new)
    assert (receipt.task_id, receipt.created) == (new.id, True)


@pytest.mark.parametrize("state", OPEN)
async def test_a_task_that_has_not_ended_is_kept(backend: Backend, state: TaskState) -> None:
    new = a_task(key="order-7", delay_ms=500 if state is TaskState.SCHEDULED else 0)
    await submit_one(backend, new)
    if state is TaskState.CLAIMED:
        await claim_one(backend)
    if state is TaskState.RUNNING:
        await start_one(backend)
    before = await get_one(backend, new.id)
    assert before.state is state
    assert list(await backend.tasks.purge([new.id])) == [False]
    assert await get_one(backend, new.id) == before
    assert not (await submit_one(backend, a_task(key="order-7"))).created


async def test_a_batch_is_answered_task_by_task(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(3)])
    done, dead, running = await claim_all(backend)
    await backend.tasks.start([hold_of(task) for task in (done, dead, running)])
    await backend.tasks.finish([completed(done), failed(dead, retry_in_ms=None)])
    answers = await backend.tasks.purge([done.id, running.id, "01HZZZZZZZZZZZZZZZZZZZZZZZ", dead.id, done.id])
    assert list(answers) == [True, False, False, True, False]
    counts = await backend.tasks.counts()
    assert {state: count for state, count in counts.items() if count} == {TaskState.RUNNING: 1}


async def test_purging_nothing_answers_nothing(backend: Backend) -> None:
    assert list(await backend.tasks.purge([])) == []


async def test_the_largest_batch_is_purged_whole(backend: Backend) -> None:
    batch = [a_task(key=f"k{number}") for number in range(MAX_BATCH)]
    await backend.tasks.submit(batch)
    for new in batch:
        await backend.tasks.cancel(new.id, reason="no")
    assert all(await backend.tasks.purge([new.id for new in batch]))
    assert not any((await backend.tasks.counts()).values())


async def test_a_batch_over_the_limit_is_refused_and_purges_nothing(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    await backend.tasks.cancel(new.id, reason="no")
    with pytest.raises(InvalidArgumentError):
        await backend.tasks.purge([new.id, *(new_id() for _ in range(MAX_BATCH))])
    assert (await get_one(backend, new.id)).state is TaskState.CANCELLED


async def test_a_task_submitted_again_after_its_purge_is_new(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    first = await start_one(backend)
    await backend.tasks.finish([completed(first)])
    await backend.tasks.purge([new.id])
    assert (await submit_one(backend, new)).created
    again = await claim_one(backend)
    assert (again.claims, again.result) == (1, None)
    assert again.token > first.token
    assert list(await backend.tasks.finish([completed(first)])) == [Outcome.FENCED]


async def test_the_retention_of_a_purged_task_means_nothing_to_its_successor(
    backend: Backend, clock: ManualClock
) -> None:
    await backend.tasks.sweep()
    task = await ended(backend, clock, TaskState.CANCELLED)
    await backend.tasks.purge([task.id])
    await submit_one(backend, a_task(key="order-7", task_id=task.id))
    clock.advance(ms=task.policy.result_ttl_ms + 1)
    await backend.tasks.sweep()
    assert (await claim_one(backend)).id == task.id
    assert not (await submit_one(backend, a_task(key="order-7"))).created
