"""Ending a task on request, and giving an ended one another chance."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import InvalidTransitionError, NotFoundError
from meshd.tasks.model import Outcome, Priority, Released, Stopped, Task, TaskState
from meshd.tasks.routing import virtual_time
from tests.support.builders import (
    a_claimer,
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


async def dead_task(backend: Backend) -> Task:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.finish([failed(task, retry_in_ms=None)])
    return await get_one(backend, task.id)


@pytest.mark.parametrize("delay_ms", [0, 5_000])
async def test_a_task_that_waits_is_cancelled_at_once(backend: Backend, clock: ManualClock, delay_ms: int) -> None:
    new = a_task(delay_ms=delay_ms)
    await submit_one(backend, new)
    task = await backend.tasks.cancel(new.id, reason="not needed")
    assert (task.state, task.reason, task.finished_ms) == (TaskState.CANCELLED, "not needed", clock())
    assert await get_one(backend, new.id) == task
    assert await claim_all(backend) == []


async def test_a_cancelled_delayed_task_is_not_promoted(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    new = a_task(delay_ms=500)
    await submit_one(backend, new)
    await backend.tasks.cancel(new.id, reason="not needed")
    clock.advance(ms=600)
    assert (await backend.tasks.sweep()).promoted == 0
    assert await claim_all(backend) == []


async def test_cancelling_a_claimed_task_fences_its_holder(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    assert (await backend.tasks.cancel(task.id, reason="no")).state is TaskState.CANCELLED
    assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.FENCED]
    assert dict(await backend.tasks.open_counts(["n1"])) == {"n1": 0}


async def test_a_running_task_is_asked_to_stop(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    asked = await backend.tasks.cancel(task.id, reason="no")
    assert (asked.state, asked.cancel_requested, asked.token) == (TaskState.RUNNING, True, task.token)


async def test_a_handler_that_stops_on_request_ends_its_task_cancelled(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.cancel(task.id, reason="no")
    stopped = Stopped(hold=hold_of(task))
    assert list(await backend.tasks.finish([stopped])) == [Outcome.OK]
    assert list(await backend.tasks.finish([stopped])) == [Outcome.ALREADY_DONE]
    ended = await get_one(backend, task.id)
    assert (ended.state, ended.reason) == (TaskState.CANCELLED, "no")


async def test_stopping_without_a_request_is_a_wrong_state(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    assert list(await backend.tasks.finish([Stopped(hold=hold_of(task))])) == [Outcome.WRONG_STATE]
    assert (await get_one(backend, task.id)).state is TaskState.RUNNING


async def test_a_handler_that_completes_after_the_request_is_completed(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.cancel(task.id, reason="no")
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.OK]
    assert (await get_one(backend, task.id)).state is TaskState.COMPLETED


@pytest.mark.parametrize("how", ["failed", "released", "reclaimed"])
async def test_a_task_asked_to_stop_does_not_run_again(backend: Backend, how: str) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.cancel(task.id, reason="no")
    if how == "reclaimed":
        await backend.tasks.reclaim("n1", up_to_incarnation=1)
    else:
        ending = failed(task) if how == "failed" else Released(hold=hold_of(task))
        await backend.tasks.finish([ending])
    assert (await get_one(backend, task.id)).state is TaskState.CANCELLED
    assert await claim_all(backend) == []


async def test_cancelling_twice_is_the_same_as_once(backend: Backend, clock: ManualClock) -> None:
    waiting, running = a_task(), a_task("other")
    await backend.tasks.submit([waiting, running])
    await start_one(backend, a_claimer(types=["other"]))
    for new in (waiting, running):
        first = await backend.tasks.cancel(new.id, reason="first")
        clock.advance(ms=5)
        assert await backend.tasks.cancel(new.id, reason="second") == first


async def test_a_completed_task_cannot_be_cancelled(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.finish([completed(task)])
    with pytest.raises(InvalidTransitionError):
        await backend.tasks.cancel(task.id, reason="too late")


async def test_a_dead_task_cannot_be_cancelled(backend: Backend) -> None:
    dead = await dead_task(backend)
    with pytest.raises(InvalidTransitionError):
        await backend.tasks.cancel(dead.id, reason="too late")
    assert await get_one(backend, dead.id) == dead


async def test_cancelling_an_unknown_task_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFoundError):
        await backend.tasks.cancel("01HZZZZZZZZZZZZZZZZZZZZZZZ", reason="no")


async def test_a_redriven_dead_task_starts_anew_and_keeps_its_errors(backend: Backend, clock: ManualClock) -> None:
    dead = await dead_task(backend)
    clock.advance(ms=9_000)
    again = await backend.tasks.redrive(dead.id)
    assert (again.state, again.generation, again.finished_ms) == (TaskState.READY, 1, None)
    assert (again.claims, again.starts, again.failures, again.crashes) == (0, 0, 0, 0)
    assert (again.errors, again.payload) == (dead.errors, dead.payload)
    assert again.vt == virtual_time(clock(), Priority.NORMAL)
    assert await get_one(backend, dead.id) == again


async def test_a_redriven_task_runs_to_its_end(backend: Backend) -> None:
    dead = await dead_task(backend)
    await backend.tasks.redrive(dead.id)
    task = await start_one(backend, a_claimer("n2"))
    assert task.token > dead.token
    assert list(await backend.tasks.finish([completed(task)])) == [Outcome.OK]
    assert (await get_one(backend, dead.id)).state is TaskState.COMPLETED


async def test_a_redriven_task_outlives_the_retention_of_its_first_end(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    dead = await dead_task(backend)
    await backend.tasks.redrive(dead.id)
    clock.advance(ms=dead.policy.dead_ttl_ms + 1)
    await backend.tasks.sweep()
    assert (await claim_one(backend)).id == dead.id


async def test_a_cancelled_task_can_be_redriven(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    await backend.tasks.cancel(new.id, reason="no")
    again = await backend.tasks.redrive(new.id)
    assert (again.state, again.reason, again.cancel_requested) == (TaskState.READY, "", False)
    assert (await claim_one(backend)).id == new.id


async def test_an_expired_task_is_redriven_without_its_deadline(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    new = a_task(expires_in_ms=600)
    await submit_one(backend, new)
    clock.advance(ms=601)
    await backend.tasks.sweep()
    assert (await backend.tasks.redrive(new.id)).deadline_ms is None
    assert (await backend.tasks.sweep()).expired == 0
    assert (await claim_one(backend)).id == new.id


@pytest.mark.parametrize("state", [TaskState.SCHEDULED, TaskState.READY, TaskState.RUNNING, TaskState.COMPLETED])
async def test_only_tasks_that_ended_without_a_result_can_be_redriven(backend: Backend, state: TaskState) -> None:
    new = a_task(delay_ms=1_000 if state is TaskState.SCHEDULED else 0)
    await submit_one(backend, new)
    if state in (TaskState.RUNNING, TaskState.COMPLETED):
        task = await start_one(backend)
        if state is TaskState.COMPLETED:
            await backend.tasks.finish([completed(task)])
    before = await get_one(backend, new.id)
    with pytest.raises(InvalidTransitionError):
        await backend.tasks.redrive(new.id)
    assert await get_one(backend, new.id) == before


async def test_redriving_an_unknown_task_is_not_found(backend: Backend) -> None:
    with pytest.raises(NotFoundError):
        await backend.tasks.redrive("01HZZZZZZZZZZZZZZZZZZZZZZZ")
