"""What the living graph costs in memory, by CPU time: uses counted per second, pruning, statistics, paths.

`python -m benchmarks.topology [--rounds 3] [--uses 100000]`
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from random import Random
from statistics import median

from benchmarks.lab.contenders import MESHD
from benchmarks.lab.report import Row, Section, at_least, markdown
from meshd.topology.fabric import Fabric
from meshd.topology.graph import Path, graph_at, neighbours, statistics, strongest_path, weights_from
from meshd.topology.model import EdgeRules, Graph, Use, WeightRule
from meshd.topology.selection import shape_for

START = 1_700_000_000_000
AGENTS = (100, 1_000)
REINFORCEMENTS = 100_000.0
DEGREE = 30
"""Edges of each agent once it has talked: what a busy one has."""


def busy(rules: EdgeRules, *, agents: int) -> Fabric:
    """Return a graph whose agents have each talked with thirty others."""
    rng, fabric = Random(7), Fabric(rules)
    names = [f"agent-{number:04}" for number in range(agents)]
    fabric.meet(dict.fromkeys(names, "n1"), shape=shape_for(agents), now_ms=START)
    for name in names:
        for other in rng.sample(names, DEGREE):
            fabric.use(Use(source=name, target=other, count=rng.randint(1, 5)), at_ms=START)
    return fabric


def reinforcing(rule: WeightRule, *, uses: int) -> float:
    """Return uses counted per second, each one message, at a hundred agents."""
    rng, fabric = Random(7), busy(EdgeRules(rule=rule), agents=100)
    pairs = [(edge.source, edge.target) for edge in fabric.edges()]
    story = [Use(source=source, target=target) for source, target in rng.choices(pairs, k=uses)]
    began = time.process_time()
    for number, use in enumerate(story):
        fabric.use(use, at_ms=START + number)
    return uses / (time.process_time() - began)


def shown(fabric: Fabric) -> Graph:
    return graph_at(fabric.edges(), fabric.homes, now_ms=START + 60_000, rules=fabric.rules)


def millis(work: Callable[[], object], *, times: int = 20) -> float:
    """Return the median time of one call."""
    taken: list[float] = []
    for _ in range(times):
        began = time.process_time()
        work()
        taken.append((time.process_time() - began) * 1000)
    return median(taken)


def reading(agents: int, *, rounds: int) -> list[Row]:
    """Return what one look at a busy graph of so many agents costs."""
    fabric, rng = busy(EdgeRules(), agents=agents), Random(7)
    graph = shown(fabric)
    weights = weights_from(graph, graph.agents[0])
    name = f"{agents:,} agents, {len(graph.edges):,} edges"

    def path() -> Path | None:
        start, end = rng.sample(list(graph.agents), 2)
        return strongest_path(graph, start, end)

    jobs: dict[str, Callable[[], object]] = {
        "the graph at a moment": partial(shown, fabric),
        "statistics": partial(statistics, graph, fabric.rules),
        "strongest path": path,
        "neighbours": partial(neighbours, weights, graph.agents, rng=rng),
    }
    rows = [
        Row(name=f"{job}, {name}", unit="ms", values={MESHD: [millis(work) for _ in range(rounds)]})
        for job, work in jobs.items()
    ]
    began = time.process_time()
    pruned = len(fabric.prune(START + 3_600_000))
    taken = (time.process_time() - began) / max(1, pruned) * 1e6
    return [*rows, Row(name=f"pruning one edge, {name}", unit="µs", values={MESHD: [taken]})]


def measure(*, rounds: int, uses: int) -> Section:
    rows: list[Row] = []
    for rule in WeightRule:
        row = Row(
            name=f"reinforcements, {rule}",
            unit="uses/s",
            values={MESHD: [reinforcing(rule, uses=uses) for _ in range(rounds)]},
        )
        rows.append(row.judged(at_least(row.middle(), REINFORCEMENTS, f"≥ {REINFORCEMENTS:,.0f}")))
    for agents in AGENTS:
        rows += reading(agents, rounds=rounds)
    return Section(title="topology", rows=rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--uses", type=int, default=100_000)
    options = parser.parse_args()
    print(markdown([measure(rounds=options.rounds, uses=options.uses)]))


if __name__ == "__main__":
    main()
