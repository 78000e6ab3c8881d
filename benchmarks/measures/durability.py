"""What it costs to survive a power loss: the same work with an append-only file synced before every answer (D2)."""

import asyncio
from dataclasses import dataclass
from functools import partial

from benchmarks.lab.contenders import MESHD, Contender
from benchmarks.lab.report import Row, Section, at_least, times
from benchmarks.lab.rounds import Lab
from benchmarks.lab.site import Site
from benchmarks.measures.throughput import work_off
from benchmarks.peers.meshd_peer import opened

TASKS = 30_000
PLAIN, SYNCED = "meshd, D0", "meshd, D2 (AOF, appendfsync always)"
LEVELS = {PLAIN: False, SYNCED: True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Tasks/s at one level."""

    worked: float
    submitted: float


def bulk(contender: Contender, *, count: int, aof_always: bool) -> float:
    with Site(contender, aof_always=aof_always) as site:
        return count / float(site.client("bulk", count)["seconds"])


async def level_of(url: str) -> str:
    async with opened(url) as mesh:
        return str((await mesh.backend.health()).durability)


def named_level(contender: Contender) -> str:
    """Return the level meshd itself names on such a server."""
    with Site(contender, aof_always=True) as site:
        return asyncio.run(level_of(site.url))


def both(contender: Contender, *, count: int) -> dict[str, Rates]:
    """Return what one worker process and one producer do, by level."""
    return {
        level: Rates(
            worked=work_off(contender, count=count, aof_always=synced).rate,
            submitted=bulk(contender, count=count, aof_always=synced),
        )
        for level, synced in LEVELS.items()
    }


def measure(lab: Lab) -> Section:
    own = lab.named(MESHD)
    runs = lab.interleaved("durability", partial(both, count=lab.count(TASKS)), contenders=own).get(MESHD, [])
    worked = {level: [run[level].worked for run in runs] for level in LEVELS}
    submitted = {level: [run[level].submitted for run in runs] for level in LEVELS}
    work = Row(name="one worker process", unit="tasks/s", values=worked)
    rows = [
        work.judged(at_least(work.middle(SYNCED), times(0.4, work.middle(PLAIN)), "≥ .4 × D0")),
        Row(name="submit_many", unit="tasks/s", values=submitted),
    ]
    levels = ", ".join(named_level(contender) for contender in own)
    return Section(title="durability", rows=rows, notes=[f"Asked there, meshd names its level {levels}."])
