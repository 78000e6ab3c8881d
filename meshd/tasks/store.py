"""The task port: what is to be done, and who holds it.

Promises, for every implementation:

- A receipt means the task is kept at the stated durability until it ends and its retention passes (P1).
- At most one completion is ever recorded per task and generation (P3).
- A step that carries a superseded token changes nothing (P4).
- Every call is one atomic step per task; a batch call applies its items in order and answers item by item.
- Each transition appends one entry to the event log `tasks`, in the same atomic step (I10).
- All times are the store's clock, and it never runs backwards.

The task record is the only truth. Queues, leases and schedules are indexes made from it.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from meshd.errors import InvalidArgumentError
from meshd.tasks.audit import AuditPage
from meshd.tasks.model import (
    Claimed,
    Claimer,
    Durability,
    Ending,
    Hold,
    NewTask,
    Outcome,
    Pauses,
    Priority,
    Receipt,
    SweepReport,
    Task,
    TaskFilter,
    TaskPage,
    TaskState,
    Wake,
)

DUE_TOPIC = "tasks:due"
"""Topic of hints that a task waits for its time where none did: sweeps look for it from now on."""
TASKS_LOG = "tasks"
"""Name of the event log about tasks.

Event bodies are JSON objects: `{"event": verb, "task": id, "state": new state, "token": token}`, where verb is one of
submitted, claimed, started, completed, failed, released, stopped, promoted, opened, reprioritized, reclaimed,
cancel_requested, cancelled, expired, redriven, purged, unblocked. A renewal, a progress report or the end of one of
several parents is not a transition; `purged` names the state the task had ended in.
"""

MAX_BATCH = 256
"""Most items one batch call takes."""

MAX_PARENTS = 1_000
"""Most tasks that one may wait for."""

MAX_WAITS = 2_048
"""Most parents that the tasks of one submit may name together."""

TOLD_AT_ONCE = 100
"""Most tasks that one step tells of the ends they wait for."""

FEW_STEPS, MANY_STEPS = 40, 160
"""Most such steps that a call which ends tasks takes before it answers, and that a sweep takes."""

TOLD_RESULT = 256
"""Most bytes of a result that the hint of a task's end carries along."""


