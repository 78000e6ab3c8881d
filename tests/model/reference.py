"""What the tasks of a mesh must be, by the pure rules alone: the other side of the model test.

Where the port leaves a backend a choice (an overdue task may be noticed by a claim or only by the next sweep; a submit
may hand a task to a claimer that waits; who waits for a task that ended may hear of it only by the next sweep), the
reference holds every allowed record, and takes the one it is shown.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from meshd.clock import ManualClock
from meshd.errors import BackpressureError, FencedError, InvalidTransitionError, UnknownParentError
from meshd.tasks.model import (
    Claimed,
    Claimer,
    Hold,
    NewTask,
    Outcome,
    Pauses,
    Receipt,
    SweepReport,
    Task,
    TaskState,
    Wake,
)
from meshd.tasks.routing import serves
from meshd.tasks.states import (
    GONE,
    Await,
    Cancel,
    Claim,
    Expire,
    HolderEvent,
    Open,
    ParentEnded,
    Promote,
    Reclaim,
    Redrive,
    Release,
    Reprioritize,
    Start,
    create,
    is_overdue,
    parents_to_wait_for,
)
from tests.model.paths import Entry, Path, fenced, success

SWEEP_ORDERS = ("promote open reclaim expire", "expire promote open reclaim")
WAITING = (TaskState.SCHEDULED, TaskState.BLOCKED, TaskState.READY)


@dataclass(slots=True)
class Waiter:
    """A claimer that got less than it asked for: a submit may hand tasks to it."""

    claimer: Claimer
    wants: int
    lease_ms: int

    def takes(self, task: Task, token: int, now_ms: int) -> Path:
        """Return the task as a claim by this claimer leaves it."""
        return Path(task, (("submitted", task.state.value, 0),)).then(
            _claim(self.claimer, token=token, lease_until_ms=now_ms + self.lease_ms)
        )


class Reference:
    """All tasks of one mesh, as they must be."""

    def __init__(self, clock: ManualClock, *, grace_after_ms: int, queue_size: int) -> None:
        self.tasks: dict[str, Task] = {}
        self.log: dict[str, list[Entry]] = {}
        self.pauses = Pauses()
        self._clock = clock
        self._queue_size = queue_size
        self._keys: dict[str, str] = {}
        self._holds_back_ms: dict[str, int] = {}
        self._kids: dict[tuple[str, int], list[str]] = {}
        self._ends: list[tuple[Task, list[str]]] = []
        self._swept_ms = clock()
        self._grace_after_ms = grace_after_ms
        self._allowed: dict[str, list[Path]] = {}
        self._waiters: dict[str, Waiter] = {}
        self._fresh: set[str] = set()
        self._handed: dict[str, dict[str, Task]] = {}

    def submit(self, news: Sequence[NewTask]) -> list[tuple[str, bool, TaskState]]:
        """Return for each the id, whether it was created, and the state a receipt must name, unless it is handed over.

        Raises:
            BackpressureError: more tasks would wait than may.
            UnknownParentError: one would wait for a task that is not kept.
        """
        before = dict(self.tasks), dict(self._keys)
        known: dict[str, str] = {}
        try:
            facts = [self._submit(new, known) for new in news]
            self._check_room(any(created for _, created, _ in facts))
        except (BackpressureError, UnknownParentError):
            self.tasks, self._keys = before
            self._allowed.clear()
            self._fresh.clear()
            raise
        return facts

    def claim(self, claimer: Claimer, claimed: Claimed, *, limit: int, lease_ms: int, alone: bool) -> None:
        """Judge what a claim handed out."""
        now_ms = self._clock()
        who = _name(claimer)
        delivered, answer = self._part_delivered(who, claimed.tasks)
        assert delivered <= (0 if alone else limit)
        served = [task for task in self.tasks.values() if _may_take(claimer, task)]
        fresh = [task for task in served if not is_overdue(task, now_ms) and not self._is_paused(task)]
        offered = [task for task in fresh if task.is_suspect == alone]
        most = 1 if alone else limit - delivered
        assert [task.vt for task in answer] == sorted(task.vt for task in offered)[:most]
        assert {task.id for task in answer} <= {task.id for task in offered}
        for task in answer:
            event = _claim(claimer, token=task.token, lease_until_ms=now_ms + lease_ms)
            path = Path(self.tasks[task.id]).then(event)
            assert task == path.task
            self._allow(task.id, path)
        for task in served:
            if is_overdue(task, now_ms):
                self._allow(task.id, Path(task), Path(task).then(Expire(now_ms=now_ms)))
        left = {task.id for task in fresh if task.is_suspect} - {task.id for task in answer}
        overdue = any(task.is_suspect and is_overdue(task, now_ms) for task in served)
        assert claimed.suspects_wait == bool(left) or overdue
        assert claimed.now_ms == now_ms
        self._waiters[who] = Waiter(claimer, 0 if alone else limit - delivered - len(answer), lease_ms)

    def is_rung(self, claimer: Claimer) -> bool:
        """Whether tasks were handed over to the claimer, not yet answered, and are still its own."""
        handed = self._handed.get(_name(claimer), {})
        return any(self.tasks.get(task_id) == task for task_id, task in handed.items())

    def wake(self, claimer: Claimer, wake: Wake) -> None:
        """Judge what came with a bell."""
        _, others = self._part_delivered(_name(claimer), wake.tasks)
        assert wake.rang
        assert not others

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
            return fenced(task, event)
        except InvalidTransitionError:
            return {Outcome.WRONG_STATE}
        self._allow(task_id, path)
        return {success(task, path.task, event)}

    def change(self, task_id: str, event: Cancel | Redrive | Reprioritize) -> Task:
        """Take a step anyone may ask for; return the record, or raise what the rules raise."""
        path = Path(self.tasks[task_id]).then(event)
        self._allow(task_id, path)
        return path.task

    def purge(self, task_ids: Iterable[str]) -> list[bool]:
        """Forget what has ended; return of which tasks that is true."""
        answers: list[bool] = []
        for task_id in task_ids:
            task = self.tasks.get(task_id)
            answers.append(task is not None and task.state.is_terminal)
            if task is not None and task.state.is_terminal:
                self.log[task_id].append(("purged", task.state.value, task.token))
                self._forget(task)
        return answers

    def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        """Take back what these incarnations hold and open what is meant for the node; return how many were held."""
        taken = 0
        for task in self.tasks.values():
            if task.state.is_held and task.node_id == node_id and task.incarnation <= up_to_incarnation:
                self._allow(task.id, Path(task).then(Reclaim(now_ms=self._clock(), why=GONE)))
                taken += 1
            elif task.placed_on == node_id and _may_open(task):
                self._allow(task.id, Path(task).then(Open()))
        return taken

    def reconcile(self, claimer: Claimer, known: Iterable[Hold]) -> int:
        """Give back what the claimer holds and does not know; return how many tasks that is."""
        holds = set(known)
        lost = [
            task
            for task in self.tasks.values()
            if task.state.is_held
            and (task.node_id, task.incarnation) == (claimer.node_id, claimer.incarnation)
            and Hold(task_id=task.id, token=task.token) not in holds
        ]
        for task in lost:
            self._allow(task.id, Path(task).then(Release(token=task.token, now_ms=self._clock())))
        return len(lost)

    def pause(self, task_type: str | None, *, paused: bool) -> None:
        """Pause or resume a type, or the mesh."""
        if task_type is None:
            self.pauses = replace(self.pauses, mesh=paused)
            return
        types = self.pauses.task_types - {task_type}
        self.pauses = replace(self.pauses, task_types=types | {task_type} if paused else types)

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
            self._allow(task.id, *(self._due(Path(extended), order) for order in SWEEP_ORDERS))
        return graced

    def judge_report(self, report: SweepReport, before: Mapping[str, Task]) -> None:
        """Compare a sweep's numbers with what became of the tasks; call it after `observe`."""
        pairs = [(task, self.tasks[task_id]) for task_id, task in before.items() if task_id in self.tasks]
        woken = [(old, new) for old, new in pairs if old.state is TaskState.BLOCKED and new.waits_for != old.waits_for]
        pairs = [(old, new) for old, new in pairs if (old, new) not in woken]
        moves = Counter((old.state.is_held, new.state) for old, new in pairs if new.state is not old.state)
        opened = sum(1 for old, new in pairs if not old.state.is_held and old.placed_on != new.placed_on)
        assert report.expired == moves[True, TaskState.EXPIRED] + moves[False, TaskState.EXPIRED]
        assert report.buried == moves[True, TaskState.DEAD]
        assert 0 <= report.reclaimed - moves[True, TaskState.READY] <= moves[True, TaskState.CANCELLED] + report.expired
        assert 0 <= report.promoted - moves[False, TaskState.READY] <= report.expired
        assert abs(report.opened - opened) <= report.expired

    def is_retention_over(self) -> bool:
        """Whether any task is kept longer than promised."""
        return any(self._is_past_retention(task) for task in self.tasks.values())

    def observe(self, records: Mapping[str, Task | None], *, is_settled: bool = False) -> None:
        """Compare every record, parents first, with what it must be; once settled, nobody is left to hear of an end."""
        for task_id, found in records.items():
            expected = self._allowed.get(task_id) or ([Path(self.tasks[task_id])] if task_id in self.tasks else [])
            if not expected:
                assert found is None, f"{task_id} should be forgotten"
                continue
            told = [heard for path in expected for heard in self._told(path)]
            expected = told if is_settled else [*expected, *told]
            match = next((path for path in expected if path.task == found), None) or self._handed_over(found)
            assert match is not None, f"\nfound    {found}\nexpected {expected[0].task}"
            self._note_end(self.tasks[task_id], match.task)
            self.tasks[task_id] = match.task
            self.log[task_id].extend(match.entries)
        if is_settled:
            self._ends.clear()
        self._allowed.clear()
        self._fresh.clear()

    def counts(self) -> Counter[TaskState]:
        return Counter(task.state for task in self.tasks.values())

    def open_counts(self, node_ids: Iterable[str]) -> dict[str, int]:
        held = Counter(task.node_id for task in self.tasks.values() if task.state.is_held)
        return {node_id: held[node_id] for node_id in node_ids}

    def _submit(self, new: NewTask, known: dict[str, str]) -> tuple[str, bool, TaskState]:
        owner = new.id if new.id in self.tasks else self._keys.get(new.idempotency_key or "")
        if owner is not None:
            known[new.id] = owner
            return owner, False, self.tasks[owner].state
        new = replace(new, depends_on=tuple(dict.fromkeys(known.get(parent, parent) for parent in new.depends_on)))
        path = self._born(new)
        self.log.setdefault(new.id, [])
        self.tasks[new.id] = path.task
        self._fresh.add(new.id)
        self._allow(new.id, path)
        if new.placement is not None:
            self._holds_back_ms[new.id] = new.placement.hold_back_ms
        if new.idempotency_key:
            self._keys[new.idempotency_key] = new.id
        return new.id, True, path.task.state

    def _born(self, new: NewTask) -> Path:
        """Return a new task as its parents let it be, and have those that have not ended know of it."""
        for parent in new.depends_on:
            if parent not in self.tasks:
                raise UnknownParentError(new.id, parent_id=parent)
        parents = {parent: self.tasks[parent] for parent in new.depends_on}
        waits = parents_to_wait_for(new, {parent: task.state for parent, task in parents.items()})
        task = create(new, now_ms=self._clock(), waits_for=waits)
        path = Path(task, (("submitted", task.state.value, 0),))
        failed = next((parents[parent] for parent in waits if parents[parent].state.is_terminal), None)
        if failed is not None:
            return path.then(ParentEnded(parent=failed.id, how=failed.state, now_ms=self._clock()))
        for parent in waits:
            paths = self._allowed.get(parent) or [Path(parents[parent])]
            self._allow(parent, *(each.then(Await()) for each in paths))
            self._kids.setdefault((parent, parents[parent].generation), []).append(new.id)
        return path

    def _told(self, path: Path) -> list[Path]:
        """Return the paths once the task has heard of every end, in any order."""
        ends = [parent for parent, kids in self._ends if path.task.id in kids]
        paths: list[Path] = []
        for order in permutations(ends):
            told = path
            for parent in order:
                told = told.then(ParentEnded(parent=parent.id, how=parent.state, now_ms=self._clock()))
            paths.append(told)
        return paths

    def _note_end(self, before: Task, after: Task) -> None:
        if after.state.is_terminal and not (before.state.is_terminal and before.generation == after.generation):
            self._ends.append((after, self._kids.pop((after.id, after.generation), [])))

    def _handed_over(self, found: Task | None) -> Path | None:
        """Return the path on which the submit handed the task to a claimer that waited, if that is what happened."""
        if found is None or found.id not in self._fresh or found.state is not TaskState.CLAIMED:
            return None
        task, who = self.tasks[found.id], f"{found.node_id}@{found.incarnation}"
        waiter = self._waiters.get(who)
        if waiter is None or waiter.wants < 1 or self._is_paused(task) or not _may_take(waiter.claimer, task):
            return None
        path = waiter.takes(task, found.token, self._clock())
        if path.task != found:
            return None
        waiter.wants -= 1
        self._handed.setdefault(who, {})[found.id] = found
        return path

    def _part_delivered(self, who: str, answer: Sequence[Task]) -> tuple[int, list[Task]]:
        """Return how many tasks of an answer were handed over before, and the others."""
        handed = self._handed.get(who, {})
        late = [task for task in answer if task.id in handed and task in (handed[task.id], self.tasks.get(task.id))]
        for task in late:
            del handed[task.id]
        return len(late), [task for task in answer if task not in late]

    def _is_paused(self, task: Task) -> bool:
        return self.pauses.mesh or task.type in self.pauses.task_types

    def _check_room(self, is_any_new: bool) -> None:
        if is_any_new and self._waiting() > self._queue_size:
            raise BackpressureError("full")

    def _waiting(self) -> int:
        return sum(1 for task in self.tasks.values() if task.state in WAITING)

    def _allow(self, task_id: str, *paths: Path) -> None:
        self._allowed[task_id] = list(paths)

    def _due(self, path: Path, order: str) -> Path:
        now_ms = self._clock()
        for step in order.split():
            task = path.task
            if step == "promote" and task.state is TaskState.SCHEDULED and task.due_ms <= now_ms:
                path = path.then(Promote(now_ms=now_ms))
            if step == "open" and task.state is TaskState.READY and _may_open(task):
                opens_ms = task.due_ms + self._holds_back_ms[task.id]
                path = path.then(Open()) if opens_ms <= now_ms else path
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


def _name(claimer: Claimer) -> str:
    return f"{claimer.node_id}@{claimer.incarnation}"


def _claim(claimer: Claimer, *, token: int, lease_until_ms: int) -> Claim:
    return Claim(node_id=claimer.node_id, incarnation=claimer.incarnation, token=token, lease_until_ms=lease_until_ms)


def _may_take(claimer: Claimer, task: Task) -> bool:
    meant = task.placed_on in (None, claimer.node_id)
    return task.state is TaskState.READY and meant and serves(claimer, task.route)


def _may_open(task: Task) -> bool:
    return task.state in WAITING and task.placed_on is not None and not task.pinned
