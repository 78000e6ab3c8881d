"""Whom a node's agents talk to most, as the topology has it: whom it is worth probing, and over whom messages go.

Where the mesh keeps no topology, there is nobody, and everything goes by the ring as before.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

from meshd.errors import CorruptDataError, UnavailableError
from meshd.nodes.model import Node
from meshd.records import RecordStore
from meshd.topology.graph import graph_at, neighbours, node_weights
from meshd.topology.model import Edge, EdgeRules
from meshd.topology.recorded import decode_out, out_key

logger = logging.getLogger(__name__)

LOOK_EACH_S = 30.0
"""Least time between two looks at the topology."""
MOST_AGENTS = 32
"""Agents of this node whose edges are looked at, each by one read."""


class Surroundings:
    """The nodes around one node, by the thickest edge from an agent here to an agent there."""

    def __init__(self, node: str, rules: EdgeRules, *, count: int) -> None:
        """`count`: most nodes to name."""
        self._node = node
        self._rules = rules
        self._count = count
        self._homes: Mapping[str, str] = {}
        self._met = asyncio.Event()
        self.weights: Mapping[str, float] = {}
        """Of each node somebody here has an edge to, as of the last look."""

    def meet(self, nodes: Sequence[Node]) -> None:
        """Take in who lives where."""
        self._homes = {agent.id: node.id for node in nodes for agent in node.profile.agents}
        self._met.set()

    async def look(self, records: RecordStore) -> tuple[str, ...]:
        """Return the nodes of most weight, the thickest first; between equal ones a lot that stays the same.

        Raises:
            UnavailableError: the store is away.
            CorruptDataError: what it has is no edge.
        """
        own = sorted(agent for agent, home in self._homes.items() if home == self._node)[:MOST_AGENTS]
        edges, now_ms = list[Edge](), 0
        for agent in own:
            record = await records.get(out_key(agent))
            if record is not None:
                edges += decode_out(record.key, record.value).edges
                now_ms = max(now_ms, record.read_ms)
        graph = graph_at(edges, self._homes, now_ms=now_ms, rules=self._rules)
        self.weights = node_weights(graph, self._node)
        return neighbours(self.weights, self.weights, rng=Random(self._node), count=self._count)[: self._count]

    async def keep(self, records: RecordStore, tell: Callable[[Sequence[str]], None], rng: Random) -> None:
        """Look again and again until cancelled, and tell who is thickest each time."""
        await self._met.wait()
        while True:
            try:
                tell(await self.look(records))
            except (UnavailableError, CorruptDataError) as exc:
                logger.debug("node %s goes on with the neighbours it has: %s", self._node, exc)
            await asyncio.sleep(LOOK_EACH_S * rng.uniform(1.0, 1.5))
