"""The node's holds, shared between the loop that runs tasks and the thread that renews their leases."""

import threading
import time
from dataclasses import dataclass

from meshd.tasks.model import Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTask:
    hold: Hold
    renew_until: float
    """Monotonic time after which the lease is left to lapse: the attempt is past its timeout, whatever it does."""


class Holds:
    """Thread-safe: the worker adds and removes, the pulse takes snapshots."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[str, HeldTask] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, hold: Hold, *, renew_for_ms: int) -> None:
        """Have the hold's lease renewed for up to `renew_for_ms` from now."""
        held = HeldTask(hold=hold, renew_until=time.monotonic() + renew_for_ms / 1000)
        with self._lock:
            self._held[hold.task_id] = held

    def remove(self, hold: Hold) -> None:
        """Stop renewing; a newer hold of the same task is left alone."""
        with self._lock:
            held = self._held.get(hold.task_id)
            if held is not None and held.hold.token == hold.token:
                del self._held[hold.task_id]

    def to_renew(self) -> list[Hold]:
        """Return the holds whose leases must live on."""
        now = time.monotonic()
        with self._lock:
            return [held.hold for held in self._held.values() if now < held.renew_until]
