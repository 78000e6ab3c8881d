"""Which lives of nodes are over, as far as one process has heard: from the log of nodes, and from looks at who is here.

Nobody is taken for gone who was not heard of: only who joined again, left, was judged dead, or was missing in a list
that was asked for after it was known to be here.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_KEPT = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """How it is learned who is here."""

    topic: str
    """Hints there are events of the log of nodes."""
    here: Callable[[], Awaitable[Mapping[str, int]]]
    """Returns the incarnation of each member that is not dead."""


class Lives:
    """What is known of each node's lives."""

    def __init__(self) -> None:
        self._over: OrderedDict[str, int] = OrderedDict()
        """Node → its latest incarnation that is over."""

    def hear(self, body: Mapping[str, Any]) -> str:
        """Take an event of the log of nodes; return the node of which a life is over now, or nothing."""
        event, node, incarnation = body.get("event"), body.get("node", ""), body.get("incarnation", 0)
        if event in ("dead", "left"):
            return node if self._end(node, incarnation) else ""
        if event == "joined":
            return node if self._end(node, incarnation - 1) else ""
        return ""

    def look(self, here: Mapping[str, int], expected: Iterable[tuple[str, int]]) -> set[str]:
        """Take who is here, and who was expected before that was asked; return the nodes of which a life is over now.

        `here` has each node's incarnation; the expected ones are pairs of node and incarnation.
        """
        gone = {(node, incarnation) for node, incarnation in expected if here.get(node, -1) != incarnation}
        older = {(node, incarnation) for node, incarnation in gone if incarnation < here.get(node, incarnation + 1)}
        return {node for node, incarnation in older if self._end(node, incarnation)}

    def is_over(self, node: str, incarnation: int) -> bool:
        """Return whether this life of the node is over."""
        return incarnation <= self._over.get(node, -1)

    def _end(self, node: str, incarnation: int) -> bool:
        """Note the end; return whether it is news."""
        if incarnation <= self._over.get(node, -1):
            return False
        self._over[node] = incarnation
        self._over.move_to_end(node)
        if len(self._over) > MAX_KEPT:
            self._over.popitem(last=False)
        return True
