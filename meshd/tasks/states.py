"""The task state machine: `apply(task, event)` is the only description of what a task may become. Pure.

                  ┌────────────── retry ───────────────┐
    scheduled ──> ready ──> claimed ──> running ──> completed
      ↑ │           │  <─ release, reclaim ─┘ │
    blocked ──> ready          │              ├──> dead ──(redrive)──> ready
        └───────────┴──────────┴──────────────┴──> cancelled, expired

A blocked task waits for the ends of others, its parents: `ParentEnded` strikes one off its list, and when the list is
empty the task is ready, or scheduled if its delay has not passed. A parent that did not complete cancels it instead,
unless it is to run anyway. News of a parent that is not on the list changes nothing, so it may come twice.

Guarantees: terminal states absorb everything but a redrive (I3); a step of a holder needs the task's current token, and
tokens only rise (I4); a repeated step with the same token is recognised and changes nothing. The SQLite backend calls
`apply` inside its transactions; the Redis scripts repeat the same guards, and a model test keeps the two equal.
"""

from collections.abc import Mapping
from typing import Any, assert_never

from meshd.errors import FencedError, InvalidTransitionError
from meshd.tasks.model import FailureKind, NewTask, Task, TaskError, TaskState, task_of
from meshd.tasks.routing import OFFSETS_MS, virtual_time
from meshd.tasks.transitions import (
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
)

__all__ = [
    "FORGOTTEN",
    "GONE",
    "LAPSED",
    "MAX_CLAIMS",
    "Await",
    "Cancel",
    "Claim",
    "Complete",
    "Expire",
    "Fail",
    "HolderEvent",
    "Open",
    "ParentEnded",
    "Progress",
    "Promote",
    "Reclaim",
    "Redrive",
    "Release",
    "Renew",
    "Reprioritize",
    "Start",
    "Stop",
    "TaskEvent",
    "apply",
    "create",
    "is_overdue",
    "parents_to_wait_for",
]


def parents_to_wait_for(new: NewTask, parents: Mapping[str, TaskState]) -> tuple[str, ...]:
    """Return those of a new task's parents, given the state of each, that have not ended as it needs them to."""
    ended = [state for state in TaskState if state.is_terminal] if new.runs_anyway else [TaskState.COMPLETED]
    return tuple(parent for parent in new.depends_on if parents[parent] not in ended)


def create(new: NewTask, *, now_ms: int, waits_for: tuple[str, ...] = ()) -> Task:
    """Return the task a submit makes: blocked while it waits for others, else ready, or scheduled when delayed."""
    due_ms = now_ms + new.delay_ms
    undelayed = TaskState.SCHEDULED if new.delay_ms > 0 else TaskState.READY
    return Task(
        id=new.id,
        type=new.type,
        route=new.route,
        priority=new.priority,
        state=TaskState.BLOCKED if waits_for else undelayed,
        payload=new.payload,
        context=new.context,
        policy=new.policy,
        preferred_types=new.preferred_types,
        preferences=new.preferences,
        placed_on=None if new.placement is None else new.placement.node_id,
        pinned=new.placement is not None and new.placement.pinned,
        decision=new.decision,
        created_ms=now_ms,
        created_by=new.created_by,
        due_ms=due_ms,
        vt=virtual_time(due_ms, new.priority),
        deadline_ms=None if new.expires_in_ms is None else now_ms + new.expires_in_ms,
        idempotency_key=new.idempotency_key,
        watchers=(new.watcher,) if new.watcher else (),
        depends_on=new.depends_on,
        waits_for=waits_for,
        runs_anyway=new.runs_anyway,
    )


def apply(task: Task, event: TaskEvent) -> Task:
    """Return the task after `event`; the same object when the event was already applied.

    Raises:
        FencedError: the event's token is not the task's: somebody else holds or ended it since.
        InvalidTransitionError: the event is not possible from the task's state.
    """
    match event:
        case Claim():
            return _claim(task, event)
        case Promote():
            _require(task, event, TaskState.SCHEDULED)
            return _changed(task, state=TaskState.READY)
        case Open():
            return _open(task, event)
        case Reprioritize():
            return _reprioritize(task, event)
        case Reclaim():
            return _reclaim(task, event)
        case Cancel():
            return _cancel(task, event)
        case Expire(now_ms=now_ms):
            return _expire(task, event, now_ms)
        case Redrive(now_ms=now_ms):
            return _redrive(task, event, now_ms)
        case Await():
            return task if task.is_awaited or task.state.is_terminal else _changed(task, is_awaited=True)
        case ParentEnded():
            return _settle(task, event)
        case Start() | Renew() | Progress() | Complete() | Fail() | Release() | Stop():
            if event.token != task.token:
                raise FencedError(f"task {task.id}", token=event.token, current=task.token)
            return _holder_step(task, event)
        case _:
            assert_never(event)


