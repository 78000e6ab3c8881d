"""The tasks of one mesh by the pure rules alone, in memory: the store of a simulated mesh."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from meshd.errors import FencedError, InvalidTransitionError
from meshd.tasks.model import (
    Claimed,
    Claimer,
    Completed,
    Ending,
    Failed,
    Hold,
    NewTask,
    Outcome,
    Released,
    Stopped,
    Task,
    TaskState,
)
from meshd.tasks.routing import serves
from meshd.tasks.states import (
    GONE,
    Await,
    Claim,
    Complete,
    Expire,
    Fail,
    HolderEvent,
    ParentEnded,
    Promote,
    Reclaim,
    Release,
    Renew,
    Start,
    Stop,
    TaskEvent,
    apply,
    create,
    is_overdue,
    parents_to_wait_for,
)

Trace = Callable[[str], None]


class PureStore:
    """Every call is one atomic step at the store's time. `is_fenced=False` leaves out the guard of the tokens."""

    def __init__(self, *, now_ms: Callable[[], int], trace: Trace, is_fenced: bool = True) -> None:
        self.tasks: dict[str, Task] = {}
        self.completions: dict[str, int] = {}
        self._now_ms = now_ms
        self._trace = trace
        self._is_fenced = is_fenced
        self._fence = 0
        self._ends: list[Task] = []
        self.changed: Callable[[], None] = lambda: None

    def submit(self, new: NewTask) -> str:
        known = next((t.id for t in self.tasks.values() if t.idempotency_key == new.idempotency_key), None)
        if known is not None:
            return known
        waits = parents_to_wait_for(new, {parent: self.tasks[parent].state for parent in new.depends_on})
        task = self.tasks[new.id] = create(new, now_ms=self._now_ms(), waits_for=waits)
        self._trace(f"store    submitted {new.id} {task.state}")
        for parent in map(self.tasks.__getitem__, waits):
            if parent.state.is_terminal:
                self._tell(self.tasks[new.id], parent)
            else:
                self._apply(parent, Await())
        self.changed()
        return new.id

    def claim(self, claimer: Claimer, *, limit: int, lease_ms: int, alone: bool) -> Claimed:
        now_ms = self._now_ms()
        served = [t for t in self.tasks.values() if t.state is TaskState.READY and serves(claimer, t.route)]
        for task in served:
            if is_overdue(task, now_ms):
                self._apply(task, Expire(now_ms=now_ms))
        ready = sorted((t for t in served if not is_overdue(t, now_ms)), key=lambda task: task.vt)
        wanted = [task for task in ready if task.is_suspect is alone][: 1 if alone else limit]
        suspects_wait = any(task.is_suspect for task in ready if task not in wanted)
        claimed: list[Task] = []
        for task in wanted:
            self._fence += 1
            claim = Claim(
                node_id=claimer.node_id,
                incarnation=claimer.incarnation,
                token=max(self._fence, task.token + 1),
                lease_until_ms=now_ms + lease_ms,
            )
            self._fence = claim.token
            claimed.append(self._apply(task, claim))
        return Claimed(tasks=tuple(claimed), suspects_wait=suspects_wait, now_ms=now_ms)

    def start(self, holds: Sequence[Hold]) -> Sequence[Outcome]:
        return [self._step(hold, Start(token=hold.token, now_ms=self._now_ms())) for hold in holds]

    def renew(self, holds: Sequence[Hold], *, lease_ms: int) -> Sequence[Outcome]:
        until_ms = self._now_ms() + lease_ms
        return [self._step(hold, Renew(token=hold.token, lease_until_ms=until_ms)) for hold in holds]

    def finish(self, endings: Sequence[Ending]) -> Sequence[Outcome]:
        return [self._step(ending.hold, self._event_of(ending)) for ending in endings]

    def reconcile(self, claimer: Claimer, *, known: Sequence[Hold]) -> int:
        kept = {(hold.task_id, hold.token) for hold in known}
        strays = [
            task
            for task in self.tasks.values()
            if task.state.is_held
            and (task.node_id, task.incarnation) == (claimer.node_id, claimer.incarnation)
            and (task.id, task.token) not in kept
        ]
        for task in strays:
            self._apply(task, Release(token=task.token, now_ms=self._now_ms()))
        return len(strays)

    def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        taken = [
            task
            for task in self.tasks.values()
            if task.state.is_held and task.node_id == node_id and task.incarnation <= up_to_incarnation
        ]
        for task in taken:
            self._apply(task, Reclaim(now_ms=self._now_ms(), why=GONE))
        return len(taken)

    def settle(self) -> None:
        """Tell those that wait of the ends noted so far, as many as that takes."""
        while self._ends:
            ended = self._ends.pop(0)
            for task in list(self.tasks.values()):
                if ended.id in task.waits_for:
                    self._tell(task, ended)

    def _tell(self, task: Task, ended: Task) -> None:
        self._apply(task, ParentEnded(parent=ended.id, how=ended.state, now_ms=self._now_ms()))

    def sweep(self) -> None:
        self.settle()
        now_ms = self._now_ms()
        for task in list(self.tasks.values()):
            if not task.state.is_terminal and is_overdue(task, now_ms):
                self._apply(task, Expire(now_ms=now_ms))
            elif task.state is TaskState.SCHEDULED and task.due_ms <= now_ms:
                self._apply(task, Promote(now_ms=now_ms))
            elif task.state.is_held and task.lease_until_ms <= now_ms:
                self._apply(task, Reclaim(now_ms=now_ms))

    def _event_of(self, ending: Ending) -> HolderEvent:
        token, now_ms = ending.hold.token, self._now_ms()
        match ending:
            case Completed():
                return Complete(token=token, result=ending.result, now_ms=now_ms)
            case Failed():
                return Fail(
                    token=token,
                    kind=ending.kind,
                    message=ending.message,
                    detail=ending.detail,
                    retry_in_ms=ending.retry_in_ms,
                    now_ms=now_ms,
                )
            case Released():
                return Release(token=token, now_ms=now_ms)
            case Stopped():
                return Stop(token=token, now_ms=now_ms)

    def _step(self, hold: Hold, event: HolderEvent) -> Outcome:
        task = self.tasks[hold.task_id]
        if not self._is_fenced and not task.state.is_terminal:
            event = replace(event, token=task.token)
        if isinstance(event, Start) and task.state.is_held and is_overdue(task, self._now_ms()):
            self._apply(task, Expire(now_ms=self._now_ms()))
            return Outcome.EXPIRED
        try:
            after = self._apply(task, event)
        except FencedError:
            return Outcome.EXPIRED if task.state is TaskState.EXPIRED else Outcome.FENCED
        except InvalidTransitionError:
            return Outcome.WRONG_STATE
        return Outcome.ALREADY_DONE if after is task and isinstance(event, Complete | Fail | Release) else Outcome.OK

    def _apply(self, task: Task, event: TaskEvent) -> Task:
        after = apply(task, event)
        if after is task:
            return task
        assert after.token >= task.token, f"token of {task.id} fell"
        self.tasks[task.id] = after
        if not isinstance(event, Renew):
            node = after.node_id or task.node_id
            self._trace(f"store    {type(event).__name__.lower()} {task.id} token {after.token} {after.state} {node}")
        if after.state.is_terminal and after.is_awaited:
            self._ends.append(after)
        if after.state is TaskState.COMPLETED:
            self.completions[task.id] = self.completions.get(task.id, 0) + 1
        self.changed()
        return after
