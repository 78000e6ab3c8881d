"""The living graph in memory: agents and their edges, changed by joins, leaves, uses and time. Pure.

Invariant: both ends of every edge are agents in it, and no edge begins where it ends. What happened since is kept in
`changes`, so whoever stores the graph writes only what changed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from meshd.topology.builders import links_with
from meshd.topology.dues import Dues
from meshd.topology.model import Edge, EdgeRules, Shape, Use
from meshd.topology.weights import aged, began, is_spent, spent_ms, used

Pair = tuple[str, str]

MOST_EDGES = 2_000
"""Most edges that begin at one agent: a new one takes the place of the thinnest."""


@dataclass(slots=True, kw_only=True)
class Changes:
    """What happened to a graph since it was last asked."""

    joined: dict[str, str] = field(default_factory=dict[str, str])
    """Agent → its node."""
    left: dict[str, str] = field(default_factory=dict[str, str])
    created: set[Pair] = field(default_factory=set[Pair])
    removed: set[Pair] = field(default_factory=set[Pair])
    strengthened: set[Pair] = field(default_factory=set[Pair])
    """Edges whose weight a use changed; what time does to weights is no change."""
    sources: set[str] = field(default_factory=set[str])
    """Agents whose own edges, or home, differ."""

    def __bool__(self) -> bool:
        return bool(self.sources or self.left)


class Fabric:
    """Agents and the edges between them."""

    def __init__(self, rules: EdgeRules) -> None:
        self.rules = rules
        self.homes: dict[str, str] = {}
        """Agent → the node it lives on."""
        self.changes = Changes()
        self._out: dict[str, dict[str, Edge]] = {}
        self._sources_of: dict[str, set[str]] = {}
        self._dues = Dues[Pair]()

    @property
    def next_due_ms(self) -> int | None:
        """When the next edge may have to be pruned; not before."""
        return self._dues.next_ms

    def edges(self) -> Iterator[Edge]:
        """Yield every edge as it was last touched."""
        for out in self._out.values():
            yield from out.values()

    def edge(self, source: str, target: str) -> Edge | None:
        """Return one edge as it was last touched, `None` if there is none."""
        return self._out.get(source, {}).get(target)

    def edges_of(self, source: str) -> list[Edge]:
        """Return the edges that begin at an agent, in order."""
        return [edge for _, edge in sorted(self._out.get(source, {}).items())]

    def taken_changes(self) -> Changes:
        """Return what happened since this was last asked."""
        changes, self.changes = self.changes, Changes()
        return changes

    def admit(self, agent: str, home: str, edges: Iterable[Edge]) -> None:
        """Take in an agent as it was stored; no change. Those it has edges to must come in too; else `mend` after."""
        self.homes[agent] = home
        self._out[agent] = {}
        for edge in edges:
            if edge.target != agent:
                self._put(edge)

    def mend(self) -> None:
        """Drop what cannot be: edges to agents that are not here."""
        for edge in [edge for edge in self.edges() if edge.target not in self.homes]:
            self._drop((edge.source, edge.target))

    def meet(self, members: Mapping[str, str], *, shape: Shape, now_ms: int) -> None:
        """Let in who is new, with the edges the shape gives them, both ways; let go who is not among `members`."""
        for gone in [agent for agent in self.homes if agent not in members]:
            self.leave(gone)
        new = {agent: home for agent, home in members.items() if agent not in self.homes}
        for agent, home in members.items():
            if self.homes.get(agent) != home:
                self.homes[agent] = home
                self.changes.sources.add(agent)
        for agent in new:
            self._out.setdefault(agent, {})
        self.changes.joined.update(new)
        if new:
            for one, other in links_with(shape, members, new):
                self.link(one, other, now_ms=now_ms)
                self.link(other, one, now_ms=now_ms)

    def leave(self, agent: str) -> None:
        """Remove an agent and all edges from and to it."""
        for target in list(self._out.get(agent, {})):
            self._drop((agent, target))
        for source in list(self._sources_of.get(agent, ())):
            self._drop((source, agent))
        self.changes.left[agent] = self.homes.pop(agent, "")
        self.changes.joined.pop(agent, None)
        self.changes.sources.discard(agent)
        self._out.pop(agent, None)
        self._sources_of.pop(agent, None)

    def link(self, source: str, target: str, *, now_ms: int) -> bool:
        """Have this edge be there; return whether it had to begin."""
        if target in self._out[source] or len(self._out[source]) >= MOST_EDGES:
            return False
        self._put(began(source, target, at_ms=now_ms, rules=self.rules))
        self._mark((source, target), self.changes.created)
        return True

    def use(self, use: Use, *, at_ms: int) -> bool:
        """Count a use; return whether there is anything to count. A path that was gone begins anew, then is used.

        Uses from or to somebody who is no agent here, and of oneself, count nothing.

        Raises:
            InvalidArgumentError: the use counts less than one, or its quality is outside 0 to 1.
        """
        pair = (use.source, use.target)
        if use.source == use.target or use.source not in self.homes or use.target not in self.homes:
            return False
        edge = self._out[use.source].get(use.target)
        is_gone = edge is not None and self.rules.min_degree == 0 and is_spent(edge, at_ms, self.rules)
        if edge is None or is_gone:
            if use.quality <= 0:
                return False
            self._make_room(use.source)
            edge = began(use.source, use.target, at_ms=at_ms, rules=self.rules)
            self._mark(pair, self.changes.created)
        self._put(used(edge, use, at_ms=at_ms, rules=self.rules), is_later=use.quality > 0)
        self._mark(pair, self.changes.strengthened)
        return True

    def prune(self, now_ms: int) -> list[Pair]:
        """Remove the edges whose time is over, the thinnest first; return them. Looks at no other edge."""
        due: list[Edge] = []
        for pair in self._dues.take(now_ms):
            edge = self._out[pair[0]][pair[1]]
            if is_spent(edge, now_ms, self.rules):
                due.append(aged(edge, now_ms=now_ms, rules=self.rules))
            else:
                self._dues.set(pair, spent_ms(edge, self.rules))
        gone: list[Pair] = []
        for edge in sorted(due, key=lambda edge: (edge.weight, edge.source, edge.target)):
            pair = (edge.source, edge.target)
            if self.rules.min_degree and len(self._out[edge.source]) <= self.rules.min_degree:
                self._dues.set(pair, now_ms + self.rules.idle_ms)
                continue
            self._drop(pair)
            gone.append(pair)
        return gone

    def _make_room(self, source: str) -> None:
        out = self._out[source]
        if len(out) >= MOST_EDGES:
            thinnest = min(out.values(), key=lambda edge: (edge.weight, edge.used_ms, edge.target))
            self._drop((source, thinnest.target))

    def _put(self, edge: Edge, *, is_later: bool = False) -> None:
        """Keep the edge; where its time can only be later than it was, that is found out when it would have been."""
        out, pair = self._out[edge.source], (edge.source, edge.target)
        if edge.target not in out:
            self._sources_of.setdefault(edge.target, set()).add(edge.source)
        out[edge.target] = edge
        if not is_later or pair not in self._dues:
            self._dues.set(pair, spent_ms(edge, self.rules))

    def _drop(self, pair: Pair) -> None:
        source, target = pair
        del self._out[source][target]
        self._sources_of[target].discard(source)
        self._dues.set(pair, None)
        self._mark(pair, self.changes.removed)

    def _mark(self, pair: Pair, among: set[Pair]) -> None:
        among.add(pair)
        self.changes.sources.add(pair[0])