class TaskStore(Protocol):
    """Durable tasks, served by virtual time to those who can run them."""

    @property
    def starts_ahead(self) -> bool:
        """Whether a start is in the store's hands before anything scheduled a turn of the loop after the call can run.

        Then it counts even if this process dies before the answer, and a handler may begin without waiting for it.
        """
        ...

    async def submit(self, tasks: Sequence[NewTask], *, durability: Durability | None = None) -> Sequence[Receipt]:
        """Create the tasks, all or none; those without delay can be claimed at once, and waiting claimers are rung.

        - An idempotency key already taken by a task still kept answers with that task, `created=False`.
        - The same id again answers with the task that has it, `created=False`: a repeat after a lost answer is safe.
        - A task with parents (`depends_on`) is blocked until all of them have completed. A parent may be submitted by
          the same call, before it. One that ended otherwise cancels the task and what waits for that, or counts as
          well if the task runs anyway; this also holds for a parent that ended before.
        - A placed task is offered to its node alone until its hold-back is over, a pinned one for ever.
        - With `durability`, the receipts are given at this level or above; by default at the backend's own.

        Raises:
            InvalidArgumentError: more than `MAX_BATCH` tasks, an id that was not made for its idempotency key, or
                parents that no task can have.
            ParentsApartError: a task cannot be kept with its parents.
            UnknownParentError: a parent is not kept, or comes later in the call; none was created.
            BackpressureError: more tasks would wait than the queue may hold, or the store's memory is full; none was
                created.
            ConfigurationError: the store cannot give this durability; none was created.
            UnconfirmedError: the tasks are written, but too few replicas said so in time: submit the same again.
        """
        ...

    async def claim(self, claimer: Claimer, *, limit: int, lease_ms: int, alone: bool = False) -> Claimed:
        """Hand out up to `limit` tasks the claimer serves, smallest virtual time first, each with a new token.

        - Tasks of equal virtual time on one route go out in the order they were submitted.
        - A ready task whose deadline has passed is expired, never handed out.
        - Paused types, and everything while the mesh is paused, stay in their place.
        - A suspect task goes out only to a claim with `alone`, which hands out one suspect and nothing else.
        - When fewer than `limit` are there, the claimer is registered as waiting in the same step, so that the next
          task it serves, submitted or given back, rings its bell: no wake-up falls between the two. A claim with
          `alone` registers nobody and ends an earlier registration: nothing is handed over beside a suspect.
        """
        ...

    async def wait_for_work(self, claimer: Claimer, *, timeout_ms: int) -> Wake:
        """Return once this claimer's bell rang or `timeout_ms` passed. A hint: claim, whatever it says.

        Tasks that come with it are claimed for this claimer, under the lease and within the limit of its last claim.
        What was handed over and not yet taken from the bell comes with the next claim or wait: nothing is dropped.
        """
        ...

    async def reconcile(self, claimer: Claimer, *, known: Sequence[Hold]) -> int:
        """Give back what this node holds in the store but not in `known`: claims whose answer was lost.

        - Ready at once in their old place, no attempt charged; returns how many.
        - Only for a claimer that has no claim under way.
        """
        ...

    async def start(self, holds: Sequence[Hold]) -> Sequence[Outcome]:
        """Mark claimed tasks running and charge the start. Answers: ok, fenced, expired, wrong_state, missing.

        A repeat with the same token is `ok`. A task past its deadline ends expired and must not be run.
        """
        ...

    async def renew(self, holds: Sequence[Hold], *, lease_ms: int) -> Sequence[Outcome]:
        """Extend the leases to `lease_ms` from now, never shortening one.

        Answers: ok, cancel_requested (renewed too), fenced, wrong_state, missing.
        """
        ...

    async def progress(self, hold: Hold, *, fraction: float | None, note: str) -> Outcome:
        """Record how far a running task is. Answers: ok, fenced, wrong_state, missing."""
        ...

    async def finish(self, endings: Sequence[Ending]) -> Sequence[Outcome]:
        """End holds: complete, fail, release or stop. Answers: ok, already_done, fenced, expired, wrong_state, missing.

        - A lapsed lease that nobody has taken yet still counts: the work is saved.
        - A completion may overtake its start: from claimed it charges the start and counts.
        - `fenced` from a task that ended expired is answered `expired`.
        - Watchers of tasks that end are told in the same step.
        - Tasks that wait for one that ended are told before the answer, in steps of their own; a sweep tells those
          that are left, or all of them if this process dies in between.
        """
        ...

    async def cancel(self, task_id: str, *, reason: str) -> Task:
        """Cancel a task that has not started; ask a running one to stop. Returns it as it now is. Idempotent.

        Raises:
            NotFoundError: no such task.
            InvalidTransitionError: it completed, died or expired before.
        """
        ...

    async def redrive(self, task_id: str) -> Task:
        """Make a dead, cancelled or expired task ready again as a new generation, its errors kept.

        It waits for nobody, and what its end has cancelled stays cancelled.

        Raises:
            NotFoundError: no such task.
            InvalidTransitionError: it is not in one of those states.
        """
        ...

    async def reprioritize(self, task_id: str, priority: Priority) -> Task:
        """Give a task that has not ended another priority; it keeps its age. Returns it as it now is. Idempotent.

        Raises:
            NotFoundError: no such task.
            InvalidTransitionError: it has ended.
        """
        ...

    async def purge(self, task_ids: Sequence[str]) -> Sequence[bool]:
        """Forget ended tasks now; answers per task whether it was forgotten. One that has not ended is kept."""
        ...

    async def pause(self, task_type: str | None = None) -> None:
        """Hand out no task of this type any more, or none at all with `None`. Running tasks go on. Idempotent."""
        ...

    async def resume(self, task_type: str | None = None) -> None:
        """Undo `pause` of the same argument; waiting claimers are rung. Idempotent."""
        ...

    async def paused(self) -> Pauses:
        """Return what is paused now."""
        ...

    async def get(self, task_ids: Sequence[str]) -> Sequence[Task | None]:
        """Return the tasks as they are now, in the order asked; `None` for those not kept."""
        ...

    async def list(self, where: TaskFilter, *, limit: int, cursor: str | None = None) -> TaskPage:
        """Return up to `limit` tasks, newest id first. A page may be shorter than `limit` before the end."""
        ...

    async def counts(self) -> Mapping[TaskState, int]:
        """Return how many tasks are in each state now, mesh-wide, zeros included, at a cost that does not grow.

        Ended tasks are counted while they are kept.
        """
        ...

    async def open_counts(self, node_ids: Sequence[str]) -> Mapping[str, int]:
        """Return how many tasks each of these nodes holds at this moment, zeros included."""
        ...

    async def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        """Take back everything held by these incarnations of a node; return how many tasks were taken back.

        Safe at any time: the old holder is fenced. For a node judged dead, left, or joined anew. What was placed on
        the node and is not pinned is opened to all, ready or scheduled; the answer does not count it.
        """
        ...

    async def sweep(self, *, limit: int = 200) -> SweepReport:
        """Do what is due: promote, open, reclaim lapsed holds, expire, settle, forget what is past its retention.

        - Idempotent and safe from any number of callers.
        - If the store itself may have stood still for longer than a lease can bear (no sweep for longer than
          `leases.standstill_ms`), every lease is first extended by that gap: a live holder loses nothing to a
          pause that was not its own.
        """
        ...

    async def audit(self, *, repair: bool, cursor: str | None = None) -> AuditPage:
        """Check one part of the tasks and their indexes against the invariants; with `repair`, mend the indexes.

        - Bounded work per call: pass the cursor of the last page to go on, until it is `None`.
        - The record is the truth: a repair rebuilds or drops index entries and never changes what a task is.
        - Safe beside a mesh at work: what is judged is read and mended in one atomic step.
        """
        ...

    async def watch(self, task_ids: Sequence[str], *, topic: str) -> Sequence[Task | None]:
        """Have `topic` told when these tasks end, and return them as they are now.

        The hint's body is `{"task": id, "state": state}`, for a completed task with a short result in plain JSON also
        `"result"`, its text. A task already ended sends none: its state is returned.
        """
        ...


def check_batch(items: Sequence[object]) -> None:
    """Return if one batch call may take this many items.

    Raises:
        InvalidArgumentError: more than `MAX_BATCH`.
    """
    if len(items) > MAX_BATCH:
        raise InvalidArgumentError(f"{len(items)} items in one call are over the limit of {MAX_BATCH}: split them")


def check_parents(tasks: Sequence[NewTask]) -> None:
    """Return if the tasks name parents as tasks may.

    Raises:
        InvalidArgumentError: one waits for itself, twice for another, or for too many; or all together do.
    """
    total = 0
    for task in tasks:
        if not task.depends_on:
            continue
        total += len(task.depends_on)
        if task.id in task.depends_on or len(set(task.depends_on)) < len(task.depends_on):
            raise InvalidArgumentError(f"task {task.id} would wait for itself, or twice for another")
        if len(task.depends_on) > MAX_PARENTS:
            raise InvalidArgumentError(f"task {task.id}: {len(task.depends_on)} parents are over {MAX_PARENTS}")
    if total > MAX_WAITS:
        raise InvalidArgumentError(f"{total} parents in one call are over the limit of {MAX_WAITS}: split it")
