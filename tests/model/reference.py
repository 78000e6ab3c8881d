"""What the tasks of a mesh must be, by the pure rules alone: the other side of the model test.

Where the port leaves a backend a choice (an overdue task may be noticed by a claim or only by the next sweep), the
reference holds every allowed record, and takes the one it is shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from meshd.clock import ManualClock
from meshd.errors import FencedError, InvalidTransitionError
from meshd.tasks.model import Claimer, NewTask, Outcome, Receipt, SweepReport, Task, TaskState
from meshd.tasks.routing import serves
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

VERBS: dict[type[TaskEvent], str] = {
    Claim: "claimed",
    Start: "started",
    Complete: "completed",
    Fail: "failed",
    Release: "released",
    Stop: "stopped",
    Promote: "promoted",
    Reclaim: "reclaimed",
    Cancel: "cancelled",
    Expire: "expired",
    Redrive: "redriven",
}
SILENT = (Renew, Progress)

Entry = tuple[str, str, int]
"""Verb, new state and token of one log entry."""


@dataclass(frozen=True, slots=True)
class Path:
    """A record, and the log entries that lead to it."""

    task: Task
    entries: tuple[Entry, ...] = ()

    def then(self, event: TaskEvent) -> "Path":
        """Return the path one step further; itself when the step was taken before."""
        after = apply(self.task, event)
        if isinstance(event, SILENT) or after is self.task:
            return replace(self, task=after)
        verb = VERBS[type(event)]
        if isinstance(event, Cancel) and after.state is TaskState.RUNNING:
            verb = "cancel_requested"
        return Path(after, (*self.entries, (verb, after.state.value, after.token)))


class Reference:
    """All tasks of one mesh, as they must be."""

    def __init__(self, clock: ManualClock, *, grace_after_ms: int) -> None:
        self.tasks: dict[str, Task] = {}
        self.log: dict[str, list[Entry]] = {}
        self._clock = clock
        self._keys: dict[str, str] = {}
        self._swept_ms = clock()
        self._grace_after_ms = grace_after_ms
        self._allowed: dict[str, list[Path]] = {}

    def submit(self, new: NewTask) -> tuple[str, bool, TaskState]:
        """Return the id, whether it was created, and the state a receipt must name."""
        known = new.id if new.id in self.tasks else self._keys.get(new.idempotency_key or "")
        if known is not None:
            return known, False, self.tasks[known].state
        task = create(new, now_ms=self._clock())
        self.log.setdefault(new.id, [])
        self.tasks[new.id] = task
        self._allow(new.id, Path(task, (("submitted", task.state.value, 0),)))
        if new.idempotency_key:
            self._keys[new.idempotency_key] = new.id
        return new.id, True, task.state

    def claim(self, claimer: Claimer, answer: Sequence[Task], *, limit: int, lease_ms: int) -> None:
        """Judge what a claim handed out."""
        now_ms = self._clock()
        served = [t for t in self.tasks.values() if t.state is TaskState.READY and serves(claimer, t.route)]
        fresh = [task for task in served if not is_overdue(task, now_ms)]
        assert [task.vt for task in answer] == sorted(task.vt for task in fresh)[:limit]
        assert {task.id for task in answer} <= {task.id for task in fresh}
        for task in answer:
            claim = Claim(
                node_id=claimer.node_id,
                incarnation=claimer.incarnation,
                token=task.token,
                lease_until_ms=now_ms + lease_ms,
            )
            path = Path(self.tasks[task.id]).then(claim)
            assert task == path.task
            self._allow(task.id, path)
        for task in served:
            if is_overdue(task, now_ms):
                self._allow(task.id, Path(task), Path(task).then(Expire(now_ms=now_ms)))

    def hold_step(self, task_id: str, event: HolderEvent) -> set[Outcome]:
        """Take one step of a holder; return the answers allowed."""
        task = self.tasks.get(task_id)
        if task is None:
            return {Outcome.MISSING}
        overdue = is_overdue(task, self._clock()) and not task.state.is_terminal and event.token == task.token
        if isinstance(event, Start) and overdue and task.state.is_held:
            expired = Path(task).then(Expire(now_ms=self._clock()))
            if task.state is TaskState.CLAIMED:
                self._allow(task_id, expired)
                return {Outcome.EXPIRED}
            self._allow(task_id, Path(task), expired)
            return {Outcome.OK, Outcome.EXPIRED}
        try:
            path = Path(task).then(event)
        except FencedError:
            return _fenced(task, event)
        except InvalidTransitionError:
            return {Outcome.WRONG_STATE}
        self._allow(task_id, path)
        return {_success(task, path.task, event)}

    def change(self, task_id: str, event: Cancel | Redrive) -> Task:
        """Take a step anyone may ask for; return the record, or raise what the rules raise."""
        path = Path(self.tasks[task_id]).then(event)
        self._allow(task_id, path)
        return path.task

    def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        """Take back what these incarnations hold; return how many that are."""
        taken = [
            task
            for task in self.tasks.values()
            if task.state.is_held and task.node_id == node_id and task.incarnation <= up_to_incarnation
        ]
        for task in taken:
            self._allow(task.id, Path(task).then(Reclaim(now_ms=self._clock())))
        return len(taken)

    def sweep(self) -> bool:
        """Do what time makes due; return whether it starts with a grace."""
        now_ms = self._clock()
        gap_ms = now_ms - self._swept_ms
        graced = gap_ms > self._grace_after_ms
        self._swept_ms = now_ms
        for task in list(self.tasks.values()):
            if self._is_past_retention(task):
                self._forget(task)
                continue
            extended = task
            if graced and task.state.is_held:
                extended = replace(task, lease_until_ms=task.lease_until_ms + gap_ms)
            path = Path(extended)
            self._allow(
                task.id, *(self._due(path, order) for order in ("promote reclaim expire", "expire promote reclaim"))
            )
        return graced

    def judge_report(self, report: SweepReport, before: Mapping[str, Task]) -> None:
        """Compare a sweep's numbers with what became of the tasks; call it after `observe`."""
        moves = Counter(
            (task.state.is_held, self.tasks[task_id].state)
            for task_id, task in before.items()
            if task_id in self.tasks and self.tasks[task_id].state is not task.state
        )
        assert report.expired == moves[True, TaskState.EXPIRED] + moves[False, TaskState.EXPIRED]
        assert report.buried == moves[True, TaskState.DEAD]
        assert 0 <= report.reclaimed - moves[True, TaskState.READY] <= moves[True, TaskState.CANCELLED] + report.expired
        assert 0 <= report.promoted - moves[False, TaskState.READY] <= report.expired

    def is_retention_over(self) -> bool:
        """Whether any task is kept longer than promised."""
        return any(self._is_past_retention(task) for task in self.tasks.values())

    def observe(self, records: Mapping[str, Task | None]) -> None:
        """Compare every record with what it must be."""
        for task_id, found in records.items():
            expected = self._allowed.get(task_id) or ([Path(self.tasks[task_id])] if task_id in self.tasks else [])
            if not expected:
                assert found is None, f"{task_id} should be forgotten"
                continue
            match = next((path for path in expected if path.task == found), None)
            assert match is not None, f"\nfound    {found}\nexpected {expected[0].task}"
            self.tasks[task_id] = match.task
            self.log[task_id].extend(match.entries)
        self._allowed.clear()

    def counts(self) -> Counter[TaskState]:
        return Counter(task.state for task in self.tasks.values())

    def open_counts(self, node_ids: Iterable[str]) -> dict[str, int]:
        held = Counter(task.node_id for task in self.tasks.values() if task.state.is_held)
        return {node_id: held[node_id] for node_id in node_ids}

    def _allow(self, task_id: str, *paths: Path) -> None:
        self._allowed[task_id] = list(paths)

    def _due(self, path: Path, order: str) -> Path:
        now_ms = self._clock()
        for step in order.split():
            task = path.task
            if step == "promote" and task.state is TaskState.SCHEDULED and task.due_ms <= now_ms:
                path = path.then(Promote(now_ms=now_ms))
            if step == "reclaim" and task.state.is_held and task.lease_until_ms <= now_ms:
                path = path.then(Reclaim(now_ms=now_ms))
            if step == "expire" and not task.state.is_terminal and is_overdue(task, now_ms):
                path = path.then(Expire(now_ms=now_ms))
        return path

    def _is_past_retention(self, task: Task) -> bool:
        if task.finished_ms is None or not task.state.is_terminal:
            return False
        kept_ms = task.policy.dead_ttl_ms if task.state is TaskState.DEAD else task.policy.result_ttl_ms
        return task.finished_ms + kept_ms <= self._clock()

    def _forget(self, task: Task) -> None:
        del self.tasks[task.id]
        if task.idempotency_key:
            del self._keys[task.idempotency_key]


def receipt_facts(receipt: Receipt) -> tuple[str, bool, TaskState]:
    """Return what a receipt says about its task."""
    return receipt.task_id, receipt.created, receipt.state


def _fenced(task: Task, event: HolderEvent) -> set[Outcome]:
    if task.state is not TaskState.EXPIRED:
        return {Outcome.FENCED}
    if isinstance(event, Complete | Fail | Release | Stop):
        return {Outcome.EXPIRED}
    return {Outcome.FENCED, Outcome.EXPIRED}


def _success(before: Task, after: Task, event: HolderEvent) -> Outcome:
    if isinstance(event, Complete | Fail | Release | Stop) and after is before:
        return Outcome.ALREADY_DONE
    if isinstance(event, Renew) and after.cancel_requested:
        return Outcome.CANCEL_REQUESTED
    return Outcome.OK
