"""What a holder may do with its task, and when its hold counts no more."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.tasks.model import (
    Completed,
    Ending,
    Failed,
    FailureKind,
    Hold,
    Outcome,
    Released,
    Stopped,
    Task,
    TaskPolicy,
    TaskState,
)
from tests.support.builders import (
    LEASE_MS,
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

GONE = Hold(task_id="01HZZZZZZZZZZZZZZZZZZZZZZZ", token=1)


async def finish_one(backend: Backend, ending: Ending) -> Outcome:
    (outcome,) = await backend.tasks.finish([ending])
    return outcome


async def renew_one(backend: Backend, task: Task, *, lease_ms: int = LEASE_MS) -> Outcome:
    (outcome,) = await backend.tasks.renew([hold_of(task)], lease_ms=lease_ms)
    return outcome


async def taken_over(backend: Backend) -> tuple[Task, Task]:
    """Return a task as its first holder started it, and as the second claimed it."""
    await submit_one(backend, a_task())
    first = await start_one(backend, a_claimer("n1"))
    assert await backend.tasks.reclaim("n1", up_to_incarnation=1) == 1
    return first, await claim_one(backend, a_claimer("n2"), alone=True)


def endings_of(task: Task) -> list[Ending]:
    hold = hold_of(task)
    return [completed(task), failed(task), Released(hold=hold), Stopped(hold=hold)]


async def test_start_marks_a_claimed_task_running_and_charges_the_start(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    running = await get_one(backend, task.id)
    assert (running.state, running.starts, running.started_ms) == (TaskState.RUNNING, 1, clock())


async def test_a_repeated_start_is_ok_and_charged_once(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.OK]
    assert (await get_one(backend, task.id)).starts == 1


async def test_a_task_past_its_deadline_is_not_started(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task(expires_in_ms=1_000))
    task = await claim_one(backend)
    clock.advance(ms=1_001)
    assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.EXPIRED]
    ended = await get_one(backend, task.id)
    assert (ended.state, ended.starts) == (TaskState.EXPIRED, 0)


async def test_completing_records_the_result_and_the_end(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    clock.advance(ms=70)
    assert await finish_one(backend, completed(task, b'{"words":3}')) is Outcome.OK
    ended = await get_one(backend, task.id)
    assert (ended.state, ended.result, ended.finished_ms) == (TaskState.COMPLETED, b'{"words":3}', clock())
    assert (ended.node_id, ended.lease_until_ms) == ("n1", 0)


async def test_a_repeated_completion_is_recognised_and_the_first_result_stays(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    assert await finish_one(backend, completed(task, b"1")) is Outcome.OK
    assert await finish_one(backend, completed(task, b"2")) is Outcome.ALREADY_DONE
    assert (await get_one(backend, task.id)).result == b"1"


async def test_a_completion_repeated_within_one_batch_is_recognised(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    outcomes = await backend.tasks.finish([completed(task), completed(task)])
    assert list(outcomes) == [Outcome.OK, Outcome.ALREADY_DONE]


@pytest.mark.parametrize("retry_in_ms", [0, 1_000, None])
async def test_a_repeated_failure_is_recognised_and_charged_once(backend: Backend, retry_in_ms: int | None) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    assert await finish_one(backend, failed(task, retry_in_ms=retry_in_ms)) is Outcome.OK
    assert await finish_one(backend, failed(task, retry_in_ms=retry_in_ms)) is Outcome.ALREADY_DONE
    after = await get_one(backend, task.id)
    assert (after.failures, len(after.errors)) == (1, 1)


async def test_a_repeated_release_is_recognised(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    assert await finish_one(backend, Released(hold=hold_of(task))) is Outcome.OK
    assert await finish_one(backend, Released(hold=hold_of(task))) is Outcome.ALREADY_DONE
    assert len(await claim_all(backend)) == 1


async def test_a_completion_that_overtakes_its_start_charges_it_and_counts(
    backend: Backend, clock: ManualClock
) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    clock.advance(ms=5)
    assert await finish_one(backend, completed(task, b"1")) is Outcome.OK
    ended = await get_one(backend, task.id)
    assert (ended.state, ended.result, ended.starts, ended.started_ms) == (TaskState.COMPLETED, b"1", 1, clock())
    assert list(await backend.tasks.start([hold_of(task)])) == [Outcome.WRONG_STATE]
    assert await finish_one(backend, completed(task, b"2")) is Outcome.ALREADY_DONE
    assert await get_one(backend, task.id) == ended


async def test_a_task_that_was_not_started_cannot_be_stopped(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    assert await finish_one(backend, Stopped(hold=hold_of(task))) is Outcome.WRONG_STATE
    assert await get_one(backend, task.id) == task


async def test_a_superseded_holder_is_fenced_from_every_step(backend: Backend) -> None:
    old, new = await taken_over(backend)
    assert list(await backend.tasks.start([hold_of(old)])) == [Outcome.FENCED]
    assert await renew_one(backend, old) is Outcome.FENCED
    assert await backend.tasks.progress(hold_of(old), fraction=0.5, note="half") is Outcome.FENCED
    assert list(await backend.tasks.finish(endings_of(old))) == [Outcome.FENCED] * 4
    assert await get_one(backend, new.id) == new


async def test_a_hold_from_the_future_is_fenced_too(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    forged = Hold(task_id=task.id, token=task.token + 1)
    assert await finish_one(backend, Completed(hold=forged, result=b"1")) is Outcome.FENCED
    assert (await get_one(backend, task.id)).state is TaskState.RUNNING


async def test_of_two_holders_only_the_present_one_completes(backend: Backend) -> None:
    old, new = await taken_over(backend)
    await backend.tasks.start([hold_of(new)])
    assert await finish_one(backend, completed(old, b'"old"')) is Outcome.FENCED
    assert await finish_one(backend, completed(new, b'"new"')) is Outcome.OK
    assert await finish_one(backend, completed(old, b'"old"')) is Outcome.FENCED
    assert (await get_one(backend, new.id)).result == b'"new"'


async def test_every_step_on_an_unknown_task_is_answered_missing(backend: Backend) -> None:
    assert list(await backend.tasks.start([GONE])) == [Outcome.MISSING]
    assert list(await backend.tasks.renew([GONE], lease_ms=LEASE_MS)) == [Outcome.MISSING]
    assert await backend.tasks.progress(GONE, fraction=None, note="") is Outcome.MISSING
    assert await finish_one(backend, Released(hold=GONE)) is Outcome.MISSING


async def test_a_batch_is_answered_item_by_item(backend: Backend) -> None:
    await backend.tasks.submit([a_task(), a_task(), a_task()])
    first, second, third = await claim_all(backend)
    await backend.tasks.start([hold_of(first), hold_of(third)])
    stale = Hold(task_id=third.id, token=third.token - 1)
    outcomes = await backend.tasks.finish(
        [completed(first), Stopped(hold=hold_of(second)), Released(hold=stale), Released(hold=GONE), failed(third)]
    )
    expected = [Outcome.OK, Outcome.WRONG_STATE, Outcome.FENCED, Outcome.MISSING, Outcome.OK]
    assert list(outcomes) == expected


async def test_renewing_extends_the_lease_from_now(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    clock.advance(ms=5_000)
    assert await renew_one(backend, task) is Outcome.OK
    assert (await get_one(backend, task.id)).lease_until_ms == clock() + LEASE_MS


async def test_renewing_never_shortens_a_lease(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    assert await renew_one(backend, task, lease_ms=100) is Outcome.OK
    assert (await get_one(backend, task.id)).lease_until_ms == task.lease_until_ms


async def test_renewing_an_ended_task_is_a_wrong_state(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await finish_one(backend, completed(task))
    assert await renew_one(backend, task) is Outcome.WRONG_STATE


async def test_renewing_tells_the_holder_of_a_requested_cancel(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await backend.tasks.cancel(task.id, reason="changed my mind")
    clock.advance(ms=1_000)
    assert await renew_one(backend, task) is Outcome.CANCEL_REQUESTED
    assert (await get_one(backend, task.id)).lease_until_ms == clock() + LEASE_MS


async def test_progress_is_kept_with_its_note(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    assert await backend.tasks.progress(hold_of(task), fraction=0.25, note="1 of 4 – ¼") is Outcome.OK
    after = await get_one(backend, task.id)
    assert (after.progress, after.note) == (0.25, "1 of 4 – ¼")


async def test_progress_before_the_start_is_a_wrong_state(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    assert await backend.tasks.progress(hold_of(task), fraction=0.1, note="") is Outcome.WRONG_STATE


async def test_a_lapsed_lease_nobody_took_still_commits(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    clock.advance(ms=10 * LEASE_MS)
    assert await finish_one(backend, completed(task)) is Outcome.OK
    assert (await get_one(backend, task.id)).state is TaskState.COMPLETED


async def test_a_lapsed_lease_nobody_took_can_be_renewed(backend: Backend, clock: ManualClock) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    clock.advance(ms=10 * LEASE_MS)
    assert await renew_one(backend, task) is Outcome.OK
    assert (await get_one(backend, task.id)).lease_until_ms == clock() + LEASE_MS


async def test_a_released_task_keeps_its_place_and_is_charged_nothing(backend: Backend, clock: ManualClock) -> None:
    first = a_task()
    await submit_one(backend, first)
    clock.advance(ms=10)
    await submit_one(backend, a_task())
    task = await start_one(backend)
    clock.advance(ms=10)
    assert await finish_one(backend, Released(hold=hold_of(task))) is Outcome.OK
    back = await get_one(backend, first.id)
    assert (back.state, back.node_id, back.vt) == (TaskState.READY, None, task.vt)
    assert (back.failures, back.crashes, back.errors, back.attempt) == (0, 0, (), 1)
    assert (await claim_one(backend, a_claimer("n2"))).id == first.id


async def test_a_failure_without_delay_is_ready_at_once_in_its_old_place(backend: Backend, clock: ManualClock) -> None:
    first = a_task()
    await submit_one(backend, first)
    clock.advance(ms=10)
    await submit_one(backend, a_task())
    await finish_one(backend, failed(await start_one(backend), retry_in_ms=0))
    again = await claim_one(backend, a_claimer("n2"))
    assert (again.id, again.failures, again.attempt) == (first.id, 1, 2)


async def test_a_failure_with_delay_waits_its_time_and_keeps_its_age(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    await submit_one(backend, a_task())
    task = await start_one(backend)
    await finish_one(backend, failed(task, retry_in_ms=400))
    waiting = await get_one(backend, task.id)
    assert (waiting.state, waiting.due_ms, waiting.node_id) == (TaskState.SCHEDULED, clock() + 400, None)
    clock.advance(ms=399)
    await backend.tasks.sweep()
    assert await claim_all(backend) == []
    clock.advance(ms=2)
    await backend.tasks.sweep()
    assert (await claim_one(backend)).vt == task.vt


async def test_a_task_may_fail_before_it_is_started(backend: Backend) -> None:
    await submit_one(backend, a_task())
    task = await claim_one(backend)
    ending = failed(task, kind=FailureKind.REJECTED, retry_in_ms=None, message="payload does not fit")
    assert await finish_one(backend, ending) is Outcome.OK
    dead = await get_one(backend, task.id)
    assert (dead.state, dead.reason, dead.starts) == (TaskState.DEAD, FailureKind.REJECTED, 0)


async def test_a_refused_task_is_dead_however_many_attempts_are_left(backend: Backend) -> None:
    await submit_one(backend, a_task(policy=TaskPolicy(max_attempts=10)))
    task = await start_one(backend)
    await finish_one(backend, failed(task, kind=FailureKind.REJECTED, retry_in_ms=None))
    assert (await get_one(backend, task.id)).state is TaskState.DEAD
    assert await claim_all(backend) == []


async def test_after_its_last_attempt_a_task_is_dead_with_every_error_and_its_payload(
    backend: Backend, clock: ManualClock
) -> None:
    new = a_task(payload=b'{"keep":"me"}', context=b'{"trace":1}')
    await submit_one(backend, new)
    for attempt in range(1, 4):
        clock.advance(ms=5)
        task = await start_one(backend, a_claimer(f"n{attempt}"))
        await finish_one(backend, failed(task, message=f"boom {attempt}"))
    dead = await get_one(backend, new.id)
    assert (dead.state, dead.payload, dead.context) == (TaskState.DEAD, new.payload, new.context)
    assert (dead.failures, dead.starts, dead.reason) == (3, 3, FailureKind.ERROR)
    told = [(error.attempt, error.node_id, error.message, error.detail) for error in dead.errors]
    assert told == [(n, f"n{n}", f"boom {n}", "traceback") for n in (1, 2, 3)]
    assert dead.finished_ms == dead.errors[-1].at_ms == clock()


@pytest.mark.parametrize("kind", [FailureKind.ERROR, FailureKind.TIMEOUT, FailureKind.REJECTED])
async def test_the_kind_of_a_failure_is_kept(backend: Backend, kind: FailureKind) -> None:
    await submit_one(backend, a_task())
    task = await start_one(backend)
    ending = Failed(hold=hold_of(task), kind=kind, message="why – ünïcode\n", retry_in_ms=None, detail="at line 3")
    await finish_one(backend, ending)
    (error,) = (await get_one(backend, task.id)).errors
    assert (error.kind, error.message, error.detail) == (kind, "why – ünïcode\n", "at line 3")


async def test_ending_an_expired_task_is_answered_expired(backend: Backend, clock: ManualClock) -> None:
    await backend.tasks.sweep()
    await submit_one(backend, a_task(expires_in_ms=600))
    task = await start_one(backend)
    clock.advance(ms=601)
    await backend.tasks.sweep()
    assert await finish_one(backend, completed(task)) is Outcome.EXPIRED
    ended = await get_one(backend, task.id)
    assert (ended.state, ended.result) == (TaskState.EXPIRED, None)
