"""How tasks ended of late, counted from the event log: exact as far back as the log reaches."""

from dataclasses import dataclass
from datetime import timedelta

from meshd.errors import InvalidArgumentError, LogTrimmedError
from meshd.events import START, EventBus
from meshd.tasks.model import TaskState
from meshd.tasks.store import TASKS_LOG

PAGE = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRate:
    """Tasks that completed, and tasks that died, within a window."""

    completed: int
    failed: int
    covered_ms: int
    """How far back the log reached; less than the window when older events are trimmed or there are none."""

    @property
    def rate(self) -> float | None:
        """Completed share of both, 0 to 1; `None` when no task ended so."""
        ended = self.completed + self.failed
        return self.completed / ended if ended else None


async def completion_rate(events: EventBus, *, window: timedelta) -> CompletionRate:
    """Count how tasks ended in the last `window`, by the store's time of the newest event.

    Raises:
        InvalidArgumentError: the window is not longer than nothing.
    """
    if window <= timedelta(0):
        raise InvalidArgumentError(f"window {window} is not over 0")
    ends: list[tuple[int, bool]] = []
    cursor, first_ms, last_ms = START, 0, 0
    while True:
        try:
            page = await events.read(TASKS_LOG, after=cursor, limit=PAGE)
        except LogTrimmedError:
            cursor, first_ms = START, 0
            ends.clear()
            continue
        if not page:
            break
        cursor, first_ms, last_ms = page[-1].cursor, first_ms or page[0].at_ms, page[-1].at_ms
        for event in page:
            state = event.body["state"]
            if state in (TaskState.COMPLETED, TaskState.DEAD):
                ends.append((event.at_ms, state == TaskState.COMPLETED))
    since_ms = last_ms - window // timedelta(milliseconds=1)
    kept = [is_completed for at_ms, is_completed in ends if at_ms >= since_ms]
    return CompletionRate(
        completed=sum(kept), failed=len(kept) - sum(kept), covered_ms=last_ms - max(first_ms, since_ms)
    )
