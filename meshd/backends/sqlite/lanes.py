"""Lanes: where a ready task waits within its route's queue – open to all or for one node, and suspects apart.

A lane is written `` (open), `@node`, `!` (suspects) or `!@node`.
"""

from meshd.tasks.model import Task, TaskState


def lane_of(task: Task) -> str | None:
    """Return the lane a task waits in, `None` while it is not ready."""
    if task.state is not TaskState.READY:
        return None
    suspect = "!" if task.is_suspect else ""
    return suspect if task.placed_on is None else f"{suspect}@{task.placed_on}"


def lanes_for(node_id: str, *, suspects: bool) -> tuple[str, str]:
    """Return the lanes a node takes from: suspects, or everything else."""
    return ("!", f"!@{node_id}") if suspects else ("", f"@{node_id}")


def node_of(lane: str) -> str:
    """Return the only node that may take from the lane, empty for an open one."""
    return lane.partition("@")[2]
