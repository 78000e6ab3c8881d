"""What may happen to a task, as values: `states.apply` says what follows from each."""

from dataclasses import dataclass

from meshd.tasks.model import FailureKind, Priority

LAPSED = "its lease lapsed while it was running"
GONE = "its node was gone while it was running"
"""What a crash error says, after why the holder lost the task."""

MAX_CLAIMS = 20
"""A task claimed this often without an end is dead: something keeps killing its claimers before they start it."""

FORGOTTEN = "forgotten"
"""How a task ended of which only that is known: taken for a failure."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Await:
    """Another task waits for this one's end from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentEnded:
    """A task it may be waiting for has ended, and is to be settled."""

    parent: str
    how: str
    """The state it ended in, or `FORGOTTEN`."""
    now_ms: int


HolderEvent = Start | Renew | Progress | Complete | Fail | Release | Stop
TaskEvent = (
    Claim | HolderEvent | Promote | Open | Reprioritize | Reclaim | Cancel | Expire | Redrive | Await | ParentEnded
)
