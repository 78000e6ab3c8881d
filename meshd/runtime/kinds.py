"""What a node's type keeps it from: some kinds run no tasks, one is nothing without its replica."""

from collections.abc import Collection

from meshd.errors import ConfigurationError
from meshd.nodes.model import TASKLESS, NodeType


def decides(node_type: str, *, capacity: int) -> bool:
    """Return whether a node of this type sees to votes and tallies: not if that could keep it from its one task."""
    return node_type == NodeType.COORDINATOR or (node_type not in {*TASKLESS, NodeType.BRIDGE} and capacity > 1)


def check_kind(node_type: str, *, task_types: Collection[str], keeps_replica: bool) -> None:
    """Return if a node of this type may be what it is set up to be.

    Raises:
        ConfigurationError: it has handlers and its kind runs no tasks, or it is to store and keeps no replica.
    """
    if node_type in TASKLESS and task_types:
        raise ConfigurationError(
            f"a node of type {node_type} runs no tasks, and this one has handlers of {', '.join(sorted(task_types))}: "
            f"leave them out, or use type {NodeType.WORKER}"
        )
    if node_type == NodeType.STORAGE and not keeps_replica:
        raise ConfigurationError(
            f"a node of type {node_type} keeps a replica of the shared memory: set memory_sync.enabled to true"
        )
