"""What keeps a node from taking a task, predicate by predicate. Pure.

One list serves placement, which leaves such nodes out, and `explain`, which says why: the two cannot disagree.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from meshd.nodes.model import Node, NodeStatus, Verdict
from meshd.tasks.model import Claimer, Pauses, Task, TaskState
from meshd.tasks.routing import held_instead, requirements_of, unmet


class ObstacleKind(StrEnum):
    """Why a node does not take a task."""

    DEAD = "dead"
    SILENT = "silent"
    """Its last beat is older than the node timeout."""
    INITIALIZING = "initializing"
    SHUTTING_DOWN = "shutting_down"
    DRAINING = "draining"
    NO_HANDLER = "no_handler"
    UNMET = "unmet"
    """A required term it does not meet."""
    EXCLUDED = "excluded"
    FULL = "full"
    PAUSED = "paused"
    MEANT_FOR_ANOTHER = "meant_for_another"
    RUNS_ALONE = "runs_alone"
    """The task may kill its node, so it goes to a node that holds nothing else."""


LASTING = frozenset({ObstacleKind.NO_HANDLER, ObstacleKind.UNMET, ObstacleKind.EXCLUDED})
"""Those that only a change of the node or of the task can end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One failing predicate."""

    kind: ObstacleKind
    detail: str
    term: str = ""
    """The required term that is not met, if that is what fails."""

    @property
    def key(self) -> str:
        """What to count it under: the term, else the kind."""
        return self.term or self.kind.value


def of_condition(node: Node) -> list[Obstacle]:
    """Return what the state of a node has against any task."""
    found: list[Obstacle] = []
    if node.verdict is Verdict.DEAD:
        return [Obstacle(kind=ObstacleKind.DEAD, detail="judged dead")]
    if node.verdict is Verdict.PARTITIONED:
        detail = f"cut from the store for {node.beat_age_ms / 1000:.1f} s, though {node.vouched_by} reaches it"
        found.append(Obstacle(kind=ObstacleKind.SILENT, detail=detail))
    elif node.verdict is Verdict.SUSPECT:
        found.append(Obstacle(kind=ObstacleKind.SILENT, detail=f"no sign of life for {node.beat_age_ms / 1000:.1f} s"))
    if node.vitals.status is NodeStatus.SHUTTING_DOWN:
        found.append(Obstacle(kind=ObstacleKind.SHUTTING_DOWN, detail="finishes what it has and leaves"))
    elif node.drain_requested:
        found.append(Obstacle(kind=ObstacleKind.DRAINING, detail="was asked to drain"))
    elif node.vitals.status is NodeStatus.INITIALIZING:
        found.append(Obstacle(kind=ObstacleKind.INITIALIZING, detail="still prepares its handlers"))
    return found


def of_route(claimer: Claimer, route: str) -> list[Obstacle]:
    """Return the terms of a route that a claimer does not meet, each with what is there instead."""
    task_type, _ = requirements_of(route)
    return [_unmet(claimer, term, is_type=term == task_type) for term in unmet(claimer, route)]


def of_slots(node: Node, open_tasks: int) -> list[Obstacle]:
    """Return whether every slot of the node is taken."""
    if open_tasks < node.slots:
        return []
    eased = "degraded, so it holds one at a time: " if node.slots < node.profile.capacity else ""
    return [Obstacle(kind=ObstacleKind.FULL, detail=f"{eased}{open_tasks} of {node.slots} slots taken")]


def of_task(task: Task, node: Node, *, pauses: Pauses, meant_until: str) -> list[Obstacle]:
    """Return what the task's own state has against this node: a pause, a placement elsewhere, a doubt about it."""
    found: list[Obstacle] = []
    if pauses.mesh:
        found.append(Obstacle(kind=ObstacleKind.PAUSED, detail="the whole mesh is paused"))
    elif task.type in pauses.task_types:
        found.append(Obstacle(kind=ObstacleKind.PAUSED, detail=f"tasks of type {task.type} are paused"))
    if task.placed_on not in (None, node.id):
        how = f"pinned to {task.placed_on}" if task.pinned else f"meant for {task.placed_on}{meant_until}"
        found.append(Obstacle(kind=ObstacleKind.MEANT_FOR_ANOTHER, detail=how))
    if task.is_suspect and task.state is TaskState.READY and node.vitals.open_tasks > 0:
        told = f"it was running when a node died ({task.crashes} so far), so it waits for a node that holds nothing"
        found.append(Obstacle(kind=ObstacleKind.RUNS_ALONE, detail=f"{told}; this one holds {node.vitals.open_tasks}"))
    return found


def lasting(obstacles: Iterable[Obstacle]) -> list[Obstacle]:
    """Return those that waiting does not end."""
    return [obstacle for obstacle in obstacles if obstacle.kind in LASTING]


def _unmet(claimer: Claimer, term: str, *, is_type: bool) -> Obstacle:
    if is_type:
        return Obstacle(kind=ObstacleKind.NO_HANDLER, term=term, detail=f"no handler for {term}")
    if term.startswith("!"):
        return Obstacle(kind=ObstacleKind.EXCLUDED, term=term, detail="the task excludes this node")
    instead = held_instead(claimer.capabilities | claimer.task_types, term)
    return Obstacle(
        kind=ObstacleKind.UNMET, term=term, detail=f"{term}: {f'has {instead}' if instead else 'not there'}"
    )
