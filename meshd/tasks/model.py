"""Tasks as values: what a caller asks for, what the store keeps, and how an attempt ends.

Payload, context and result are opaque bytes here (`meshd.codec` writes them): a store never looks inside.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Priority(StrEnum):
    """How soon a task is served; each level is a head start in virtual time (see `routing.py`)."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"
    BACKGROUND = "background"


class TaskState(StrEnum):
    """Where a task is in its life; `states.py` holds every transition."""

    SCHEDULED = "scheduled"
    """Waits for its due time: delayed, or backing off before a retry."""
    BLOCKED = "blocked"
    """Waits for tasks it depends on."""
    READY = "ready"
    """May be claimed by any node that serves its route."""
    CLAIMED = "claimed"
    """A node holds it under a lease and has not started it."""
    RUNNING = "running"
    """Its handler was started."""
    COMPLETED = "completed"
    """Ended with a recorded result."""
    DEAD = "dead"
    """Given up; kept with its payload and every error until redriven or purged."""
    CANCELLED = "cancelled"
    """Ended on request."""
    EXPIRED = "expired"
    """Its deadline passed first."""

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL

    @property
    def is_held(self) -> bool:
        return self in _HELD


_TERMINAL = frozenset({TaskState.COMPLETED, TaskState.DEAD, TaskState.CANCELLED, TaskState.EXPIRED})
_HELD = frozenset({TaskState.CLAIMED, TaskState.RUNNING})


class FailureKind(StrEnum):
    """Why an attempt did not complete."""

    ERROR = "error"
    """The handler raised."""
    TIMEOUT = "timeout"
    """It ran longer than the task's timeout and was stopped."""
    CRASHED = "crashed"
    """Its node died or lost the lease while running it."""
    REJECTED = "rejected"
    """The handler, or the check of its payload, refused the task; no retry follows."""


class Durability(StrEnum):
    """What an acknowledged write survives."""

    D0 = "D0"
    """Death of clients and nodes."""
    D1 = "D1"
    """… and of the store's process; a power loss may take the last 2 seconds."""
    D2 = "D2"
    """… and power loss of an honest disk."""
    D3 = "D3"
    """… and loss of the primary: the stated number of replicas have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPolicy:
    """Limits of one task; counts and durations travel with it, so every node applies the same."""

    max_attempts: int = 3
    """Failures after which the task is dead."""
    max_crashes: int = 3
    """Crashes of its node while running it, after which it is dead."""
    backoff_ms: int = 1_000
    """Base of the wait before a retry: attempt n waits base x factor^n, capped, then jittered."""
    backoff_factor: float = 2.0
    backoff_cap_ms: int = 300_000
    jitter: bool = True
    """Draw the wait uniformly from 0 to its full length; off, wait exactly that long."""
    timeout_ms: int = 300_000
    """How long one attempt may run."""
    progress_timeout_ms: int = 0
    """How long one attempt may run without a sign of progress; 0 asks for none."""
    result_ttl_ms: int = 86_400_000
    """How long the record is kept after a completed, cancelled or expired end."""
    dead_ttl_ms: int = 604_800_000
    """How long a dead letter is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The node a task is meant for. Others that serve its route may take it once the hold-back is over, or never."""

    node_id: str
    pinned: bool = False
    """Nobody else ever, whatever happens to the node."""
    hold_back_ms: int = 1_000
    """How long past its due time a ready task that is not pinned waits for its node before anybody may take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTask:
    """What a submit asks the store to create. Durations are relative, so only the store's clock decides."""

    id: str
    """From `meshd.ids.new_id`, made for the idempotency key if there is one: a store may keep tasks where it says."""
    type: str
    payload: bytes
    route: str
    """From `routing.route_of(type, requirements)`."""
    context: bytes | None = None
    priority: Priority = Priority.NORMAL
    preferred_types: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    """Soft requirements, each `term` or `term:weight` (`routing.preference`)."""
    placement: Placement | None = None
    """Where to run; `None` leaves the task to whoever comes first."""
    decision: bytes | None = None
    """Why it is placed there, as JSON; opaque to the store."""
    delay_ms: int = 0
    expires_in_ms: int | None = None
    """Deadline, counted from the submit; the task is never started after it."""
    policy: TaskPolicy = TaskPolicy()
    idempotency_key: str | None = None
    created_by: str = ""
    watcher: str | None = None
    """Hint topic that is told when the task ends; see `TaskStore.watch`."""
    depends_on: tuple[str, ...] = ()
    """Its parents: tasks that must have completed before it is ready."""
    runs_anyway: bool = False
    """Whether it also runs when a parent ended otherwise; by default that cancels it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The store's answer to a submit."""

    task_id: str
    created: bool
    """False: the idempotency key (or the id) was known, and `task_id` names the task that has it."""
    state: TaskState
    durability: Durability


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskError:
    """One attempt that did not complete."""

    attempt: int
    kind: FailureKind
    message: str
    node_id: str
    at_ms: int
    detail: str = ""
    """Traceback or evidence, shortened."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """The whole truth about one task; all else a store keeps about it is an index. Without slots: see `task_of`."""

    id: str
    type: str
    route: str
    priority: Priority
    state: TaskState
    payload: bytes
    policy: TaskPolicy
    created_ms: int
    vt: int
    """Virtual time, its place in the order of service: first ready time plus the priority's offset. Never changes
    on retry or release, so a task keeps its age; a redrive starts anew."""
    due_ms: int
    """Not claimable before this time."""
    context: bytes | None = None
    preferred_types: tuple[str, ...] = ()
    preferences: tuple[str, ...] = ()
    placed_on: str | None = None
    """The node it is meant for; an end of the hold-back, a failure or the node's death clears it, unless pinned."""
    pinned: bool = False
    decision: bytes | None = None
    deadline_ms: int | None = None
    idempotency_key: str | None = None
    created_by: str = ""
    watchers: tuple[str, ...] = ()
    token: int = 0
    """Fencing token of the last claim, raised again when the task is taken back; strictly rising."""
    node_id: str | None = None
    """The holder while claimed or running, then whoever ended it."""
    incarnation: int = 0
    lease_until_ms: int = 0
    claims: int = 0
    starts: int = 0
    failures: int = 0
    crashes: int = 0
    generation: int = 0
    """How often it was redriven."""
    cancel_requested: bool = False
    reason: str = ""
    """Why it is cancelled, dead or expired."""
    errors: tuple[TaskError, ...] = ()
    result: bytes | None = None
    progress: float | None = None
    """0 to 1, as the handler reported it."""
    note: str = ""
    started_ms: int | None = None
    """Start of the latest attempt."""
    finished_ms: int | None = None
    depends_on: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    """Those of `depends_on` that were not known to have ended when it last was blocked."""
    runs_anyway: bool = False
    is_awaited: bool = False
    """Whether tasks wait for its end, or did when it ended."""

    @property
    def attempt(self) -> int:
        """Number of the current or next attempt, from 1."""
        return self.failures + self.crashes + 1

    @property
    def is_suspect(self) -> bool:
        """Whether it may kill its node: it was running when one died, so it runs alone from then on."""
        return self.crashes > 0


