"""Properties of the task state machine, over random tasks and events."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshd.errors import FencedError, InvalidTransitionError
from meshd.tasks.model import FailureKind, NewTask, Placement, Priority, Task, TaskPolicy, TaskState
from meshd.tasks.routing import OFFSETS_MS
from meshd.tasks.states import (
    FORGOTTEN,
    GONE,
    LAPSED,
    MAX_CLAIMS,
    Await,
    Cancel,
    Claim,
    Complete,
    Expire,
    Fail,
    HolderEvent,
    Open,
    ParentEnded,
    Progress,
    Promote,
    Reclaim,
    Redrive,
    Release,
    Renew,
    Reprioritize,
    Start,
    Stop,
    TaskEvent,
    apply,
    create,
    is_overdue,
    parents_to_wait_for,
)

NOW = 1_700_000_000_000
TERMINAL = [state for state in TaskState if state.is_terminal]
COUNT = st.integers(0, MAX_CLAIMS)
TOKENS = st.integers(1, 6)
TIMES = st.integers(NOW, NOW + 100_000)
PARENTS = st.sampled_from(["P1", "P2", "P3"])

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
    placed_on=st.sampled_from([None, "n1", "n2"]),
    pinned=st.booleans(),
    incarnation=st.integers(1, 3),
    started_ms=st.none() | TIMES,
    claims=COUNT,
    starts=COUNT,
    failures=st.integers(0, 4),
    crashes=st.integers(0, 4),
    cancel_requested=st.booleans(),
    waits_for=st.lists(PARENTS, unique=True).map(tuple),
    runs_anyway=st.booleans(),
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
    Open: st.builds(Open),
    Reprioritize: st.builds(Reprioritize, priority=st.sampled_from(Priority)),
    Reclaim: st.builds(Reclaim, now_ms=TIMES, why=st.sampled_from([LAPSED, GONE])),
    Cancel: st.builds(Cancel, reason=st.just("no"), now_ms=TIMES),
    Expire: st.builds(Expire, now_ms=TIMES),
    Redrive: st.builds(Redrive, now_ms=TIMES),
    Await: st.builds(Await),
    ParentEnded: st.builds(ParentEnded, parent=PARENTS, how=st.sampled_from([*TERMINAL, FORGOTTEN]), now_ms=TIMES),
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
    others = {Claim, Promote, Open, Reprioritize, Reclaim, Cancel, Expire, Redrive, Await, ParentEnded}
    assert set(events) == {*get_args(HolderEvent), *others}


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
        if not isinstance(event, Redrive):
            assert result.vt - OFFSETS_MS[result.priority] == task.vt - OFFSETS_MS[task.priority]
        assert result.priority is task.priority or isinstance(event, Reprioritize)


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


@given(task=tasks, now_ms=TIMES, why=st.sampled_from([LAPSED, GONE]))
def test_a_crash_says_why_and_what_is_known_of_the_holder(task: Task, now_ms: int, why: str) -> None:
    crashed = apply(replace(task, state=TaskState.RUNNING), Reclaim(now_ms=now_ms, why=why))
    error = crashed.errors[-1]
    assert (error.kind, error.message, error.at_ms) == (FailureKind.CRASHED, why, now_ms)
    assert (error.attempt, error.node_id) == (task.attempt, task.node_id or "")
    for fact in (task.incarnation, task.started_ms, task.claims):
        assert str(fact) in error.detail


@given(task=tasks, now_ms=TIMES)
def test_a_task_taken_back_unstarted_keeps_its_errors_as_they_were(task: Task, now_ms: int) -> None:
    taken = apply(replace(task, state=TaskState.CLAIMED), Reclaim(now_ms=now_ms, why=GONE))
    assert taken.errors == task.errors


@given(task=tasks, now_ms=TIMES)
def test_a_lost_task_is_dead_exactly_when_a_limit_is_reached(task: Task, now_ms: int) -> None:
    running = replace(task, state=TaskState.RUNNING, cancel_requested=False)
    is_over = task.crashes + 1 >= task.policy.max_crashes or task.claims >= MAX_CLAIMS
    assert (apply(running, Reclaim(now_ms=now_ms)).state is TaskState.DEAD) == is_over


@given(task=tasks, event=any_event)
def test_a_pin_never_changes(task: Task, event: TaskEvent) -> None:
    pinned = replace(task, pinned=True)
    result = after(pinned, event)
    assert result is None or (result.placed_on, result.pinned) == (task.placed_on, True)


@given(task=tasks, event=any_event)
def test_a_placement_is_only_ever_cleared(task: Task, event: TaskEvent) -> None:
    result = after(task, event)
    assert result is None or result.placed_on in (task.placed_on, None)


@given(task=tasks, event=any_event)
def test_a_soft_placement_ends_with_the_first_hold_and_not_before(task: Task, event: TaskEvent) -> None:
    soft = replace(task, pinned=False, placed_on="n2")
    result = after(soft, event)
    if result is None or isinstance(event, Open | Redrive):
        return
    given_back = soft.state.is_held and result.state in (TaskState.READY, TaskState.SCHEDULED)
    assert result.placed_on == (None if given_back else "n2")


@given(task=tasks, event=events[Claim])
def test_a_placed_task_is_claimed_by_its_node_alone(task: Task, event: Claim) -> None:
    ready = replace(task, state=TaskState.READY, token=0)
    assert (after(ready, event) is not None) == (task.placed_on in (None, event.node_id))


@pytest.mark.parametrize("state", TaskState)
@settings(max_examples=30)
@given(task=tasks)
def test_only_what_waits_for_a_node_without_a_pin_is_opened(task: Task, state: TaskState) -> None:
    placed = replace(task, state=state)
    waits = (
        state in (TaskState.READY, TaskState.SCHEDULED, TaskState.BLOCKED)
        and task.placed_on is not None
        and not task.pinned
    )
    result = after(placed, Open())
    assert result == (replace(placed, placed_on=None) if waits else None)


@given(task=tasks, redrive=events[Redrive])
def test_a_redrive_frees_a_task_from_its_node_unless_it_is_pinned(task: Task, redrive: Redrive) -> None:
    again = apply(replace(task, state=TaskState.DEAD), redrive)
    assert again.placed_on == (task.placed_on if task.pinned else None)
    assert not again.is_suspect


@pytest.mark.parametrize("state", TaskState)
@settings(max_examples=30)
@given(task=tasks, priority=st.sampled_from(Priority))
def test_any_task_that_has_not_ended_takes_another_priority(task: Task, state: TaskState, priority: Priority) -> None:
    before = replace(task, state=state)
    result = after(before, Reprioritize(priority=priority))
    if state.is_terminal:
        assert result is None
    else:
        vt = task.vt - OFFSETS_MS[task.priority] + OFFSETS_MS[priority]
        assert result == replace(before, priority=priority, vt=vt)


@given(task=tasks, first=events[Reprioritize], second=events[Reprioritize])
def test_of_several_priorities_the_last_one_counts(task: Task, first: TaskEvent, second: TaskEvent) -> None:
    ready = replace(task, state=TaskState.READY)
    assert apply(apply(ready, first), second) == apply(ready, second)
    once = apply(ready, second)
    assert apply(once, second) is once


@given(task=tasks, event=events[Complete])
def test_a_completion_that_overtakes_its_start_charges_it(task: Task, event: Complete) -> None:
    claimed = replace(task, state=TaskState.CLAIMED, token=event.token)
    ended = apply(claimed, event)
    assert (ended.state, ended.starts, ended.started_ms) == (TaskState.COMPLETED, task.starts + 1, event.now_ms)
    start = Start(token=event.token, now_ms=event.now_ms)
    assert ended == apply(apply(claimed, start), event)


@given(task=tasks, event=any_event)
def test_a_task_becomes_a_suspect_only_by_a_crash(task: Task, event: TaskEvent) -> None:
    result = after(replace(task, crashes=0), event)
    crashed = isinstance(event, Reclaim) and task.state is TaskState.RUNNING
    assert result is None or result.is_suspect == crashed


@given(delay_ms=st.integers(0, 1_000), priority=st.sampled_from(Priority), lifetime=st.none() | st.integers(1, 1_000))
def test_a_new_task_is_ready_or_scheduled_in_its_place(delay_ms: int, priority: Priority, lifetime: int | None) -> None:
    new = NewTask(
        id="T1", type="t", payload=b"", route="t", delay_ms=delay_ms, priority=priority, expires_in_ms=lifetime
    )
    task = create(new, now_ms=NOW)
    assert task.state is (TaskState.SCHEDULED if delay_ms else TaskState.READY)
    assert (task.due_ms, task.vt) == (NOW + delay_ms, NOW + delay_ms + OFFSETS_MS[priority])
    assert task.deadline_ms == (None if lifetime is None else NOW + lifetime)


@given(placement=st.none() | st.builds(Placement, node_id=st.sampled_from(["n1", "n2"]), pinned=st.booleans()))
def test_a_new_task_keeps_where_and_why_it_is_placed(placement: Placement | None) -> None:
    new = NewTask(
        id="T1",
        type="t",
        payload=b"",
        route="t",
        placement=placement,
        decision=b"why",
        preferences=("zone=eu:2",),
        preferred_types=("fast",),
    )
    task = create(new, now_ms=NOW)
    assert task.placed_on == (placement.node_id if placement else None)
    assert task.pinned is bool(placement and placement.pinned)
    assert (task.decision, task.preferences, task.preferred_types) == (b"why", ("zone=eu:2",), ("fast",))


@given(task=tasks, now_ms=TIMES)
def test_only_an_overdue_task_expires(task: Task, now_ms: int) -> None:
    result = after(task, Expire(now_ms=now_ms))
    assert result is None or is_overdue(task, now_ms)


blocked = tasks.filter(lambda task: len(task.waits_for) > 0).map(lambda task: replace(task, state=TaskState.BLOCKED))
parent_ended = events[ParentEnded]


@given(task=blocked, event=parent_ended)
def test_news_of_a_parent_changes_a_task_once(task: Task, event: ParentEnded) -> None:
    result = apply(task, event)
    assert (result is task) == (event.parent not in task.waits_for)
    assert apply(result, event) is result


@given(task=blocked, news=st.permutations(["P1", "P2", "P3"]))
def test_the_order_in_which_parents_complete_makes_no_difference(task: Task, news: list[str]) -> None:
    for parent in news:
        assert task.state is TaskState.BLOCKED or parent not in task.waits_for
        task = apply(task, ParentEnded(parent=parent, how=TaskState.COMPLETED, now_ms=NOW + 50_000))
    assert task.waits_for == ()
    assert task.state is (TaskState.SCHEDULED if task.due_ms > NOW + 50_000 else TaskState.READY)


@given(task=blocked, event=parent_ended)
def test_only_a_parent_that_did_not_complete_cancels_and_never_what_runs_anyway(task: Task, event: ParentEnded) -> None:
    result = apply(task, event)
    cancels = event.parent in task.waits_for and event.how != TaskState.COMPLETED and not task.runs_anyway
    assert (result.state is TaskState.CANCELLED) == cancels
    if cancels:
        assert event.parent in result.reason
        assert event.how in result.reason


@given(state=st.sampled_from(TaskState), runs_anyway=st.booleans())
def test_a_new_task_waits_for_what_has_not_ended_as_it_needs(state: TaskState, runs_anyway: bool) -> None:
    new = NewTask(id="T1", type="t", payload=b"", route="t", depends_on=("P1", "P2"), runs_anyway=runs_anyway)
    waits = parents_to_wait_for(new, {"P1": TaskState.COMPLETED, "P2": state})
    is_over = state is TaskState.COMPLETED or (runs_anyway and state.is_terminal)
    assert waits == (() if is_over else ("P2",))
    assert create(new, now_ms=NOW, waits_for=waits).state is (TaskState.READY if is_over else TaskState.BLOCKED)
