"""The node service: who is here, as any process sees it."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace

from meshd.errors import NotFoundError
from meshd.nodes.model import Holder, Node, NodeFilter
from meshd.nodes.store import NodeStore

OpenCounts = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]
"""How many tasks each of these nodes holds at this moment."""

CallNode = Callable[[str], Awaitable[None]]
"""Tells a node to beat now."""


class NodeService:
    """Read the registry and steer nodes."""

    def __init__(self, store: NodeStore, *, open_counts: OpenCounts, call_node: CallNode) -> None:
        self._store = store
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