def is_overdue(task: Task, now_ms: int) -> bool:
    """Return whether the task's deadline has passed."""
    return task.deadline_ms is not None and task.deadline_ms <= now_ms


def _changed(task: Task, **changes: Any) -> Task:
    """Return a copy with other values, as `dataclasses.replace` would."""
    return task_of(vars(task) | changes)


def _require(task: Task, event: TaskEvent, *states: TaskState) -> None:
    if task.state not in states:
        raise InvalidTransitionError(task.id, state=task.state, event=type(event).__name__.lower())


def _claim(task: Task, event: Claim) -> Task:
    _require(task, event, TaskState.READY)
    if task.placed_on not in (None, event.node_id):
        raise InvalidTransitionError(task.id, state=task.state, event=f"claim: it is meant for {task.placed_on}")
    if event.token <= task.token:
        raise FencedError(f"task {task.id}", token=event.token, current=task.token)
    return _changed(
        task,
        state=TaskState.CLAIMED,
        node_id=event.node_id,
        incarnation=event.incarnation,
        token=event.token,
        lease_until_ms=event.lease_until_ms,
        claims=task.claims + 1,
    )


def _holder_step(task: Task, event: HolderEvent) -> Task:
    match event:
        case Start(now_ms=now_ms):
            _require(task, event, TaskState.CLAIMED, TaskState.RUNNING)
            return _started(task, now_ms)
        case Renew(lease_until_ms=lease_until_ms):
            _require(task, event, TaskState.CLAIMED, TaskState.RUNNING)
            return _changed(task, lease_until_ms=max(task.lease_until_ms, lease_until_ms))
        case Progress(fraction=fraction, note=note):
            _require(task, event, TaskState.RUNNING)
            return _changed(task, progress=fraction, note=note)
        case Complete(result=result, now_ms=now_ms):
            if task.state is TaskState.COMPLETED:
                return task
            _require(task, event, TaskState.CLAIMED, TaskState.RUNNING)
            return _end(_changed(_started(task, now_ms), result=result), TaskState.COMPLETED, now_ms)
        case Fail():
            return task if _given_back(task) else _fail(task, event)
        case Release(now_ms=now_ms):
            if _given_back(task):
                return task
            _require(task, event, TaskState.CLAIMED, TaskState.RUNNING)
            return _give_back(task, now_ms)
        case Stop(now_ms=now_ms):
            if task.state is TaskState.CANCELLED:
                return task
            _require(task, event, TaskState.RUNNING)
            if not task.cancel_requested:
                raise InvalidTransitionError(task.id, state=task.state, event="stop without a cancel request")
            return _end(task, TaskState.CANCELLED, now_ms)
        case _:
            assert_never(event)


def _started(task: Task, now_ms: int) -> Task:
    """Running, its start charged; an end that overtakes its start charges it as well."""
    if task.state is TaskState.RUNNING:
        return task
    return _changed(task, state=TaskState.RUNNING, starts=task.starts + 1, started_ms=now_ms)


def _given_back(task: Task) -> bool:
    """Whether the holder of the current token has failed or released it already."""
    return task.state in (TaskState.READY, TaskState.SCHEDULED, TaskState.DEAD)


def _fail(task: Task, event: Fail) -> Task:
    _require(task, event, TaskState.CLAIMED, TaskState.RUNNING)
    failed = _with_error(task, event.kind, event.message, event.detail, event.now_ms)
    failed = _changed(failed, failures=task.failures + 1)
    if task.cancel_requested:
        return _end(failed, TaskState.CANCELLED, event.now_ms)
    if event.retry_in_ms is None or failed.failures >= task.policy.max_attempts:
        return _end(failed, TaskState.DEAD, event.now_ms, reason=event.kind)
    due_ms = event.now_ms + event.retry_in_ms
    if event.retry_in_ms > 0:
        return _unheld(_changed(failed, state=TaskState.SCHEDULED, due_ms=due_ms))
    return _give_back(failed, event.now_ms)


def _open(task: Task, event: Open) -> Task:
    _require(task, event, TaskState.READY, TaskState.SCHEDULED, TaskState.BLOCKED)
    if task.pinned or task.placed_on is None:
        raise InvalidTransitionError(task.id, state=task.state, event="open: no node is held back for")
    return _changed(task, placed_on=None)


