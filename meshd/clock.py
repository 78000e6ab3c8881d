"""Time as a value that is passed in, so every rule and every loop can be tested without waiting."""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns Unix time in milliseconds."""


def system_clock() -> int:
    """Return this machine's Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def store_time(real_ms: int, *, kept_ms: int, ahead_ms: int) -> tuple[int, int]:
    """Return a store's time, never before `kept_ms`, the largest it has given, and how far it is ahead of `real_ms`.

    When the machine's clock is set back, the store's goes on from where it was instead of standing still until the
    machine has caught up; when the machine is set right again, the store follows it.
    """
    if real_ms >= kept_ms:
        return real_ms, 0
    now_ms = max(kept_ms, real_ms + ahead_ms)
    return now_ms, now_ms - real_ms


class ManualClock:
    """A clock that moves only when told to."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, *, ms: int = 0, seconds: float = 0) -> None:
        """Move forward by `ms` milliseconds plus `seconds` seconds."""
        self.now_ms += ms + int(seconds * 1000)
