"""The topology service: who talks to whom, as any process sees it. It reads what a `TopologyManager` writes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from random import Random
from statistics import median
from time import monotonic
from typing import Any

from meshd.events import START, EventBus
from meshd.nodes.model import Node
from meshd.records import Record, RecordStore
from meshd.topology.graph import (
    NEIGHBOURS,
    Length,
    Path,
    graph_at,
    neighbours,
    node_weights,
    statistics,
    strongest_path,
    weights_from,
)
from meshd.topology.keeping import KeepingOptions, members_of
from meshd.topology.model import TOPOLOGY_LOG, Edge, Graph, GraphStatistics
from meshd.topology.recorded import (
    CURSOR_KEY,
    OUT_PREFIX,
    Out,
    decode_out,
    encode_cursor,
    encode_out,
    graph_from,
    moved_to,
    out_key,
    snapshot_of,
)
from meshd.topology.selection import shape_for

FRESH_SECONDS = 5.0
"""Longest `nearness` answers from the graph as it was last read."""
MAX_OWN = 64
"""Most agents of one node whose edges `nearness` reads."""

PAGE = 100

LookAtNodes = Callable[[], Awaitable[Sequence[Node]]]


class TopologyService:
    """Read the graph, ask it for ways and neighbours, keep and bring back what it was."""

    def __init__(
        self,
        records: RecordStore,
        events: EventBus,
        options: KeepingOptions | None = None,
        *,
        look_at_nodes: LookAtNodes | None = None,
        rng: Random | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._records = records
        self._events = events
        self._options = options or KeepingOptions()
        self._look = look_at_nodes
        self._rng = rng or Random()
        self._clock = clock
        self._near: tuple[float, str, Mapping[str, float]] | None = None

    async def graph(self) -> Graph:
        """Return the graph at this moment of the store's clock: weights aged, edges whose time is over left out."""
        homes: dict[str, str] = {}
        edges: list[Edge] = []
        now_ms = 0
        for record in await self._outs():
            out = decode_out(record.key, record.value)
            homes[out.agent] = out.home
            edges += out.edges
            now_ms = max(now_ms, record.read_ms)
        shape = self._options.shape or shape_for(len(homes), full_mesh_up_to=self._options.full_mesh_up_to)
        return graph_at(edges, homes, now_ms=now_ms, rules=self._options.rules, shape=shape)

    async def statistics(self, graph: Graph | None = None) -> GraphStatistics:
        """Return the numbers of the graph at this moment, or of one read before."""
        return statistics(graph or await self.graph(), self._options.rules)

    async def path(self, start: str, end: str, *, avoid: frozenset[str] = frozenset()) -> Path | None:
        """Return the cheapest way by length over weight, `None` if the two are cut from each other.

        The length of an edge is the round trip its nodes measured, in milliseconds, at least 1; 1 where none was.

        Raises:
            NotFoundError: one of the two is not in the topology.
        """
        graph = await self.graph()
        length = None if self._look is None else length_by(await self._look(), graph.homes)
        return strongest_path(graph, start, end, length=length, avoid=avoid)

    async def neighbours(self, agent: str, *, count: int = NEIGHBOURS) -> tuple[str, ...]:
        """Return whom an agent should look to: the `count` its edges are thickest to, and one more by lot.

        Raises:
            NotFoundError: it is not in the topology.
        """
        graph = await self.graph()
        others = [each for each in graph.agents if each != agent]
        return neighbours(weights_from(graph, agent), others, rng=self._rng, count=count)

    async def nearness(self, node: str) -> Mapping[str, float]:
        """Return, for each other node, the most weight of an edge there from `node`, as of five seconds ago at most."""
        now = self._clock()
        if self._near is None or self._near[1] != node or now - self._near[0] >= FRESH_SECONDS:
            self._near = (now, node, await self._near_to(node))
        return self._near[2]

    async def _near_to(self, node: str) -> Mapping[str, float]:
        if self._look is None:
            return node_weights(await self.graph(), node)
        homes = members_of(await self._look())
        own = sorted(agent for agent, home in homes.items() if home == node)[:MAX_OWN]
        records = await asyncio.gather(*(self._records.get(out_key(agent)) for agent in own))
        found = [record for record in records if record is not None]
        edges = [edge for record in found for edge in decode_out(record.key, record.value).edges]
        now_ms = max((record.read_ms for record in found), default=0)
        return node_weights(graph_at(edges, homes, now_ms=now_ms, rules=self._options.rules), node)

    async def snapshot(self) -> dict[str, Any]:
        """Return the graph at this moment as plain JSON types."""
        return snapshot_of(await self.graph())

    async def restore(self, snapshot: Mapping[str, Any]) -> Graph:
        """Have the topology be what it was when the snapshot was made, as if that were now; return it.

        Agents that are no longer in the mesh go at the next round of the manager; those it did not know come in as new.
        Uses told before this count nothing any more.

        Raises:
            InvalidArgumentError: this is no snapshot; nothing was changed.
        """
        graph = graph_from(snapshot)
        cursor = await self._events.latest(TOPOLOGY_LOG)
        await self._records.put(CURSOR_KEY, encode_cursor(cursor))
        place = await self._records.get(CURSOR_KEY)
        now_ms = graph.at_ms if place is None else place.read_ms
        edges: dict[str, list[Edge]] = {agent: [] for agent in graph.agents}
        for edge in graph.edges:
            edges[edge.source].append(moved_to(edge, from_ms=graph.at_ms, now_ms=now_ms))
        for record in await self._outs():
            if record.key.removeprefix(OUT_PREFIX) not in edges:
                await self._records.delete(record.key)
        for agent, own in edges.items():
            out = Out(agent=agent, home=graph.homes[agent], cursor=cursor or START, edges=own)
            await self._records.put(out_key(agent), encode_out(out))
        await self._records.put(CURSOR_KEY, encode_cursor(cursor))
        self._near = None
        return await self.graph()

    async def _outs(self) -> list[Record]:
        found: list[Record] = []
        while True:
            page = await self._records.list(OUT_PREFIX, limit=PAGE, after=found[-1].key if found else "")
            found += page
            if len(page) < PAGE:
                return found


def length_by(nodes: Sequence[Node], homes: Mapping[str, str]) -> Length:
    """Return lengths of edges by the round trips nodes measured, in ms: at least 1; the median where none was."""
    trips = {(node.id, other): ms for node in nodes for other, ms in node.sightings.round_trip_ms.items()}
    usual = median(trips.values()) if trips else 1.0

    def length(source: str, target: str) -> float:
        one, other = homes.get(source, ""), homes.get(target, "")
        return 1.0 if one == other else max(1.0, trips.get((one, other), trips.get((other, one), usual)))

    return length
