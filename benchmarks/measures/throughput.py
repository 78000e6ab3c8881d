"""No-op tasks through one and two worker processes: the queue is filled first, then the workers start.

The rate counts from the moment every worker has ended a task to the last one, so start-up does not count and neither
does the time in which only one of two works. What a task costs in CPU, commands and reads is counted from the same
moment until the store is quiet: until everything that follows from the tasks has been written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.lab.contenders import BULLMQ, SQLITE, TASKIQ, Contender
from benchmarks.lab.processes import BrokenRunError, Process
from benchmarks.lab.report import Row, Section, at_least, at_most, times
from benchmarks.lab.rounds import Lab
from benchmarks.lab.servers import Reading
from benchmarks.lab.site import Mark, Site

NOTE = (
    "A queue filled beforehand; handlers do nothing; concurrency 100 (Huey and RQ run one at a time). Kept while it "
    "runs: meshd leases, tokens, events and results; BullMQ locks and results; SAQ and RQ results; taskiq, Huey and "
    "the bare loop no results."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One filled queue, worked off."""

    rate: float
    worker_cpu: float
    """Seconds per 10,000 tasks, all worker processes together."""
    store_cpu: float | None = None
    commands: float | None = None
    """Per task, those inside Lua included."""
    reads: float | None = None


def work_off(
    contender: Contender, *, count: int, processes: int = 1, aof_always: bool = False, primaries: int = 0
) -> Run:
    """Return how one queue was worked off.

    Raises:
        BrokenRunError: a process failed, or one worker did everything before the other was up.
    """
    with Site(contender, aof_always=aof_always, primaries=primaries) as site:
        site.client("bulk", count)
        workers = [site.start_worker() for _ in range(processes)]
        began = site.wait(lambda marks: len(marks) == processes or _total(marks) >= count)
        before = _read(site, workers)
        if _total(began) >= count:
            raise BrokenRunError(f"all {count} tasks had run before every worker was up: use a larger --scale")
        ended = site.wait(lambda marks: _total(marks) >= count)
        if site.store is not None:
            site.store.settle()
        after = _read(site, workers)
    tasks = _total(ended) - _total(began)
    seconds = (max(mark.last_ns for mark in ended) - max(mark.last_ns for mark in began)) / 1e9
    return after.since(before, tasks=tasks, rate=tasks / seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """What workers and store have used so far, CPU in seconds; without Redis, the store is the workers."""

    worker_cpu: float
    store_cpu: float | None = None
    reading: Reading | None = None

    def since(self, before: "Meter", *, tasks: int, rate: float) -> Run:
        worker_cpu = (self.worker_cpu - before.worker_cpu) / tasks * 10_000
        if self.store_cpu is None or before.store_cpu is None or self.reading is None or before.reading is None:
            return Run(rate=rate, worker_cpu=worker_cpu)
        return Run(
            rate=rate,
            worker_cpu=worker_cpu,
            store_cpu=(self.store_cpu - before.store_cpu) / tasks * 10_000,
            commands=(self.reading.commands - before.reading.commands) / tasks,
            reads=(self.reading.reads - before.reading.reads) / tasks,
        )


def _read(site: Site, workers: Sequence[Process]) -> Meter:
    worker_cpu = sum(worker.footprint().cpu_s for worker in workers)
    if site.store is None:
        return Meter(worker_cpu=worker_cpu)
    return Meter(worker_cpu=worker_cpu, store_cpu=site.store.cpu_s(), reading=site.store.read())


def _total(marks: Sequence[Mark]) -> int:
    return sum(mark.count for mark in marks)


def measure(lab: Lab) -> Section:
    one = lab.interleaved("one worker", lambda contender: work_off(contender, count=lab.count(contender.tasks)))
    two = lab.interleaved(
        "two workers", lambda contender: work_off(contender, count=lab.count(contender.tasks), processes=2)
    )
    return Section(title="throughput", rows=[*_rates(one, two), *_costs(one)], notes=[NOTE])


def _rates(one: Mapping[str, Sequence[Run]], two: Mapping[str, Sequence[Run]]) -> list[Row]:
    first = Row(name="one worker process", unit="tasks/s", values=_values(one, "rate"))
    second = Row(name="two worker processes", unit="tasks/s", values=_values(two, "rate"))
    return [
        first.judged(
            at_least(first.middle(), times(1.3, first.middle(BULLMQ)), "≥ 1.3 × BullMQ"),
            at_least(first.middle(), times(5, first.middle(TASKIQ)), "≥ 5 × taskiq"),
            at_least(first.middle(SQLITE), 3_000, "SQLite ≥ 3,000"),
        ),
        second.judged(
            at_least(second.middle(), times(2, second.middle(BULLMQ)), "≥ 2 × BullMQ's two"),
            at_least(second.middle(SQLITE), second.middle(TASKIQ), "SQLite ≥ taskiq's two"),
        ),
    ]


def _costs(one: Mapping[str, Sequence[Run]]) -> list[Row]:
    worker = Row(name="worker CPU", unit="s per 10k tasks", values=_values(one, "worker_cpu"))
    store = Row(name="Redis CPU", unit="s per 10k tasks", values=_values(one, "store_cpu"))
    commands = Row(name="Redis commands, inside Lua too", unit="per task", values=_values(one, "commands"))
    reads = Row(name="Redis socket reads", unit="per task", values=_values(one, "reads"))
    return [
        worker.judged(at_most(worker.middle(), 0.35, "≤ .35")),
        store.judged(at_most(store.middle(), 0.35, "≤ .35")),
        commands.judged(at_most(commands.middle(), 12, "≤ 12")),
        reads.judged(at_most(reads.middle(), 0.1, "≤ .1")),
    ]


def _values(runs: Mapping[str, Sequence[Run]], field: str) -> dict[str, list[float]]:
    values = {name: [getattr(run, field) for run in of_one] for name, of_one in runs.items()}
    return {name: found for name, found in values.items() if found[0] is not None}
