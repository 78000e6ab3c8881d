"""What can be wrong with one task's row, and which column mends it. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from meshd.backends.sqlite.lanes import lane_of
from meshd.backends.sqlite.task_rows import Row, forget_ms, open_ms, read_task
from meshd.tasks.audit import Invariant
from meshd.tasks.model import Task, TaskState

DERIVED = "t.lane, t.open_ms, t.forget_ms, t.hold_back_ms, p.seq IS NULL"
"""The columns `judge` needs after those of a task: what is made from it, and whether its payload is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """One thing that is wrong; `column` is the index column that `value` mends, empty for what is no index."""

    invariant: Invariant
    what: str
    column: str = ""
    value: str | int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """What a row says beyond the task itself."""

    lane: str | None
    open_ms: int | None
    forget_ms: int | None
    hold_back_ms: int | None
    lost_payload: bool


def read_row(row: Row) -> tuple[Task, Derived]:
    """Return the task in a row of an audit, and what is derived from it."""
    lane, open_ms, forget, hold_back_ms, lost_payload = row[-5:]
    derived = Derived(
        lane=lane, open_ms=open_ms, forget_ms=forget, hold_back_ms=hold_back_ms, lost_payload=bool(lost_payload)
    )
    return read_task(row), derived


def judge(task: Task, derived: Derived, *, now_ms: int, lease_ms: int) -> Iterator[Breach]:
    """Yield what is wrong with a task."""
    yield from _judge_record(task, derived)
    yield from _judge_lease(task, now_ms + lease_ms)
    yield from _judge_queue(task, derived)
    yield from _judge_end(task, derived)


def _judge_record(task: Task, derived: Derived) -> Iterator[Breach]:
    if derived.lost_payload:
        yield Breach(invariant=Invariant.HAS_A_VISITOR, what="its payload is gone, so no claim finds it")
    if task.state.is_held and (task.node_id is None or not task.token):
        yield Breach(invariant=Invariant.HELD_MEANS_LEASED, what=f"{task.state} without a holder or a token")
    if task.state.is_terminal != (task.finished_ms is not None):
        yield Breach(invariant=Invariant.ONE_END, what=f"{task.state}, and its end is at {task.finished_ms}")
    if task.state is TaskState.COMPLETED and task.result is None:
        yield Breach(invariant=Invariant.ONE_END, what="completed without a result")
    if task.waits_for and not task.state.is_terminal and task.state is not TaskState.BLOCKED:
        yield Breach(invariant=Invariant.PARENTS_FIRST, what=f"{task.state} while it waits for others")
    if task.state is TaskState.BLOCKED and not task.waits_for:
        yield Breach(invariant=Invariant.HAS_A_VISITOR, what="it is blocked and waits for nobody")
    policy = task.policy
    if not task.state.is_terminal and (task.crashes >= policy.max_crashes or task.failures >= policy.max_attempts):
        what = f"{task.state} after {task.crashes} crashes and {task.failures} failures"
        yield Breach(invariant=Invariant.WITHIN_LIMITS, what=what)


def _judge_lease(task: Task, new_lease_until_ms: int) -> Iterator[Breach]:
    if task.state.is_held and task.lease_until_ms <= 0:
        yield Breach(
            invariant=Invariant.HELD_MEANS_LEASED,
            what=f"{task.state} without a lease",
            column="lease_until_ms",
            value=new_lease_until_ms,
        )
    if not task.state.is_held and task.lease_until_ms != 0:
        yield Breach(
            invariant=Invariant.HELD_MEANS_LEASED, what=f"leased while {task.state}", column="lease_until_ms", value=0
        )


def _judge_queue(task: Task, derived: Derived) -> Iterator[Breach]:
    lane = lane_of(task)
    if derived.lane != lane:
        invariant = Invariant.ONE_PLACE if lane is None else Invariant.HAS_A_VISITOR
        what = f"{task.state}, and waits in {_name(derived.lane)}, not in {_name(lane)}"
        yield Breach(invariant=invariant, what=what, column="lane", value=lane)
    opens_ms = open_ms(task, derived.hold_back_ms)
    if derived.open_ms != opens_ms:
        invariant = Invariant.ONE_PLACE if opens_ms is None else Invariant.HAS_A_VISITOR
        what = f"{task.state}, held back until {derived.open_ms}, not {opens_ms}"
        yield Breach(invariant=invariant, what=what, column="open_ms", value=opens_ms)


def _name(lane: str | None) -> str:
    return "no queue" if lane is None else f"lane {lane!r}"


def _judge_end(task: Task, derived: Derived) -> Iterator[Breach]:
    due = forget_ms(task)
    if derived.forget_ms != due:
        what = f"{task.state}, to be forgotten at {derived.forget_ms}, not {due}"
        yield Breach(invariant=Invariant.ONE_PLACE, what=what, column="forget_ms", value=due)
