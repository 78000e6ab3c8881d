"""The task state machine: `apply(task, event)` is the only description of what a task may become. Pure.

                  ┌────────────── retry ───────────────┐
    scheduled ──> ready ──> claimed ──> running ──> completed
        │           │  <─ release, reclaim ─┘ │
        │           │          │              ├──> dead ──(redrive)──> ready
        └───────────┴──────────┴──────────────┴──> cancelled, expired

Guarantees: terminal states absorb everything but a redrive (I3); a step of a holder needs the task's current token, and
tokens only rise (I4); a repeated step with the same token is recognised and changes nothing. The SQLite backend calls
`apply` inside its transactions; the Redis scripts repeat the same guards, and a model test keeps the two equal.
"""

from dataclasses import dataclass
from typing import Any, assert_never

from meshd.errors import FencedError, InvalidTransitionError
from meshd.tasks.model import MAX_CLAIMS, FailureKind, NewTask, Priority, Task, TaskError, TaskState, task_of
from meshd.tasks.routing import OFFSETS_MS, virtual_time

LAPSED = "its lease lapsed while it was running"
GONE = "its node was gone while it was running"
"""What a crash error says, after why the holder lost the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    node_id: str
    incarnation: int
    token: int
    lease_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    token: int
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    token: int
    lease_until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    token: int
    fraction: float | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    token: int
    result: bytes
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail:
    token: int
    kind: FailureKind
    message: str
    detail: str
    retry_in_ms: int | None
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    token: int
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    token: int
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Promote:
    """The due time of a scheduled task has come."""

    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The hold-back of a placed task is over, or its node is gone: anybody may take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprioritize:
    """Somebody gave the task another priority: it keeps its age under the new one."""

    priority: Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class Reclaim:
    """The holder is gone."""

    now_ms: int
    why: str = LAPSED
    """`LAPSED` or `GONE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    reason: str
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire:
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrive:
    now_ms: int


HolderEvent = Start | Renew | Progress | Complete | Fail | Release | Stop
TaskEvent = Claim | HolderEvent | Promote | Open | Reprioritize | Reclaim | Cancel | Expire | Redrive


def create(new: NewTask, *, now_ms: int) -> Task:
    """Return the task a submit makes: ready, or scheduled when it is delayed."""
    due_ms = now_ms + new.delay_ms
    return Task(
        id=new.id,
        type=new.type,
        route=new.route,
        priority=new.priority,
        state=TaskState.SCHEDULED if new.delay_ms > 0 else TaskState.READY,
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
    _require(task, event, TaskState.READY, TaskState.SCHEDULED)
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