def _reprioritize(task: Task, event: Reprioritize) -> Task:
    if task.state.is_terminal:
        _require(task, event)
    if task.priority is event.priority:
        return task
    vt = task.vt - OFFSETS_MS[task.priority] + OFFSETS_MS[event.priority]
    return _changed(task, priority=event.priority, vt=vt)


def _reclaim(task: Task, event: Reclaim) -> Task:
    _require(task, event, TaskState.CLAIMED, TaskState.RUNNING)
    taken = _changed(task, token=task.token + 1)
    if task.state is TaskState.RUNNING:
        evidence = f"incarnation {task.incarnation}, started at {task.started_ms}, claimed {task.claims} times"
        taken = _with_error(taken, FailureKind.CRASHED, event.why, evidence, event.now_ms)
        taken = _changed(taken, crashes=task.crashes + 1)
    if taken.crashes >= task.policy.max_crashes or taken.claims >= MAX_CLAIMS:
        return _end(taken, TaskState.DEAD, event.now_ms, reason=FailureKind.CRASHED)
    return _give_back(taken, event.now_ms)


def _cancel(task: Task, event: Cancel) -> Task:
    if task.state is TaskState.CANCELLED or (task.state is TaskState.RUNNING and task.cancel_requested):
        return task
    if task.state is TaskState.RUNNING:
        return _changed(task, cancel_requested=True, reason=event.reason)
    _require(task, event, TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.READY, TaskState.CLAIMED)
    bumped = _changed(task, token=task.token + 1)
    return _end(bumped, TaskState.CANCELLED, event.now_ms, reason=event.reason)


def _expire(task: Task, event: Expire, now_ms: int) -> Task:
    if task.state.is_terminal or not is_overdue(task, now_ms):
        raise InvalidTransitionError(task.id, state=task.state, event="expire")
    return _end(_changed(task, token=task.token + 1), TaskState.EXPIRED, now_ms, reason="deadline passed")


def _settle(task: Task, event: ParentEnded) -> Task:
    if task.state is not TaskState.BLOCKED or event.parent not in task.waits_for:
        return task
    if event.how != TaskState.COMPLETED and not task.runs_anyway:
        reason = f"task {event.parent}, which it waited for, is {event.how}"
        return _end(_changed(task, token=task.token + 1), TaskState.CANCELLED, event.now_ms, reason=reason)
    left = tuple(parent for parent in task.waits_for if parent != event.parent)
    if left:
        return _changed(task, waits_for=left)
    if task.due_ms > event.now_ms:
        return _changed(task, state=TaskState.SCHEDULED, waits_for=())
    vt = virtual_time(event.now_ms, task.priority)
    return _changed(task, state=TaskState.READY, waits_for=(), due_ms=event.now_ms, vt=vt)


def _redrive(task: Task, event: Redrive, now_ms: int) -> Task:
    _require(task, event, TaskState.DEAD, TaskState.CANCELLED, TaskState.EXPIRED)
    return _changed(
        task,
        state=TaskState.READY,
        generation=task.generation + 1,
        token=task.token + 1,
        node_id=None,
        placed_on=task.placed_on if task.pinned else None,
        claims=0,
        starts=0,
        failures=0,
        crashes=0,
        cancel_requested=False,
        reason="",
        deadline_ms=None,
        due_ms=now_ms,
        vt=virtual_time(now_ms, task.priority),
        finished_ms=None,
        progress=None,
        note="",
        waits_for=(),
        is_awaited=False,
    )


def _with_error(task: Task, kind: FailureKind, message: str, detail: str, now_ms: int) -> Task:
    error = TaskError(
        attempt=task.attempt, kind=kind, message=message, detail=detail, node_id=task.node_id or "", at_ms=now_ms
    )
    return _changed(task, errors=(*task.errors, error))


def _give_back(task: Task, now_ms: int) -> Task:
    """Ready again in its old place; ended instead when that was asked for meanwhile."""
    if task.cancel_requested:
        return _end(task, TaskState.CANCELLED, now_ms)
    return _unheld(_changed(task, state=TaskState.READY))


def _unheld(task: Task) -> Task:
    placed_on = task.placed_on if task.pinned else None
    return _changed(task, node_id=None, incarnation=0, lease_until_ms=0, progress=None, note="", placed_on=placed_on)


def _end(task: Task, state: TaskState, now_ms: int, *, reason: str | None = None) -> Task:
    return _changed(
        task,
        state=state,
        finished_ms=now_ms,
        lease_until_ms=0,
        reason=task.reason if reason is None else reason,
    )
