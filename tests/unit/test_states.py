"""Properties of the task state machine, over random tasks and events."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.errors import FencedError, InvalidTransitionError
from meshd.tasks.model import MAX_CLAIMS, FailureKind, NewTask, Priority, Task, TaskPolicy, TaskState
from meshd.tasks.routing import OFFSETS_MS
from meshd.tasks.states import (
    Cancel,
    Claim,
    Complete,
    Expire,
    Fail,
    HolderEvent,
    Progress,
    Promote,
    Reclaim,
    Redrive,
    Release,
    Renew,
    Start,
    Stop,
    TaskEvent,
    apply,
    create,
    is_overdue,
)

NOW = 1_700_000_000_000
TERMINAL = [state for state in TaskState if state.is_terminal]
COUNT = st.integers(0, MAX_CLAIMS)
TOKENS = st.integers(1, 6)
TIMES = st.integers(NOW, NOW + 100_000)

tasks = st.builds(
    Task,
    id=st.just("T1"),
    type=st.just("work"),
    route=st.just("work"),
    priority=st.sampled_from(Priority),
    state=st.sampled_from(TaskState),
    payload=st.binary(max_size=4),
    policy=st.builds(TaskPolicy, max_attempts=st.integers(1, 4), max_crashes=st.integers(1, 4)),
    created_ms=st.just(NOW),
    vt=TIMES,
    due_ms=TIMES,
    deadline_ms=st.none() | TIMES,
    token=TOKENS,
    node_id=st.sampled_from([None, "n1"]),
    claims=COUNT,
    starts=COUNT,
    failures=st.integers(0, 4),
    crashes=st.integers(0, 4),
    cancel_requested=st.booleans(),
)

events: dict[type[TaskEvent], st.SearchStrategy[TaskEvent]] = {
    Claim: st.builds(Claim, node_id=st.just("n2"), incarnation=st.just(1), token=TOKENS, lease_until_ms=TIMES),
    Start: st.builds(Start, token=TOKENS, now_ms=TIMES),
    Renew: st.builds(Renew, token=TOKENS, lease_until_ms=TIMES),
    Progress: st.builds(Progress, token=TOKENS, fraction=st.none() | st.floats(0, 1), note=st.text(max_size=3)),
    Complete: st.builds(Complete, token=TOKENS, result=st.binary(max_size=4), now_ms=TIMES),
    Fail: st.builds(
        Fail,
        token=TOKENS,
        kind=st.sampled_from(FailureKind),
        message=st.text(max_size=3),
        detail=st.just(""),
        retry_in_ms=st.none() | st.integers(0, 1_000),
        now_ms=TIMES,
    ),
    Release: st.builds(Release, token=TOKENS, now_ms=TIMES),
    Stop: st.builds(Stop, token=TOKENS, now_ms=TIMES),
    Promote: st.builds(Promote, now_ms=TIMES),
    Reclaim: st.builds(Reclaim, now_ms=TIMES),
    Cancel: st.builds(Cancel, reason=st.just("no"), now_ms=TIMES),
    Expire: st.builds(Expire, now_ms=TIMES),
    Redrive: st.builds(Redrive, now_ms=TIMES),
}
any_event = st.one_of(*events.values())
holder_event = st.one_of(*(events[kind] for kind in get_args(HolderEvent)))


def after(task: Task, event: TaskEvent) -> Task | None:
    """Return the task after the event, `None` when it is refused."""
    try:
        return apply(task, event)
    except (FencedError, InvalidTransitionError):
        return None


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("kind", events)
@settings(max_examples=15)
@given(data=st.data())
def test_every_event_in_every_state_is_applied_or_refused(
    data: st.DataObject, state: TaskState, kind: type[TaskEvent]
) -> None:
    task = replace(data.draw(tasks), state=state)
    result = after(task, data.draw(events[kind]))
    assert result is None or isinstance(result, Task)


def test_the_strategies_know_every_event() -> None:
    assert set(events) == {*get_args(HolderEvent), Claim, Promote, Reclaim, Cancel, Expire, Redrive}


@given(task=tasks, state=st.sampled_from(TERMINAL), event=any_event)
def test_an_ended_task_is_changed_by_nothing_but_a_redrive(task: Task, state: TaskState, event: TaskEvent) -> None:
    ended = replace(task, state=state)
    result = after(ended, event)
    assert result in (None, ended) or isinstance(event, Redrive)


@given(task=tasks, event=any_event)
def test_a_token_never_falls(task: Task, event: TaskEvent) -> None:
    result = after(task, event)
    assert result is None or result.token >= task.token


@given(task=tasks, event=holder_event)
def test_a_step_under_another_token_is_always_fenced(task: Task, event: HolderEvent) -> None:
    if event.token != task.token:
        with pytest.raises(FencedError):
            apply(task, event)


@given(task=tasks, event=st.one_of(events[Claim], events[Reclaim], events[Redrive]))
def test_a_change_of_hands_raises_the_token(task: Task, event: TaskEvent) -> None:
    result = after(task, event)
    assert result is None or result.token > task.token


@given(task=tasks, event=holder_event)
def test_a_holders_step_repeated_changes_nothing(task: Task, event: HolderEvent) -> None:
    once = after(task, event)
    if once is not None:
        twice = after(once, event)
        assert twice in (None, once)


@given(task=tasks, event=st.one_of(events[Start], events[Complete], events[Fail], events[Release], events[Stop]))
def test_a_repeat_after_a_lost_answer_is_recognised(task: Task, event: HolderEvent) -> None:
    once = after(replace(task, cancel_requested=False), event)
    if once is not None:
        assert apply(once, event) is once


@given(task=tasks, event=any_event)
def test_payload_identity_and_age_never_change_except_the_age_by_a_redrive(task: Task, event: TaskEvent) -> None:
    result = after(task, event)
    if result is not None:
        assert (result.id, result.payload, result.route, result.policy) == (
            task.id,
            task.payload,
            task.route,
            task.policy,
        )
        assert result.vt == task.vt or isinstance(event, Redrive)


@given(task=tasks, event=any_event)
def test_errors_are_only_ever_added(task: Task, event: TaskEvent) -> None:
    result = after(task, event)
    if result is not None:
        assert result.errors[: len(task.errors)] == task.errors


@given(task=tasks, event=any_event)
def test_a_result_appears_only_with_a_completion(task: Task, event: TaskEvent) -> None:
    result = after(replace(task, result=None), event)
    assert result is None or result.result is None or result.state is TaskState.COMPLETED


@given(task=tasks, lease_until_ms=TIMES)
def test_renewing_never_shortens_a_lease(task: Task, lease_until_ms: int) -> None:
    result = after(task, Renew(token=task.token, lease_until_ms=lease_until_ms))
    assert result is None or result.lease_until_ms >= task.lease_until_ms


@given(task=tasks, now_ms=TIMES)
def test_a_crash_is_charged_only_when_the_task_was_started(task: Task, now_ms: int) -> None:
    result = after(task, Reclaim(now_ms=now_ms))
    if result is not None:
        assert result.crashes - task.crashes == (task.state is TaskState.RUNNING)


@given(task=tasks, event=events[Fail])
def test_a_task_asked_to_stop_never_waits_for_another_attempt(task: Task, event: Fail) -> None:
    asked = replace(task, state=TaskState.RUNNING, cancel_requested=True, token=event.token)
    assert apply(asked, event).state is TaskState.CANCELLED


@given(delay_ms=st.integers(0, 1_000), priority=st.sampled_from(Priority), lifetime=st.none() | st.integers(1, 1_000))
def test_a_new_task_is_ready_or_scheduled_in_its_place(delay_ms: int, priority: Priority, lifetime: int | None) -> None:
    new = NewTask(
        id="T1", type="t", payload=b"", route="t", delay_ms=delay_ms, priority=priority, expires_in_ms=lifetime
    )
    task = create(new, now_ms=NOW)
    assert task.state is (TaskState.SCHEDULED if delay_ms else TaskState.READY)
    assert (task.due_ms, task.vt) == (NOW + delay_ms, NOW + delay_ms + OFFSETS_MS[priority])
    assert task.deadline_ms == (None if lifetime is None else NOW + lifetime)


@given(task=tasks, now_ms=TIMES)
def test_only_an_overdue_task_expires(task: Task, now_ms: int) -> None:
    result = after(task, Expire(now_ms=now_ms))
    assert result is None or is_overdue(task, now_ms)
