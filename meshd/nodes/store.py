"""The node port: who is here.

Invariant: a write that carries a superseded or retired incarnation changes nothing. All times are the store's clock.
Every transition (joined, announced, status, dead, left) appends one event to the log `nodes` and publishes the hint
topic `nodes`, in the same atomic step.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

from meshd.nodes.model import Beat, Holder, Membership, Node, NodeFilter, NodeProfile, Sightings, Vitals

NODES_LOG = "nodes"
"""Name of the event log and of the hint topic about nodes.

Event bodies are JSON objects: `{"event": "joined"|"announced"|"status"|"drain"|"resume"|"suspect"|"partitioned"|
"recovered"|"dead"|"left", "node": id, "incarnation": n}`, `"status"` for joined and status, and `"by"`, who vouches,
for partitioned. `recovered`: it beats again after having been suspect or partitioned.
"""

MAX_SUSPECTS = 100
"""Most nodes one beat names."""


class NodeStore(Protocol):
    """Registry of nodes and of who holds which capability."""

    async def join(self, profile: NodeProfile, vitals: Vitals) -> Membership:
        """Make the node visible and eligible at once, under a new incarnation greater than any before for its id.

        - A live record of the same id is taken over: its old incarnation is retired.
        - A drain request made to an earlier incarnation is forgotten.
        """
        ...

    async def announce(self, membership: Membership, profile: NodeProfile) -> None:
        """Replace what the node declares (capabilities, agents, capacity); capability lookups follow at once.

        Raises:
            FencedError: a newer incarnation of this id has joined.
            NotFoundError: the node left, was judged dead, or the store lost it; it has to join again.
        """
        ...

    async def heartbeat(self, membership: Membership, vitals: Vitals) -> Beat:
        """Record the node's vitals and renew its place among the living, in one small write.

        A change of `vitals.status` is an event; an unchanged one is not.

        Raises:
            FencedError: a newer incarnation of this id has joined.
            NotFoundError: the node left, was judged dead, or the store lost it; it has to join again.
        """
        ...

    async def sight(self, membership: Membership, sightings: Sightings) -> None:
        """Replace what this node's probes say; shown in its record until it beats no more.

        Raises:
            FencedError: a newer incarnation of this id has joined.
            NotFoundError: the node left, was judged dead, or the store lost it.
        """
        ...

    async def vouch(self, membership: Membership, node_ids: Collection[str]) -> None:
        """Say that this node has reached those just now: for the length of a timeout no sweep judges them dead.

        - A silent node somebody vouches for is `partitioned`, not `dead`; the change is an event.
        - Nobody vouches for itself. Ids that are not members are left out.

        Raises:
            FencedError: a newer incarnation of the caller's id has joined.
            NotFoundError: the caller left, was judged dead, or the store lost it.
        """
        ...

    async def leave(self, membership: Membership) -> None:
        """Remove the node's record and index entries. Idempotent; an old incarnation removes nothing."""
        ...

    async def request_drain(self, node_id: str, *, requested: bool = True) -> None:
        """Ask a node to finish what it holds and claim no more, or withdraw that; it learns so by its next heartbeat.

        Raises:
            NotFoundError: no live node has this id.
        """
        ...

    async def get(self, node_id: str) -> Node | None:
        """Return one node's record, dead ones included, or `None`."""
        ...

    async def list(self, where: NodeFilter | None = None) -> list[Node]:
        """Return the nodes that match, sorted by id.

        - A filter on capabilities reads the records of holders only.
        - A silent node is shown `suspect`, or `partitioned` while others vouch for it, until a sweep judges it `dead`.
        - Only those alive are returned, unless `include_dead` is set.
        """
        ...

    async def holders(self, capabilities: frozenset[str]) -> Sequence[Holder]:
        """Return exactly the live nodes and agents that each hold all of `capabilities`, sorted.

        A node holds its own capabilities, its task types and all that its agents hold; an agent holds its own.
        """
        ...

    async def sweep(self) -> Sequence[Membership]:
        """Judge every node that is silent beyond its bound and that nobody vouches for dead; return those judged.

        The bound is the timeout, or more for a node whose beats have come irregularly (phi over 12: `phi.py`), at most
        `NodeTimings.MAX_STRETCH` timeouts.

        - Idempotent and safe from any number of callers: each death is returned to exactly one.
        - If nobody beat or swept for longer than `NodeTimings.gap_ms`, the store itself may have been away, and beats
          lost with it: nobody is judged for as long again, at most one timeout.
        - Dead records older than their retention are removed.
        """
        ...
