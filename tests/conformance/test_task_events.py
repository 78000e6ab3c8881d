"""The event log of tasks: one entry per transition, in order."""

from typing import Any

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import NotFoundError
from meshd.events import START
from meshd.tasks.model import Priority, Released, Stopped, TaskPolicy
from meshd.tasks.store import TASKS_LOG
from tests.support.builders import (
    LEASE_MS,
    a_claimer,
    a_suspect,
    a_task,
    claim_all,
    claim_one,
    completed,
    failed,
    get_one,
    hold_of,
    meant_for,
    start_one,
    submit_one,
)


async def log_of(backend: Backend, task_id: str) -> list[tuple[str, str]]:
    """Return verb and new state of every entry about a task."""
    return [(body["event"], body["state"]) for body in await bodies(backend) if body["task"] == task_id]


async def bodies(backend: Backend) -> list[dict[str, Any]]:
    return [dict(event.body) for event in await backend.events.read(TASKS_LOG, limit=1_000)]


async def test_a_completed_task_left_one_entry_per_step(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    task = await start_one(backend)
    await backend.tasks.renew([hold_of(task)], lease_ms=LEASE_MS)
    await backend.tasks.progress(hold_of(task), fraction=0.5, note="")
    await backend.tasks.finish([completed(task)])
    assert await log_of(backend, new.id) == [
        ("submitted", "ready"),
        ("claimed", "claimed"),
        ("started", "running"),
        ("completed", "completed"),
    ]


async def test_a_completion_that_overtakes_its_start_is_one_entry(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    await backend.tasks.finish([completed(await claim_one(backend))])
    assert await log_of(backend, new.id) == [
        ("submitted", "ready"),
        ("claimed", "claimed"),
        ("completed", "completed"),
    ]


async def test_entries_carry_the_token_of_the_step(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    task = await start_one(backend)
    await backend.tasks.reclaim("n1", up_to_incarnation=1)
    tokens = [body["token"] for body in await bodies(backend)]
    assert tokens == [0, task.token, task.token, (await get_one(backend, new.id)).token]


async def test_repeats_and_refusals_leave_no_entry(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    await submit_one(backend, new)
    task = await start_one(backend)
    await backend.tasks.start([hold_of(task)])
    await backend.tasks.finish([completed(task)])
    before = await bodies(backend)
    await backend.tasks.finish([completed(task), failed(task)])
    await backend.tasks.start([hold_of(task)])
    await backend.tasks.reclaim("n1", up_to_incarnation=1)
    await backend.tasks.sweep()
    assert await bodies(backend) == before
    assert len(before) == 4


async def test_a_retried_task_shows_its_wait_and_its_promotion(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    new = a_task(policy=TaskPolicy(max_attempts=2))
    await submit_one(backend, new)
    await backend.tasks.finish([failed(await start_one(backend), retry_in_ms=500)])
    clock.advance(ms=600)
    await backend.tasks.sweep()
    await backend.tasks.finish([failed(await start_one(backend))])
    await backend.tasks.redrive(new.id)
    assert await log_of(backend, new.id) == [
        ("submitted", "ready"),
        ("claimed", "claimed"),
        ("started", "running"),
        ("failed", "scheduled"),
        ("promoted", "ready"),
        ("claimed", "claimed"),
        ("started", "running"),
        ("failed", "dead"),
        ("redriven", "ready"),
    ]


async def test_giving_back_and_taking_back_are_told_apart(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    await backend.tasks.finish([Released(hold=hold_of(await claim_one(backend)))])
    await claim_one(backend)
    await backend.tasks.reclaim("n1", up_to_incarnation=1)
    assert (await log_of(backend, new.id))[2::2] == [("released", "ready"), ("reclaimed", "ready")]


async def test_a_request_to_stop_and_the_stop_are_two_entries(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    task = await start_one(backend)
    await backend.tasks.cancel(new.id, reason="no")
    await backend.tasks.cancel(new.id, reason="no")
    await backend.tasks.finish([Stopped(hold=hold_of(task))])
    assert (await log_of(backend, new.id))[3:] == [("cancel_requested", "running"), ("stopped", "cancelled")]


async def test_cancelling_and_expiring_are_told_apart(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    cancelled, expired = a_task(delay_ms=90_000), a_task(expires_in_ms=600)
    await backend.tasks.submit([cancelled, expired])
    await backend.tasks.cancel(cancelled.id, reason="no")
    clock.advance(ms=601)
    await backend.tasks.sweep()
    assert await log_of(backend, cancelled.id) == [("submitted", "scheduled"), ("cancelled", "cancelled")]
    assert await log_of(backend, expired.id) == [("submitted", "ready"), ("expired", "expired")]


async def test_an_overdue_task_met_by_a_claim_is_logged_as_expired(backend: Backend, clock: ManualClock) -> None:
    new = a_task(expires_in_ms=600)
    await submit_one(backend, new)
    clock.advance(ms=601)
    assert await claim_all(backend) == []
    assert (await log_of(backend, new.id))[-1] == ("expired", "expired")


async def test_opening_is_logged_however_it_came_about(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    in_time, by_death = a_task(placement=meant_for("n9", hold_back_ms=500)), a_task(placement=meant_for("n8"))
    await backend.tasks.submit([in_time, by_death])
    clock.advance(ms=501)
    await backend.tasks.sweep()
    for _ in range(2):
        await backend.tasks.reclaim("n8", up_to_incarnation=1)
        await backend.tasks.reclaim("n9", up_to_incarnation=1)
    for new in (in_time, by_death):
        assert await log_of(backend, new.id) == [("submitted", "ready"), ("opened", "ready")]


async def test_a_new_priority_is_logged_once_in_any_state(backend: Backend) -> None:
    ready, delayed = a_task(), a_task(delay_ms=500)
    await backend.tasks.submit([ready, delayed])
    for new in (ready, delayed):
        for _ in range(2):
            await backend.tasks.reprioritize(new.id, Priority.HIGH)
    await start_one(backend)
    await backend.tasks.reprioritize(ready.id, Priority.LOW)
    assert (await log_of(backend, delayed.id))[1:] == [("reprioritized", "scheduled")]
    assert (await log_of(backend, ready.id))[1::3] == [("reprioritized", "ready"), ("reprioritized", "running")]


async def test_a_purge_is_logged_with_the_end_it_forgets(backend: Backend) -> None:
    done, waiting = a_task(priority=Priority.HIGH), a_task()
    await backend.tasks.submit([done, waiting])
    task = await start_one(backend)
    await backend.tasks.finish([completed(task)])
    for _ in range(2):
        await backend.tasks.purge([done.id, waiting.id, "01HZZZZZZZZZZZZZZZZZZZZZZZ"])
    assert (await log_of(backend, done.id))[-2:] == [("completed", "completed"), ("purged", "completed")]
    assert [body["token"] for body in await bodies(backend) if body["event"] == "purged"] == [task.token]
    assert await log_of(backend, waiting.id) == [("submitted", "ready")]


async def test_a_reconciled_hold_is_logged_as_released(backend: Backend) -> None:
    new = a_task()
    await submit_one(backend, new)
    task = await claim_one(backend)
    for _ in range(2):
        await backend.tasks.reconcile(a_claimer(), known=[])
    assert (await log_of(backend, new.id))[1:] == [("claimed", "claimed"), ("released", "ready")]
    assert (await bodies(backend))[-1]["token"] == task.token


async def test_a_suspect_is_logged_like_any_other_task(backend: Backend) -> None:
    suspect = await a_suspect(backend)
    await backend.tasks.finish([completed(await start_one(backend, alone=True))])
    assert (await log_of(backend, suspect.id))[3:] == [
        ("reclaimed", "ready"),
        ("claimed", "claimed"),
        ("started", "running"),
        ("completed", "completed"),
    ]


async def test_pauses_and_refusals_leave_no_entry(backend: Backend) -> None:
    await submit_one(backend, a_task())
    before = await bodies(backend)
    await backend.tasks.pause("work")
    await claim_all(backend)
    await backend.tasks.resume("work")
    with pytest.raises(NotFoundError):
        await backend.tasks.reprioritize("01HZZZZZZZZZZZZZZZZZZZZZZZ", Priority.HIGH)
    assert await bodies(backend) == before


async def test_a_reader_resumes_from_its_cursor(backend: Backend) -> None:
    news = [a_task() for _ in range(7)]
    await backend.tasks.submit(news)
    cursor, seen = START, list[str]()
    while batch := await backend.events.read(TASKS_LOG, after=cursor, limit=3):
        assert len(batch) <= 3
        seen.extend(event.body["task"] for event in batch)
        cursor = batch[-1].cursor
    assert seen == [new.id for new in news]
    assert await backend.events.latest(TASKS_LOG) == cursor


async def test_entries_bear_the_stores_time(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    (event,) = await backend.events.read(TASKS_LOG)
    assert event.at_ms == clock()


async def test_a_batch_of_completions_leaves_one_entry_each(backend: Backend) -> None:
    await backend.tasks.submit([a_task() for _ in range(30)])
    tasks = await claim_all(backend)
    await backend.tasks.start([hold_of(task) for task in tasks])
    await backend.tasks.finish([completed(task) for task in tasks])
    verbs = [body["event"] for body in await bodies(backend)]
    assert {verb: verbs.count(verb) for verb in set(verbs)} == dict.fromkeys(
        ["submitted", "claimed", "started", "completed"], 30
    )
