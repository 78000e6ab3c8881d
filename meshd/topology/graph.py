"""What a graph says at one moment: its statistics, its strongest paths, whom an agent should look to. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

from meshd.errors import InvalidArgumentError, NotFoundError
from meshd.topology.builders import components
from meshd.topology.model import Edge, EdgeRules, Graph, GraphStatistics, Shape
from meshd.topology.weights import TOLERANCE, aged, is_spent

NEIGHBOURS = 8
"""How many neighbours by weight an agent looks to; one more is drawn by lot."""

Length = Callable[[str, str], float]
"""How long an edge is: the round trip between the nodes at its ends, or 1 for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A way from one agent to another over edges that are there."""

    agents: tuple[str, ...]
    """Both ends and all between, in order."""
    weights: tuple[float, ...]
    """Of each edge on the way."""
    cost: float
    """Sum of length over weight."""

    @property
    def weakest(self) -> float:
        """The least weight on the way; 1 for a way of no edges."""
        return min(self.weights, default=1.0)


def graph_at(
    edges: Iterable[Edge], homes: Mapping[str, str], *, now_ms: int, rules: EdgeRules, shape: Shape = Shape.MESH
) -> Graph:
    """Return the graph at `now_ms`: weights aged, spent edges gone whether or not anybody removed them yet."""
    left: dict[str, list[Edge]] = {}
    for edge in edges:
        if edge.source in homes and edge.target in homes and edge.source != edge.target:
            left.setdefault(edge.source, []).append(edge)
    kept = [edge for out in left.values() for edge in _unspent(out, now_ms, rules)]
    kept.sort(key=lambda edge: (edge.source, edge.target))
    return Graph(agents=tuple(sorted(homes)), edges=tuple(kept), at_ms=now_ms, shape=shape, homes=dict(homes))


def statistics(graph: Graph, rules: EdgeRules) -> GraphStatistics:
    """Return the numbers of a graph; without edges all weights are 0."""
    weights = [edge.weight for edge in graph.edges if edge.source != edge.target]
    count = len(graph.agents)
    most = count * (count - 1)
    density = len(weights) / most if most else 0.0
    return GraphStatistics(
        agents=count,
        edges=len(weights),
        active_edges=sum(weight > rules.prune_below + TOLERANCE for weight in weights),
        average_weight=sum(weights) / len(weights) if weights else 0.0,
        max_weight=max(weights, default=0.0),
        min_weight=min(weights, default=0.0),
        density=density,
        reduction_percent=(1 - density) * 100,
    )


def strongest_path(
    graph: Graph, start: str, end: str, *, length: Length | None = None, avoid: frozenset[str] = frozenset()
) -> Path | None:
    """Return the cheapest way by length over weight, `None` if there is none; of equal ways the shortest.

    Two edges of weight 1 cost 2, one of weight 0.25 costs 4: so a strong detour beats a thin direct edge. Nobody in
    `avoid` is passed through.

    Raises:
        NotFoundError: one of the two is not in the graph.
    """
    for agent in (start, end):
        _check_known(graph, agent)
    out: dict[str, list[Edge]] = {}
    for edge in graph.edges:
        if edge.weight > 0 and (edge.target not in avoid or edge.target == end):
            out.setdefault(edge.source, []).append(edge)
    best = {start: (0.0, 0)}
    came: dict[str, Edge] = {}
    ahead = [(0.0, 0, start)]
    while ahead:
        cost, hops, here = heappop(ahead)
        if here == end:
            return _traced(came, start, end, cost)
        if (cost, hops) > best[here]:
            continue
        for edge in out.get(here, ()):
            long = 1.0 if length is None else length(here, edge.target)
            there = (cost + long / edge.weight, hops + 1)
            if edge.target not in best or there < best[edge.target]:
                best[edge.target] = there
                came[edge.target] = edge
                heappush(ahead, (*there, edge.target))
    return None


def neighbours(
    weights: Mapping[str, float], others: Iterable[str], *, rng: Random, count: int = NEIGHBOURS
) -> tuple[str, ...]:
    """Return whom to look to: the `count` of most weight among `others`, then one more drawn by lot from the rest.

    Who has no weight counts as 0; equal weights are told apart by lot, so in a new mesh not all look to the same few.
    """
    lots = {other: rng.random() for other in sorted(set(others))}
    ranked = sorted(lots, key=lambda other: (-weights.get(other, 0.0), lots[other]))
    rest = ranked[count:]
    return (*ranked[:count], *([rng.choice(rest)] if rest else []))


def weights_from(graph: Graph, agent: str) -> dict[str, float]:
    """Return the weight of each edge that begins at the agent.

    Raises:
        NotFoundError: it is not in the graph.
    """
    _check_known(graph, agent)
    return {edge.target: edge.weight for edge in graph.edges if edge.source == agent}


def node_weights(graph: Graph, node: str) -> dict[str, float]:
    """Return, for every other node, the most weight of an edge from an agent on `node` to an agent there."""
    found: dict[str, float] = {}
    for edge in graph.edges:
        home = graph.homes[edge.target]
        if graph.homes[edge.source] == node and home != node:
            found[home] = max(found.get(home, 0.0), edge.weight)
    return found


def repairs(graph: Graph, *, rng: Random, length: Length | None = None, tries: int = 8) -> tuple[tuple[str, str], ...]:
    """Return the pairs to link so that everybody reaches everybody: of some drawn by lot, the shortest each time.

    Nothing for a graph in one piece. The pairs are few: one less than there are pieces.
    """
    pieces = components(graph.agents, ((edge.source, edge.target) for edge in graph.edges))
    found: list[tuple[str, str]] = []
    joined: Sequence[str] = pieces[0] if pieces else ()
    for piece in pieces[1:]:
        drawn = [(rng.choice(piece), rng.choice(joined)) for _ in range(tries)]
        found.append(min(drawn, key=lambda pair: (1.0 if length is None else length(*pair), pair)))
        joined = [*joined, *piece]
    return tuple(found)


def check_snapshot(graph: Graph) -> None:
    """Return if this can be a graph.

    Raises:
        InvalidArgumentError: an edge ends at nobody, or where it began, or its weight is outside 0 to 1.
    """
    known = set(graph.agents)
    for edge in graph.edges:
        if edge.source not in known or edge.target not in known or edge.source == edge.target:
            raise InvalidArgumentError(
                f"edge {edge.source} -> {edge.target}: both ends must be agents, and two of them"
            )
        if not 0 <= edge.weight <= 1:
            raise InvalidArgumentError(f"edge {edge.source} -> {edge.target}: weight {edge.weight} is outside 0 to 1")


def _unspent(out: Sequence[Edge], now_ms: int, rules: EdgeRules) -> list[Edge]:
    """Return those of one agent's edges that are left at `now_ms`, aged."""
    kept: list[Edge] = []
    spent: list[Edge] = []
    for edge in out:
        now = aged(edge, now_ms=now_ms, rules=rules)
        is_thick = now.weight > rules.prune_below + TOLERANCE
        (kept if is_thick or not is_spent(now, now_ms, rules) else spent).append(now)
    missing = min(rules.min_degree, len(out)) - len(kept)
    if missing > 0:
        kept += sorted(spent, key=lambda edge: (-edge.weight, edge.target))[:missing]
    return kept


def _traced(came: Mapping[str, Edge], start: str, end: str, cost: float) -> Path:
    edges: list[Edge] = []
    while end != start:
        edges.append(came[end])
        end = came[end].source
    edges.reverse()
    return Path(
        agents=(start, *(edge.target for edge in edges)), weights=tuple(edge.weight for edge in edges), cost=cost
    )


def _check_known(graph: Graph, agent: str) -> None:
    if agent not in graph.homes:
        raise NotFoundError(f"agent {agent!r} is not in the topology; `mesh topology` lists who is")
