"""What a running handler can see and say."""

import threading
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from meshd import codec
from meshd.tasks.model import Priority, Task

Report = Callable[[float | None, str], None]

running_task: ContextVar[str] = ContextVar("meshd_running_task", default="")
"""Id of the task whose handler is running here; empty outside of one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporters:
    """How a context speaks to its node; both may be called from any thread."""

    progress: Report
    heartbeat: Callable[[], None]


class TaskContext:
    """The task being run. Annotate a handler's parameter with this type to receive it; usable from any thread."""

    def __init__(self, task: Task, *, stopping: threading.Event, reporters: Reporters) -> None:
        self._task = task
        self._stopping = stopping
        self._reporters = reporters

    @property
    def task_id(self) -> str:
        return self._task.id

    @property
    def task_type(self) -> str:
        return self._task.type

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._task.attempt

    @property
    def priority(self) -> Priority:
        return self._task.priority

    @property
    def token(self) -> int:
        """Fencing token of this attempt: pass it to whatever the handler changes outside the mesh."""
        return self._task.token

    @property
    def value(self) -> Any:
        """The context the submitter sent along, `None` when there was none."""
        return None if self._task.context is None else codec.decode(self._task.context)

    @property
    def deadline(self) -> datetime | None:
        """When the task expires, in UTC by the store's clock."""
        deadline_ms = self._task.deadline_ms
        return None if deadline_ms is None else datetime.fromtimestamp(deadline_ms / 1000, UTC)

    @property
    def cancelled(self) -> bool:
        """Whether this attempt must stop: cancelled, out of time, draining, or its lease was lost."""
        return self._stopping.is_set()

    def progress(self, fraction: float | None = None, note: str = "") -> None:
        """Tell the mesh how far this attempt is (0 to 1). Never blocks; reports are merged, the last one counts.

        Each call is a sign of progress: it restarts the task's progress timeout.
        """
        self._reporters.progress(fraction, note)

    def heartbeat(self) -> None:
        """Ask for this task's lease to be renewed now, and for a cancel to be noticed now. Never blocks.

        Each call is a sign of progress: it restarts the task's progress timeout.
        """
        self._reporters.heartbeat()
