"""The node service: who is here, as any process sees it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from meshd.errors import NotFoundError
from meshd.events import EventBus
from meshd.nodes.history import NodeEvent, SplitEvent, history, splits, uptimes
from meshd.nodes.model import Holder, Node, NodeFilter, Verdict
from meshd.nodes.partitions import Partition, edge_faults, partitions
from meshd.nodes.store import NodeStore
from meshd.nodes.uptime import Uptime
from meshd.nodes.verdicts import Evidence, evidence_of

OpenCounts = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]
"""How many tasks each of these nodes holds at this moment."""

CallNode = Callable[[str], Awaitable[None]]
"""Tells a node to beat now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connectivity:
    """Which members reach each other, as the hub knows it."""

    partitions: Sequence[Partition]
    """One while the mesh is whole; those that hold the hub first."""
    cut_from_hub: Sequence[str]
    """Nodes the hub does not hear and others reach."""
    unheard: Sequence[str]
    """Nodes nobody hears: dead, or on a side of their own without the hub."""
    edge_faults: Sequence[tuple[str, str]]
    """Pairs within a partition that do not reach each other directly."""
    probes: int
    """How many nodes tell what they probed; without any, only the hub's view is known."""
    read_ms: int

    @property
    def is_whole(self) -> bool:
        return len(self.partitions) <= 1 and not self.cut_from_hub


class NodeService:
    """Read the registry and steer nodes."""

    def __init__(self, store: NodeStore, *, events: EventBus, open_counts: OpenCounts, call_node: CallNode) -> None:
        self._store = store
        self._events = events
        self._open_counts = open_counts
        self._call_node = call_node

    async def list(
        self, *, capabilities: Collection[str] = (), types: Collection[str] = (), include_dead: bool = False
    ) -> Sequence[Node]:
        """Return the nodes that match, sorted by id, each with the number of tasks it holds at this moment."""
        where = NodeFilter(capabilities=frozenset(capabilities), types=frozenset(types), include_dead=include_dead)
        return await self._with_open_tasks(await self._store.list(where))

    async def get(self, node_id: str) -> Node:
        """Return one node, dead ones included.

        Raises:
            NotFoundError: the mesh knows no such node.
        """
        node = await self._store.get(node_id)
        if node is None:
            raise NotFoundError(f"node {node_id!r} is not in this mesh; `mesh nodes list` shows who is")
        return (await self._with_open_tasks([node]))[0]

    async def holders(self, capabilities: Collection[str]) -> Sequence[Holder]:
        """Return exactly the live nodes and agents that each hold all of `capabilities`."""
        return await self._store.holders(frozenset(capabilities))

    async def evidence(self, node_id: str) -> Evidence:
        """Return why the mesh takes a node for what it does: its silence, and who reaches it and who does not.

        Raises:
            NotFoundError: the mesh knows no such node.
        """
        everybody = await self._store.list(NodeFilter(include_dead=True))
        node = next((node for node in everybody if node.id == node_id), None)
        return evidence_of(node or await self.get(node_id), everybody)

    async def connectivity(self) -> Connectivity:
        """Return the partitions of the mesh, from what live nodes last probed."""
        return connectivity_of(await self._store.list(NodeFilter(include_dead=True)))

    async def partitions(self) -> Sequence[Partition]:
        """Return the groups of nodes that reach each other; one while the mesh is whole."""
        return (await self.connectivity()).partitions

    async def history(self, node_id: str = "", *, limit: int = 50) -> Sequence[NodeEvent]:
        """Return the newest transitions of one node, or of all, oldest first: `left` is told apart from `dead`.

        Raises:
            InvalidArgumentError: the limit is not over 0.
        """
        return await history(self._events, node_id=node_id, limit=limit)

    async def splits(self, *, limit: int = 10) -> Sequence[SplitEvent]:
        """Return the newest splits of the mesh and their ends, oldest first, as whoever plays `topology` saw them."""
        return await splits(self._events, limit=limit)

    async def uptimes(self, *, window: timedelta = timedelta(hours=24)) -> Mapping[str, Uptime]:
        """Return how much of the last `window` each node was there, as far back as the event log reaches.

        Raises:
            InvalidArgumentError: the window is not longer than nothing.
        """
        nodes = await self._store.list(NodeFilter(include_dead=True))
        return await uptimes(self._events, now_ms=max((node.read_ms for node in nodes), default=0), window=window)

    async def drain(self, node_id: str) -> None:
        """Ask a node to finish what it holds and claim no more; it learns so at once, or with its next heartbeat.

        Raises:
            NotFoundError: no live node has this id.
        """
        await self._store.request_drain(node_id)
        await self._call_node(node_id)

    async def resume(self, node_id: str) -> None:
        """Withdraw `drain`: the node claims again.

        Raises:
            NotFoundError: no live node has this id.
        """
        await self._store.request_drain(node_id, requested=False)
        await self._call_node(node_id)

    async def _with_open_tasks(self, nodes: Sequence[Node]) -> Sequence[Node]:
        counts: Mapping[str, int] = await self._open_counts([node.id for node in nodes]) if nodes else {}
        return [replace(node, vitals=replace(node.vitals, open_tasks=counts.get(node.id, 0))) for node in nodes]


def connectivity_of(nodes: Sequence[Node]) -> Connectivity:
    """Return what the records of all nodes, dead ones included, say about who reaches whom."""
    living = [node for node in nodes if node.verdict is Verdict.ALIVE]
    cut = [node for node in nodes if node.verdict is Verdict.PARTITIONED]
    sightings = {node.id: node.sightings for node in living}
    for node in cut:
        voucher = sightings.get(node.vouched_by)
        if voucher is not None:
            sightings[node.vouched_by] = replace(voucher, reached=voucher.reached | {node.id})
    members = [node.id for node in (*living, *cut)]
    return Connectivity(
        partitions=partitions(members, sightings, on_hub=[node.id for node in living]),
        cut_from_hub=[node.id for node in cut],
        unheard=[node.id for node in nodes if node.verdict in (Verdict.SUSPECT, Verdict.DEAD)],
        edge_faults=edge_faults(members, sightings),
        probes=sum(1 for node in living if node.sightings.at_ms),
        read_ms=max((node.read_ms for node in nodes), default=0),
    )
