"""The invariants of stored tasks, and what an audit finds. Pure."""

from dataclasses import dataclass
from enum import StrEnum


class Invariant(StrEnum):
    """What must hold of every task between two steps (a step is one atomic call)."""

    ONE_PLACE = "I1"
    """A task is in exactly one of: scheduled, blocked, ready, leased, ended."""
    HELD_MEANS_LEASED = "I2"
    """Claimed or running if and only if leased, with a holder and a token."""
    ONE_END = "I3"
    """At most one completion; an end absorbs."""
    TOKENS_RISE = "I4"
    """No token is above the fence that gives them out."""
    WITHIN_LIMITS = "I5"
    """Claims, crashes and failures of a task that has not ended are below their limits."""
    PARENTS_FIRST = "I6"
    """A task that waits for others is not ready."""
    ONE_TASK_PER_KEY = "I7"
    """An idempotency key names one kept task, and that task names the key."""
    HAS_A_VISITOR = "I9"
    """Something will look at every task that has not ended: a queue, a due time, a lease."""
    COUNTS_AGREE = "counts"
    """The counters say how many tasks are in each state."""
    NO_STRAYS = "strays"
    """No index entry names a task that does not exist."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One breach."""

    invariant: Invariant
    subject: str
    """Task id, key or index."""
    what: str
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """What one part of an audit saw."""

    checked: int = 0
    """Tasks looked at."""
    findings: tuple[Finding, ...] = ()
    cursor: str | None = None
    """Pass it to go on; `None` at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What a whole audit saw."""

    checked: int
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong now: no breach was found, or each was repaired."""
        return all(finding.repaired for finding in self.findings)
