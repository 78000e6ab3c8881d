"""A task for a mesh of idle nodes: how much longer it takes with a hundred of them than with one, and what it stirs up.

Claims are counted by MONITOR over a run of their own, because it slows the server. Idle nodes claim now and then
without a task, so a quiet stretch is counted first and its rate taken off.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.lab.contenders import MESHD, Contender
from benchmarks.lab.monitor import Monitor
from benchmarks.lab.report import Row, Section, at_most, times
from benchmarks.lab.rounds import Lab
from benchmarks.lab.site import Site
from benchmarks.measures.latency import SAMPLES, percentile_of
from benchmarks.peers.client import WARM_UP
from benchmarks.peers.meshd_peer import opened
from meshd.nodes.store import NODES_LOG

NODES, PROCESSES = 100, 4
SETTLED_S, QUIET_S = 2.0, 10.0
JOIN_TIMEOUT_S = 120.0
CLAIM = "task_claim"


async def join_all(url: str, count: int) -> None:
    """Return once so many nodes are there."""
    async with opened(url) as mesh, asyncio.timeout(JOIN_TIMEOUT_S), mesh.events.subscribe(NODES_LOG) as hints:
        while len(await mesh.nodes.list()) < count:
            await hints.get(timeout_ms=200)


def start_nodes(site: Site, count: int) -> None:
    for _ in range(PROCESSES if count > 1 else 1):
        site.start_worker(str(max(1, count // PROCESSES)), concurrency=8)
    asyncio.run(join_all(site.url, count))


def latency_among(contender: Contender, *, nodes: int, count: int) -> float:
    """Return the p50 of submit to start with so many nodes waiting."""
    with Site(contender) as site:
        start_nodes(site, nodes)
        return percentile_of(site.client("latency", count)["start"], 50)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stir:
    """What a mesh of idle nodes asks of its store."""

    idle: Mapping[str, float]
    """Calls per second of one node, by script or command, while nothing is submitted."""
    caused: float
    """Claims per task above those of idle nodes."""
    claims: float
    """Claims per task, all of them."""


def stirred(contender: Contender, *, nodes: int, count: int) -> Stir:
    """Return what a quiet stretch and some single tasks make so many nodes do."""
    with Site(contender) as site:
        start_nodes(site, nodes)
        time.sleep(SETTLED_S)
        with Monitor(site.server) as quiet:
            time.sleep(QUIET_S)
        with Monitor(site.server) as busy:
            site.client("latency", count)
        claims, tasks = busy.calls[CLAIM], count + WARM_UP
        return Stir(
            idle={name: quiet.per_second(name) / nodes for name in quiet.calls},
            caused=(claims - quiet.per_second(CLAIM) * busy.seconds) / tasks,
            claims=claims / tasks,
        )


def measure(lab: Lab) -> Section:
    count, own = lab.count(SAMPLES), lab.named(MESHD)
    p50s = [
        lab.interleaved(f"{nodes} waiting", partial(latency_among, nodes=nodes, count=count), contenders=own)
        for nodes in (1, NODES)
    ]
    stirs = lab.interleaved("claims", partial(stirred, nodes=NODES, count=count), contenders=own).get(MESHD, [])
    alone = Row(name="submit to start, p50, one node waits", unit="ms", values=p50s[0])
    crowd = Row(name=f"submit to start, p50, {NODES} nodes wait", unit="ms", values=p50s[1])
    caused = Row(name="claims a task causes", unit="per task", values={MESHD: [stir.caused for stir in stirs]})
    claims = Row(name="claims, idle ones too", unit="per task", values={MESHD: [stir.claims for stir in stirs]})
    idle = Row(name="calls of an idle node", unit="per s", values={MESHD: [sum(stir.idle.values()) for stir in stirs]})
    rows = [
        alone,
        crowd.judged(at_most(crowd.middle(), times(1.5, alone.middle()), "≤ 1.5 × one waiter")),
        caused.judged(at_most(caused.middle(), 3, "≤ 3")),
        claims,
        idle.judged(at_most(idle.middle(), 2, "≤ 2")),
    ]
    return Section(title=f"{NODES} idle nodes", rows=rows, notes=[_named(stir.idle) for stir in stirs[-1:]])


def _named(idle: Mapping[str, float]) -> str:
    parts = sorted(idle.items(), key=lambda item: -item[1])
    return "An idle node, per second: " + ", ".join(f"{name} {rate:.2f}" for name, rate in parts if rate >= 0.01) + "."
