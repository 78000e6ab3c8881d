"""Who may run a task, and in what order tasks are served. Pure.

A **route** is the canonical name of a set of requirements: the task type, then the required capabilities in order,
joined by `+`. Names never contain `+`, so a route can be taken apart again.

**Order of service** is a static key: virtual time = ready time + the priority's offset. Ageing at equal rates never
changes the order of two tasks, so no loop re-prioritises anything, and the guarantee is exact: a task is overtaken only
by tasks that became ready less than its offset later. (Virtual-time fair queueing: Demers, Keshav, Shenker 1989.)
"""

from collections.abc import Iterable

from meshd.tasks.model import Claimer, Priority

OFFSETS_MS: dict[Priority, int] = {
    Priority.CRITICAL: 0,
    Priority.HIGH: 10_000,
    Priority.NORMAL: 30_000,
    Priority.LOW: 90_000,
    Priority.BACKGROUND: 270_000,
}
"""Head start of each priority over the ones below, in milliseconds."""


def route_of(task_type: str, requirements: Iterable[str] = ()) -> str:
    """Return the route of a task: equal sets of requirements give equal routes."""
    return "+".join([task_type, *sorted(set(requirements) - {task_type})])


def requirements_of(route: str) -> tuple[str, frozenset[str]]:
    """Return the task type and the further capabilities a route requires."""
    task_type, *capabilities = route.split("+")
    return task_type, frozenset(capabilities)


def serves(claimer: Claimer, route: str) -> bool:
    """Return whether the claimer has a handler for the route's type and holds every capability it requires."""
    task_type, capabilities = requirements_of(route)
    return task_type in claimer.task_types and capabilities <= claimer.capabilities | claimer.task_types


def virtual_time(ready_ms: int, priority: Priority) -> int:
    """Return the task's place in the order of service; smaller is served first."""
    return ready_ms + OFFSETS_MS[priority]
