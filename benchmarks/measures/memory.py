"""What the store holds per task, queued and ended, what is left once results may go, and what an idle worker weighs.

One round: these figures do not depend on the machine's mood.
"""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.lab.contenders import MESHD, Contender
from benchmarks.lab.report import Row, Section, at_most
from benchmarks.lab.rounds import Lab, attempt
from benchmarks.lab.site import Site

TASKS = 20_000
PASS = 40_000
"""Tasks of one pass: enough to fill the event log, whose length is bounded."""
SETTLED_S = 4.0
TTL_S = 2
MIB = 2**20
NOTE = (
    "Payload of 100 bytes. Ended tasks as each system keeps them by default; the last rows are meshd with results "
    f"kept for {TTL_S} s, in its second pass over the same mesh."
)


def held(contender: Contender, *, count: int) -> tuple[float, float]:
    """Return bytes per queued task, and left per ended one."""
    with Site(contender) as site:
        site.client("bulk", 1)
        empty = _bytes(site)
        site.client("bulk", count)
        queued = _bytes(site)
        site.start_worker()
        _run_all(site, count + 1)
        return (queued - empty) / count, (_bytes(site) - empty) / count


def idle_rss(contender: Contender, *, command: list[str] | None = None) -> float:
    """Return MiB of an idle worker and its children, after a first task."""
    with Site(contender) as site:
        worker = site.start([*command, "--url", site.url]) if command else site.start_worker()
        if command is None:
            site.client("bulk", 1)
            site.wait(lambda marks: len(marks) == 1)
        time.sleep(SETTLED_S)
        worker.check()
        return worker.footprint().rss / MIB


def after_retention(contender: Contender, *, count: int) -> tuple[float, float]:
    """Return bytes per task and keys in all that a second pass leaves behind once its results may go."""
    with Site(contender, env={"BENCH_RESULT_TTL_S": str(TTL_S)}) as site:
        site.start_worker()
        passes: list[tuple[int, int]] = []
        for number in (1, 2):
            site.client("bulk", count)
            _run_all(site, number * count)
            _forgotten(site)
            reading = site.server.read()
            passes.append((reading.memory, reading.keys))
        (memory, keys), (memory_after, keys_after) = passes
        return (memory_after - memory) / count, keys_after - keys


def _run_all(site: Site, count: int) -> None:
    site.wait(lambda marks: sum(mark.count for mark in marks) >= count)
    if site.store is not None:
        site.store.settle()


def _forgotten(site: Site) -> None:
    """Return once results may go and no key vanishes any more."""
    time.sleep(TTL_S)
    before, keys = -1, site.server.read().keys
    while keys != before:
        time.sleep(SETTLED_S)
        before, keys = keys, site.server.read().keys


def _bytes(site: Site) -> int:
    if site.store is not None:
        return site.store.read().memory
    return sum(path.stat().st_size for path in site.folder.glob("mesh.db*") if path.is_file())


def measure(lab: Lab) -> Section:
    rows = [*_tasks(lab), _weights(lab, "idle worker", idle_rss, lab.contenders), *_ours(lab)]
    return Section(title="memory", rows=rows, notes=[NOTE])


def _tasks(lab: Lab) -> list[Row]:
    found: dict[str, tuple[float, float]] = {}
    for contender in lab.contenders:
        count = lab.count(min(contender.tasks, TASKS))
        answer = attempt("memory of tasks", partial(held, count=count), contender)
        if answer is not None:
            found[contender.name] = answer
    queued = Row(name="queued task", unit="bytes", values={name: [pair[0]] for name, pair in found.items()})
    left = Row(name="left per ended task", unit="bytes", values={name: [pair[1]] for name, pair in found.items()})
    return [queued.judged(at_most(queued.middle(), 450, "≤ 450 bytes")), left]


def _weights(lab: Lab, name: str, run: Callable[[Contender], float], contenders: Sequence[Contender]) -> Row:
    answers = {contender.name: attempt(name, run, contender) for contender in contenders}
    row = Row(name=name, unit="MiB", values={own: [weight] for own, weight in answers.items() if weight is not None})
    return row.judged(at_most(row.middle(), 40, "≤ 40 MiB"))


def _ours(lab: Lab) -> list[Row]:
    own = lab.named(MESHD)
    command = [str(Path(sys.executable).parent / "mesh"), "node", "start", "--name", "idle", "--mesh", "bench"]
    rows = [_weights(lab, "idle `mesh node start`", partial(idle_rss, command=command), own)]
    for contender in own:
        left = attempt("memory after the retention", partial(after_retention, count=PASS), contender)
        if left is not None:
            rows += [
                Row(name=f"left after the retention, {what}", unit=unit, values={MESHD: [found]}).judged(
                    at_most(found, bound, f"nothing (≤ {bound})")
                )
                for what, unit, found, bound in (("per task", "bytes", left[0], 5), ("in all", "keys", left[1], 0))
            ]
    return rows
