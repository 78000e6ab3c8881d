"""Another priority for a task that has not ended: it moves to where it would be had it always had it."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import InvalidTransitionError, NotFoundError
from meshd.tasks.model import Priority, Released, TaskState
from meshd.tasks.routing import virtual_time
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


async def test_a_ready_task_moves_to_its_new_place(backend: Backend, clock: ManualClock) -> None:
    news = [a_task() for _ in range(3)]
    for new in news:
        await submit_one(backend, new)
        clock.advance(ms=10)
    await backend.tasks.reprioritize(news[2].id, Priority.HIGH)
    await backend.tasks.reprioritize(news[0].id, Priority.BACKGROUND)
    assert [task.id for task in await claim_all(backend)] == [news[2].id, news[1].id, news[0].id]


@pytest.mark.parametrize("priority", Priority)
async def test_it_keeps_its_age_under_any_priority(backend: Backend, clock: ManualClock, priority: Priority) -> None:
    created_ms = clock()
    new = a_task(priority=Priority.LOW)
    await submit_one(backend, new)
    clock.advance(ms=60_000)
    task = await backend.tasks.reprioritize(new.id, priority)
    assert (task.priority, task.vt, task.due_ms) == (priority, virtual_time(created_ms, priority), created_ms)
    assert await get_one(backend, new.id) == task
    assert (await claim_one(backend)).priority is priority


async def test_among_its_new_equals_the_older_is_served_first(backend: Backend, clock: ManualClock) -> None:
    old = a_task(priority=Priority.LOW)
    await submit_one(backend, old)
    clock.advance(ms=10)
    batch = [a_task(priority=Priority.HIGH) for _ in range(5)]
    await backend.tasks.submit(batch)
    await backend.tasks.reprioritize(old.id, Priority.HIGH)
    assert [task.id for task in await claim_all(backend)] == [old.id, *(new.id for new in batch)]


async def test_a_scheduled_task_has_its_new_place_when_it_is_due(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    delayed, other = a_task(priority=Priority.LOW, delay_ms=500), a_task()
    await backend.tasks.submit([delayed, other])
    task = await backend.tasks.reprioritize(delayed.id, Priority.CRITICAL)
    assert (task.state, task.vt) == (TaskState.SCHEDULED, virtual_time(task.due_ms, Priority.CRITICAL))
    clock.advance(ms=501)
    await backend.tasks.sweep()
    assert [task.id for task in await claim_all(backend)] == [delayed.id, other.id]


@pytest.mark.parametrize("started", [False, True], ids=["claimed", "running"])
async def test_a_held_task_stays_with_its_holder_and_has_its_new_place_when_given_back(
    backend: Backend, clock: ManualClock, started: bool
) -> None:
    await submit_one(backend, a_task())
    task = await (start_one(backend) if started else claim_one(backend))
    clock.advance(ms=10)
    other = a_task()
    await submit_one(backend, other)
    after = await backend.tasks.reprioritize(task.id, Priority.BACKGROUND)
    assert (after.token, after.node_id, after.lease_until_ms) == (task.token, "n1", task.lease_until_ms)
    await backend.tasks.finish([Released(hold=hold_of(task))])
    assert [found.id for found in await claim_all(backend)] == [other.id, task.id]


async def test_a_retried_task_keeps_its_new_priority(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.reprioritize(task.id, Priority.CRITICAL)
    await backend.tasks.finish([failed(task)])
    again = await claim_one(backend)
    assert (again.priority, again.vt) == (Priority.CRITICAL, virtual_time(task.due_ms, Priority.CRITICAL))


async def test_there_and_back_is_where_it_was(backend: Backend, clock: ManualClock) -> None:
    news = [a_task() for _ in range(3)]
    for new in news:
        await submit_one(backend, new)
        clock.advance(ms=1)
    before = await get_one(backend, news[1].id)
    await backend.tasks.reprioritize(news[1].id, Priority.CRITICAL)
    await backend.tasks.reprioritize(news[1].id, Priority.NORMAL)
    assert await get_one(backend, news[1].id) == before
    assert [task.id for task in await claim_all(backend)] == [new.id for new in news]


async def test_the_priority_it_has_changes_nothing(backend: Backend) -> None:
    new = a_task(priority=Priority.HIGH)
    await submit_one(backend, new)
    before = await get_one(backend, new.id)
    assert await backend.tasks.reprioritize(new.id, Priority.HIGH) == before
    again = await backend.tasks.reprioritize(new.id, Priority.LOW)
    assert await backend.tasks.reprioritize(new.id, Priority.LOW) == again
    assert len(await claim_all(backend)) == 1


@pytest.mark.parametrize("end", [TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED])
async def test_an_ended_task_has_no_place_to_change(backend: Backend, end: TaskState) -> None:
    new = a_task()
    await submit_one(backend, new)
    if end is TaskState.CANCELLED:
        await backend.tasks.cancel(new.id, reason="no")
    else:
        task = await start_one(backend)
        await backend.tasks.finish([completed(task) if end is TaskState.COMPLETED else failed(task, retry_in_ms=None)])
    before = await get_one(backend, new.id)
    for priority in (Priority.HIGH, before.priority):
        with pytest.raises(InvalidTransitionError):
            await backend.tasks.reprioritize(new.id, priority)
    assert await get_one(backend, new.id) == before


async def test_an_unknown_task_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFoundError):
        await backend.tasks.reprioritize("01HZZZZZZZZZZZZZZZZZZZZZZZ", Priority.HIGH)


async def test_counts_are_what_they_were(backend: Backend) -> None:
    news = [a_task(), a_task(delay_ms=500)]
    await backend.tasks.submit(news)
    before = await backend.tasks.counts()
    for new in news:
        await backend.tasks.reprioritize(new.id, Priority.CRITICAL)
    assert await backend.tasks.counts() == before
