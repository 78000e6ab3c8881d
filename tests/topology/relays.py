"""A seeded simulation of forty relays that pass messages on, until the busiest of them is killed.

Every message takes the strongest path as its sender sees it. A hop that answers is a use of its edge, of a quality by
its latency; a hop that does not is a failure. Once a second every agent probes its neighbours, and a probe that is not
answered is a failure too. With `avoids`, senders also heed what probes say: nobody is passed through who answers none.
`python -m tests.topology.relays` prints the figures of ADR 0022.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from random import Random
from statistics import median

from meshd.topology.fabric import Fabric
from meshd.topology.graph import graph_at, neighbours, strongest_path
from meshd.topology.model import Edge, EdgeRules, Graph, Shape, Use, WeightRule
from meshd.topology.weights import weight_at

RELAYS = 40
EXTRA_LINKS = 3
PROBE_MS = 1_000
MESSAGE_MS = 25
WARM_UP_PERIODS = 12
SHORTEST_MS, LONGEST_MS = 2.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run showed."""

    lost: int
    """Messages handed to the killed relay."""
    avoiding: tuple[float, ...]
    """Share of messages that avoided it, by probe period after the kill."""
    edges: int
    thick: int
    """Edges of a weight over a half when it was killed."""
    carried: int
    """Messages the relay passed on, of the last hundred before it was killed."""


class Relays:
    """Forty agents in virtual time."""

    def __init__(self, rules: EdgeRules, *, seed: int, avoids: bool = False) -> None:
        self.rng = Random(seed)
        self.now_ms = 1_700_000_000_000
        self.fabric = Fabric(rules)
        self.names = [f"r{number:02}" for number in range(RELAYS)]
        self.fabric.meet(dict.fromkeys(self.names, "n"), shape=Shape.HYBRID, now_ms=self.now_ms)
        for name in self.names:
            for other in self.rng.sample([each for each in self.names if each != name], EXTRA_LINKS):
                self.fabric.link(name, other, now_ms=self.now_ms)
                self.fabric.link(other, name, now_ms=self.now_ms)
        self.latency = {(edge.source, edge.target): self._drawn() for edge in self.fabric.edges()}
        self.usual_ms = median(self.latency.values())
        self.dead = ""
        self.avoids = avoids
        self.unreached = set[str]()

    def run(self, *, periods: int, warm_up: int = WARM_UP_PERIODS) -> Outcome:
        """Warm up, kill the busiest, go on for so many probe periods; return what happened."""
        passed = [hop for _ in range(warm_up) for way in self._period() for hop in way[1:-1]]
        last = [way for way in (self._message() for _ in range(100)) if way]
        self.dead = Counter(passed).most_common(1)[0][0]
        weights = [weight_at(edge, self.now_ms, self.fabric.rules) for edge in self.fabric.edges()]
        lost, avoiding = 0, list[float]()
        for _ in range(periods):
            ways = self._period()
            into = sum(self.dead in way for way in ways)
            lost += into
            avoiding.append(1 - into / len(ways))
        return Outcome(
            lost=lost,
            avoiding=tuple(avoiding),
            edges=len(weights),
            thick=sum(weight > 0.5 for weight in weights),
            carried=sum(self.dead in way[1:-1] for way in last),
        )

    def _period(self) -> list[tuple[str, ...]]:
        """Let one probe period pass; return the way of every message."""
        ways: list[tuple[str, ...]] = []
        for _ in range(PROBE_MS // MESSAGE_MS):
            self.now_ms += MESSAGE_MS
            ways.append(self._message())
        self._probe()
        self.fabric.prune(self.now_ms)
        return ways

    def _message(self) -> tuple[str, ...]:
        """Send one message as far as it goes; return who was asked to take it."""
        start, end = self.rng.sample([name for name in self.names if name != self.dead], 2)
        avoid = frozenset(self.unreached) if self.avoids else frozenset[str]()
        graph = self._graph()
        path = strongest_path(graph, start, end, length=lambda one, other: self.latency[one, other], avoid=avoid)
        if path is None:
            return ()
        for place, here in enumerate(path.agents[1:], 1):
            if not self._hop(path.agents[place - 1], here):
                return path.agents[: place + 1]
        return path.agents

    def _hop(self, here: str, there: str) -> bool:
        is_heard = there != self.dead
        quality = min(1.0, max(0.01, self.usual_ms / self.latency[here, there])) if is_heard else 0.0
        self.fabric.use(Use(source=here, target=there, quality=quality), at_ms=self.now_ms)
        return is_heard

    def _probe(self) -> None:
        for name in self.names:
            if name == self.dead:
                continue
            weights = {edge.target: self._weight(edge) for edge in self.fabric.edges_of(name)}
            for other in neighbours(weights, weights, rng=self.rng):
                if other == self.dead:
                    self.unreached.add(other)
                    self.fabric.use(Use(source=name, target=other, quality=0.0), at_ms=self.now_ms)

    def _graph(self) -> Graph:
        fabric = self.fabric
        return graph_at(fabric.edges(), fabric.homes, now_ms=self.now_ms, rules=fabric.rules)

    def _weight(self, edge: Edge) -> float:
        return weight_at(edge, self.now_ms, self.fabric.rules)

    def _drawn(self) -> float:
        return self.rng.uniform(SHORTEST_MS, LONGEST_MS)


def main() -> None:
    for rule, avoids in product(WeightRule, (False, True)):
        runs = [Relays(EdgeRules(rule=rule), seed=seed, avoids=avoids).run(periods=6) for seed in range(8)]
        lost = sorted(run.lost for run in runs)
        shares = [f"{min(run.avoiding[period] for run in runs):.3f}" for period in range(6)]
        later = 1 - sum(1 - share for run in runs for share in run.avoiding[3:]) / (3 * len(runs))
        thick = sum(run.thick for run in runs) / sum(run.edges for run in runs)
        carried = median(run.carried for run in runs)
        name = f"{rule}, heeding probes" if avoids else rule
        print(f"{name}: lost median {median(lost)} max {lost[-1]}; avoiding after 3 periods {later:.2%}")  # noqa: T201
        print(f"  worst share avoiding by period {' '.join(shares)}")  # noqa: T201
        print(f"  thick {thick:.0%}; the busiest carried {carried} of 100")  # noqa: T201


if __name__ == "__main__":
    main()
