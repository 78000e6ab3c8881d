"""Work stranded by a node that dies or freezes: seconds until all of it runs again.

Two nodes with the default settings; the work is on one, the other is idle.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from functools import partial

from benchmarks.lab.contenders import MESHD, SQLITE, Contender
from benchmarks.lab.report import Row, Section, at_most
from benchmarks.lab.rounds import Lab
from benchmarks.lab.site import Site
from benchmarks.measures.waiters import join_all
from benchmarks.peers.meshd_peer import opened
from meshd import Settings, TaskRequest

TASKS = 20
LEASE_S = Settings().tasks.lease_seconds
PEERS = (
    "Peers, from an earlier measurement on two shared cores: BullMQ 57–59 s, dramatiq 65–75 s, streaq 60 s and more, "
    "docket and arq 5 min, taskiq 10 min, Celery 1 h for what was prefetched; what ran is gone with Celery, Huey and "
    "SAQ's default, and with RQ unless retries are set."
)


async def submit_holds(url: str) -> None:
    async with opened(url) as mesh:
        await mesh.tasks.submit_many([TaskRequest(type="hold")] * TASKS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """Seconds from a node's end until what it ran has started again."""

    first: float
    all: float


def back_after(contender: Contender, *, number: signal.Signals) -> Back:
    """Return how long the work of one of two nodes is stranded by a signal to it."""
    with Site(contender) as site:
        victim = site.start_worker(env={"BENCH_HOLDS": "1"})
        asyncio.run(join_all(site.url, 1))
        asyncio.run(submit_holds(site.url))
        site.wait(lambda marks: sum(mark.count for mark in marks) == TASKS)
        site.start_worker()
        asyncio.run(join_all(site.url, 2))
        began = time.monotonic_ns()
        victim.send(number)
        marks = site.wait(lambda marks: sum(mark.count for mark in marks) == 2 * TASKS)
        rescuer = max(marks, key=lambda mark: mark.last_ns)
        return Back(first=(rescuer.first_ns - began) / 1e9, all=(rescuer.last_ns - began) / 1e9)


def measure(lab: Lab) -> Section:
    rows = [*_rows(lab, "kill -9", signal.SIGKILL), *_rows(lab, "SIGSTOP", signal.SIGSTOP)]
    _, killed, _, frozen = rows
    limit = LEASE_S + 2
    text = f"< lease + 2 s = {limit:g} s"
    rows[1] = killed.judged(
        at_most(killed.middle(), limit, text),
        at_most(killed.middle(), 5, "< 5 s, noticed by connection"),
        at_most(killed.middle(SQLITE), limit, f"SQLite {text}"),
    )
    rows[3] = frozen.judged(at_most(frozen.middle(), limit, text))
    return Section(title="recovery", rows=rows, notes=[PEERS])


def _rows(lab: Lab, name: str, number: signal.Signals) -> list[Row]:
    found = lab.interleaved(name, partial(back_after, number=number), contenders=lab.named(MESHD, SQLITE))
    return [
        Row(
            name=f"{name} of one of two nodes, {what} of its {TASKS} tasks runs again",
            unit="s",
            values={own: [getattr(back, field) for back in backs] for own, backs in found.items()},
        )
        for what, field in (("the first", "first"), ("the last", "all"))
    ]