def task_of(values: dict[str, Any]) -> Task:
    """Return the task that has exactly these values, one for every field: as `Task(**values)`, many times as fast."""
    task = object.__new__(Task)
    object.__setattr__(task, "__dict__", values)
    return task


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimer:
    """Who claims, and what it can run."""

    node_id: str
    incarnation: int
    task_types: frozenset[str]
    capabilities: frozenset[str]
    """Everything it offers, as terms: `name`, `name>=level` for each level reached, `label=value`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What a claim handed out."""

    tasks: tuple[Task, ...] = ()
    suspects_wait: bool = False
    """Suspect tasks the claimer serves are ready: it gets one by a claim with `alone`, once it holds nothing."""
    now_ms: int = 0
    """The store's time at this claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """How a wait for work ended."""

    rang: bool = False
    tasks: tuple[Task, ...] = ()
    """Tasks handed over with the bell: claimed for the waiting claimer already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """What is not handed out at the moment."""

    mesh: bool = False
    """Nothing is."""
    task_types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Proof of one claim."""

    task_id: str
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """The handler returned."""

    hold: Hold
    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt failed; `retry_in_ms=None` means no retry however many attempts are left."""

    hold: Hold
    kind: FailureKind
    message: str
    retry_in_ms: int | None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Given back unharmed: ready at once, in its old place, no attempt charged."""

    hold: Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The handler stopped because a cancel was requested."""

    hold: Hold


Ending = Completed | Failed | Released | Stopped
"""How a holder ends its hold."""


class Outcome(StrEnum):
    """The store's answer about one hold."""

    OK = "ok"
    ALREADY_DONE = "already_done"
    """The same call was applied before: its answer was lost, nothing else."""
    CANCEL_REQUESTED = "cancel_requested"
    """Renewed, and the handler is asked to stop."""
    FENCED = "fenced"
    """Somebody else holds or ended the task since; nothing was changed."""
    EXPIRED = "expired"
    """The task's deadline passed; nothing else was changed."""
    WRONG_STATE = "wrong_state"
    """The hold is current, but this step is not possible from the task's state."""
    MISSING = "missing"
    """The store has no such task (any more)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What one sweep moved; quiet: no task is ready, held, or due at any time, as far as is known."""

    promoted: int = 0
    """Scheduled tasks whose time came."""
    reclaimed: int = 0
    """Lapsed holds given back to the queue."""
    opened: int = 0
    """Tasks whose node did not take them in time: anybody may now."""
    buried: int = 0
    """Lapsed holds that reached a limit and are dead."""
    expired: int = 0
    settled: int = 0
    """Blocked tasks that heard of a parent's end."""
    graced: bool = False
    """The store had stood still: leases were extended instead of judged."""
    more: bool = False
    """A limit was reached; call again at once."""
    is_quiet: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; empty fields match all."""

    states: frozenset[TaskState] = frozenset()
    type: str = ""
    node_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """Part of a listing, newest first."""

    tasks: tuple[Task, ...]
    cursor: str | None
    """Pass it to read on; `None` at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTimings:
    """How long a hold lasts, how often the store is swept, and how long a bell is waited for before looking anyway."""

    lease_ms: int = 15_000
    renew_ms: int = 5_000
    sweep_ms: int = 500
    poll_ms: int = 10_000
