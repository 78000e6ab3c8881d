"""The demo's bookkeeping: what happened, folded from the mesh's own event log and the ended tasks. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from meshd.events import Event
from meshd.tasks.model import Task, TaskState


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a run came to; every number was measured."""

    submitted: int
    completed: int
    rerun: int
    """Tasks started more than once."""
    lost: int
    """Tasks submitted that never ended."""
    double_completions: int
    """Completions recorded beyond the first of a task."""
    killed: tuple[str, ...]
    per_node: Mapping[str, int]
    """Tasks completed by each node."""
    queue_p50_ms: float
    """From submit to first start."""
    queue_p99_ms: float
    seconds: float
    """From the first submit to the last end."""
    backend: str

    @property
    def is_clean(self) -> bool:
        """Everything completed, nothing lost, nothing completed twice."""
        return self.completed == self.submitted and self.lost == 0 and self.double_completions == 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return {
            "submitted": self.submitted,
            "completed": self.completed,
            "rerun": self.rerun,
            "lost": self.lost,
            "double_completions": self.double_completions,
            "killed": list(self.killed),
            "per_node": dict(self.per_node),
            "queue_ms": {"p50": self.queue_p50_ms, "p99": self.queue_p99_ms},
            "seconds": self.seconds,
            "backend": self.backend,
        }


@dataclass(slots=True)
class Ledger:
    """Takes events and ended tasks as they come; order and repeats among ended tasks do not matter."""

    submitted_ms: dict[str, int] = field(default_factory=dict[str, int])
    first_start_ms: dict[str, int] = field(default_factory=dict[str, int])
    starts: Counter[str] = field(default_factory=Counter[str])
    completions: Counter[str] = field(default_factory=Counter[str])
    ended: dict[str, Task] = field(default_factory=dict[str, Task])
    completed_by: Counter[str] = field(default_factory=Counter[str])

    def read(self, events: Iterable[Event]) -> None:
        """Take entries of the event log `tasks`."""
        for event in events:
            task_id = str(event.body["task"])
            match event.body["event"]:
                case "submitted":
                    self.submitted_ms[task_id] = event.at_ms
                case "started":
                    self.first_start_ms.setdefault(task_id, event.at_ms)
                    self.starts[task_id] += 1
                case "completed":
                    self.completions[task_id] += 1
                case _:
                    pass

    def end(self, task: Task) -> None:
        """Take a task that ended."""
        if task.id not in self.ended and task.state is TaskState.COMPLETED:
            self.completed_by[task.node_id or "?"] += 1
        self.ended[task.id] = task

    def facts(self, task_ids: Sequence[str], *, killed: Sequence[str], seconds: float, backend: str) -> Facts:
        """Return what became of the tasks named."""
        wanted = set(task_ids)
        waits = sorted(
            start - self.submitted_ms[task_id]
            for task_id, start in self.first_start_ms.items()
            if task_id in wanted and task_id in self.submitted_ms
        )
        return Facts(
            submitted=len(wanted),
            completed=sum(1 for task in self.ended.values() if task.state is TaskState.COMPLETED),
            rerun=sum(1 for task_id, starts in self.starts.items() if starts > 1 and task_id in wanted),
            lost=len(wanted - self.ended.keys()),
            double_completions=sum(count - 1 for task_id, count in self.completions.items() if task_id in wanted),
            killed=tuple(killed),
            per_node=dict(sorted(self.completed_by.items())),
            queue_p50_ms=percentile(waits, 50),
            queue_p99_ms=percentile(waits, 99),
            seconds=round(seconds, 3),
            backend=backend,
        )


def percentile(ordered: Sequence[int], percent: int) -> float:
    """Return the nearest-rank percentile of ascending values; 0 for none."""
    return float(ordered[ceil(percent * len(ordered) / 100) - 1]) if ordered else 0.0
