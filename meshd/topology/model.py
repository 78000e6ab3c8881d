"""Who talks to whom: directed edges between agents, thicker the more they are used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

TOPOLOGY_LOG = "topology"
"""Name of the event log of uses and changes.

Bodies: `{"event": "used", "by": node id, "uses": [[source, target, count, quality], …]}`, and from whoever leads the
topology `agent_joined`, `agent_left`, `edge_created`, `edge_removed`, `edge_strength_changed`.
"""


class Shape(StrEnum):
    """Which edges there are before anybody has spoken."""

    STAR = "star"
    """Everybody with one hub: n-1 links; its loss isolates all."""
    MESH = "mesh"
    """Everybody with everybody: n(n-1)/2 links."""
    RING = "ring"
    """Each with the next: n links; one cut leaves it connected."""
    TREE = "tree"
    """Each with its parent: n-1 links; a parent's loss cuts its subtree."""
    HYBRID = "hybrid"
    """The union of two others."""


class WeightRule(StrEnum):
    """How use makes an edge thicker and time makes it thinner."""

    ADDITIVE = "additive"
    """Every use adds the same, up to the cap; every interval subtracts the same, down to 0."""
    BOUNDED = "bounded"
    """A use adds a share of what is missing to 1, scaled by its quality; a failure halves; intervals multiply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeRules:
    """Numbers of the weight rules. Defaults: unused from 0.5, an edge is pruned after 120 s, 24 intervals of 5 s."""

    rule: WeightRule = WeightRule.ADDITIVE
    initial: float = 0.5
    reinforcement: float = 0.1
    cap: float = 1.0
    decay: float = 1 / 60
    """Additive: weight lost per interval."""
    decay_share: float = 0.05
    """Bounded: share lost per interval."""
    floor: float = 0.05
    """Bounded: no edge decays below it; it is pruned when idle."""
    interval_ms: int = 5_000
    prune_below: float = 0.1
    idle_ms: int = 120_000
    """Bounded: an edge at or below `prune_below` is pruned once unused for so long."""
    min_degree: int = 0
    """Bounded: pruning never leaves a node with fewer edges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One directed edge as it was when last touched; what time has done since is computed on reading."""

    source: str
    target: str
    weight: float
    usage: int = 0
    used_ms: int = 0
    """Store time of its last use, 0 before the first."""
    created_ms: int = 0
    touched_ms: int = 0
    """Store time at which `weight` was true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """That one agent sent others so many messages."""

    source: str
    target: str
    count: int = 1
    quality: float = 1.0
    """1 as quick as the median, less for slower; 0 for a failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStatistics:
    agents: int
    edges: int
    active_edges: int
    """Over the pruning threshold."""
    average_weight: float
    max_weight: float
    min_weight: float
    density: float
    """Edges over n(n-1), self-edges being impossible."""
    reduction_percent: float
    """(1 - density) x 100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The whole topology at one moment: weights are those at `at_ms`."""

    agents: Sequence[str] = ()
    edges: Sequence[Edge] = ()
    at_ms: int = 0
    shape: Shape = Shape.MESH
    homes: Mapping[str, str] = field(default_factory=dict[str, str])
    """Node each agent lives on."""
