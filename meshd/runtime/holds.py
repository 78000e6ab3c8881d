"""The node's holds, shared between the loop that runs tasks and the thread that renews their leases."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from meshd.tasks.model import Hold, Task

RENEW_GRACE_MS = 5_000
"""A hold is renewed this much longer than its task's time-outs, so that they themselves can still be reported."""


@dataclass(slots=True, kw_only=True)
class HeldTask:
    """One hold, and how long its lease is kept alive. Times are monotonic seconds."""

    hold: Hold
    renew_until: float
    """Then the lease is left to lapse: the attempt is past its timeout, whatever it does."""
    quiet_s: float
    """Longest time without progress for which the lease is kept alive; 0 when none is asked for."""
    progress_at: float

    def is_worth_renewing(self, now: float) -> bool:
        return now < self.renew_until and (self.quiet_s == 0 or now < self.progress_at + self.quiet_s)


class Holds:
    """Thread-safe: the worker adds and removes, the pulse takes snapshots."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[str, HeldTask] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, task: Task, hold: Hold) -> None:
        """Have the hold's lease renewed for as long as the task's policy lets an attempt run."""
        now = self._clock()
        policy = task.policy
        quiet_ms = policy.progress_timeout_ms
        held = HeldTask(
            hold=hold,
            renew_until=now + (policy.timeout_ms + RENEW_GRACE_MS) / 1000,
            quiet_s=(quiet_ms + RENEW_GRACE_MS) / 1000 if quiet_ms else 0,
            progress_at=now,
        )
        with self._lock:
            self._held[hold.task_id] = held

    def progressed(self, hold: Hold) -> None:
        """The attempt gave a sign of progress."""
        with self._lock:
            held = self._held.get(hold.task_id)
            if held is not None and held.hold.token == hold.token:
                held.progress_at = self._clock()

    def all(self) -> list[Hold]:
        """Return every hold."""
        with self._lock:
            return [held.hold for held in self._held.values()]

    def remove(self, hold: Hold) -> None:
        """Stop renewing; a newer hold of the same task is left alone."""
        with self._lock:
            held = self._held.get(hold.task_id)
            if held is not None and held.hold.token == hold.token:
                del self._held[hold.task_id]

    def to_renew(self) -> list[Hold]:
        """Return the holds whose leases must live on."""
        now = self._clock()
        with self._lock:
            return [held.hold for held in self._held.values() if held.is_worth_renewing(now)]
