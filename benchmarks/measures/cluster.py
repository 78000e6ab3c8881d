"""What a task costs a Redis Cluster as primaries are added: its servers' CPU together, for the same work.

On a machine of few cores the rate cannot grow with the primaries; the cost per task tells whether it would on many.
"""

from functools import partial

from benchmarks.lab.contenders import MESHD, Contender
from benchmarks.lab.report import Row, Section, at_least, times
from benchmarks.lab.rounds import Lab
from benchmarks.measures.throughput import Run, work_off

TASKS = 30_000
PRIMARIES = {"one Redis, no cluster": 0, "1 primary": 1, "2 primaries": 2, "3 primaries": 3}
FLAT = 0.8
"""A cost that moves by less than a fifth is flat."""


def by_primaries(contender: Contender, *, count: int) -> dict[str, Run]:
    """Return the same work on a server and on clusters."""
    return {name: work_off(contender, count=count, primaries=primaries) for name, primaries in PRIMARIES.items()}


def measure(lab: Lab) -> Section:
    own = lab.named(MESHD)
    runs = lab.interleaved("cluster", partial(by_primaries, count=lab.count(TASKS)), contenders=own).get(MESHD, [])
    costs = {name: [10_000 / (run[name].store_cpu or 1) for run in runs] for name in PRIMARIES}
    rates = {name: [run[name].rate for run in runs] for name in PRIMARIES}
    cost = Row(name="submitted before, then run", unit="tasks per CPU-second of all servers", values=costs)
    goal = at_least(cost.middle("3 primaries"), times(FLAT, cost.middle("1 primary")), f"flat: 3 ≥ {FLAT} × 1")
    return Section(
        title="cluster", rows=[cost.judged(goal), Row(name="one worker process", unit="tasks/s", values=rates)]
    )
