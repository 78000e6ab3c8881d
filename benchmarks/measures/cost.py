"""What a claim costs the server as queues and routes grow: microseconds of the script, by the server's own count.

One claimer takes tasks, one or ten at a time, ends them and submits as many, so the queue keeps its length. Only the
claim is counted, so neither this process nor the connection matters. With many routes, neighbours in the order of
service are of different ones: the worst case for a claim of ten.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log10
from statistics import median

from benchmarks.lab.contenders import MESHD, Contender
from benchmarks.lab.report import Row, Section, at_most, times
from benchmarks.lab.rounds import Lab
from benchmarks.lab.servers import Server
from benchmarks.lab.site import Site
from benchmarks.peers.client import TEXT
from benchmarks.peers.meshd_peer import opened
from meshd import Mesh, TaskRequest
from meshd.backends.port import Backend
from meshd.nodes.model import NodeProfile, NodeStatus, Vitals
from meshd.tasks.model import Claimer, Completed, Hold, Task

LIMITS = (1, 10)
CLAIMS = 200
LEASE_MS = 60_000
CHUNK = 10_000
"""Tasks that this process holds at once."""
SPREAD = 10_000
"""Tasks queued while routes are counted."""
QUEUED = (10, 1_000, 100_000)
BIG = 1_000_000
ROUTES = (1, 10, 100, 1_000)
HUGE = 10_000_000
GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How much there is while claims are counted."""

    queued: int
    routes: int
    served: int
    """How many of the routes the claimer serves."""

    @property
    def name(self) -> str:
        routes = f"{self.routes:,} route" + ("s" if self.routes > 1 else "")
        among = f", {self.served:,} of them served" if self.served < self.routes else ""
        return f"{self.queued:,} queued, {routes}{among}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One setting, measured."""

    micros: Mapping[int, float]
    """Of one claim, by its limit."""
    task_bytes: float


def cost_of(contender: Contender, *, setting: Setting) -> Cost:
    """Return what a claim costs the server in this setting."""
    with Site(contender) as site:
        return asyncio.run(_cost(site, setting))


async def _cost(site: Site, setting: Setting) -> Cost:
    types = [f"type-{number}" for number in range(setting.routes)]
    async with opened(site.url) as mesh:
        claimer = await _join(mesh, types[: setting.served])
        await _submit(mesh, types[:1])
        empty = site.server.read().memory
        await _submit(mesh, [types[number % len(types)] for number in range(setting.queued)])
        held = site.server.read().memory - empty
        micros = {
            limit: median([await _one(mesh, claimer, site.server, limit=limit) for _ in range(CLAIMS)])
            for limit in LIMITS
        }
        return Cost(micros=micros, task_bytes=held / setting.queued)


async def _join(mesh: Mesh, types: Sequence[str]) -> Claimer:
    served = frozenset(types)
    profile = NodeProfile(id="claimer", task_types=served)
    membership = await mesh.backend.nodes.join(profile, Vitals(status=NodeStatus.ACTIVE))
    return Claimer(
        node_id=profile.id, incarnation=membership.incarnation, task_types=served, capabilities=profile.all_capabilities
    )


async def _submit(mesh: Mesh, types: Sequence[str]) -> None:
    for start in range(0, len(types), CHUNK):
        chunk = types[start : start + CHUNK]
        await mesh.tasks.submit_many(TaskRequest(type=task_type, payload={"text": TEXT}) for task_type in chunk)


async def _one(mesh: Mesh, claimer: Claimer, server: Server, *, limit: int) -> float:
    """Return microseconds of one claim; the queue is as long afterwards as before."""
    _, before = server.cost_of("evalsha")
    claimed = await mesh.backend.tasks.claim(claimer, limit=limit, lease_ms=LEASE_MS)
    _, after = server.cost_of("evalsha")
    await _end(mesh.backend, claimed.tasks)
    await _submit(mesh, [task.type for task in claimed.tasks])
    return after - before


async def _end(backend: Backend, tasks: Sequence[Task]) -> None:
    holds = [Hold(task_id=task.id, token=task.token) for task in tasks]
    await backend.tasks.start(holds)
    await backend.tasks.finish([Completed(hold=hold, result=b"null") for hold in holds])


def measure(lab: Lab) -> Section:
    lengths = [Setting(queued=queued, routes=1, served=1) for queued in ((*QUEUED, BIG) if lab.big else QUEUED)]
    spread = [Setting(queued=SPREAD, routes=routes, served=routes) for routes in ROUTES]
    own = lab.named(MESHD)
    found = {
        setting: lab.interleaved(setting.name, partial(cost_of, setting=setting), contenders=own).get(MESHD, [])
        for setting in (*lengths, *spread, Setting(queued=SPREAD, routes=ROUTES[-1], served=1))
    }
    rows = [_row(setting, limit, costs) for limit in LIMITS for setting, costs in found.items()]
    return Section(
        title="cost of a claim",
        rows=_judged(rows, lengths=len(lengths), settings=len(found)),
        notes=[
            _arithmetic(
                found[lengths[-2]],
                found[lengths[-1]],
                step=lengths[-1].queued / lengths[-2].queued,
                queued=lengths[-1].queued,
            )
        ],
    )


def _row(setting: Setting, limit: int, costs: Sequence[Cost]) -> Row:
    values = {MESHD: [cost.micros[limit] for cost in costs]}
    return Row(name=f"claim of {limit}: {setting.name}", unit="µs of Redis", values=values)


def _judged(rows: Sequence[Row], *, lengths: int, settings: int) -> list[Row]:
    """Hold each row to the smallest of its kind: rows come by limit, in each first the lengths, then the routes."""
    judged: list[Row] = []
    for at, row in enumerate(rows):
        place = at % settings
        smallest = rows[at - place + (0 if place < lengths else lengths)]
        goal = at_most(row.middle(), times(1.5, smallest.middle()), f"≤ 1.5 × {smallest.name.partition(': ')[2]}")
        judged.append(row if row is smallest else row.judged(goal))
    return judged


def _arithmetic(shorter: Sequence[Cost], longest: Sequence[Cost], *, step: float, queued: int) -> str:
    """Say what `queued`, the longest queue measured and `step` times the one before, means for ten million."""
    if not shorter or not longest:
        return ""
    limit = LIMITS[-1]
    now = median(cost.micros[limit] for cost in longest)
    added = max(0.0, now - median(cost.micros[limit] for cost in shorter))
    then = now + added * log10(HUGE / queued) / log10(step)
    held = median(cost.task_bytes for cost in longest)
    return (
        f"To {HUGE:,} queued: {held:.0f} bytes each are {held * HUGE / GIB:.1f} GiB. The claim's work grows with the "
        f"logarithm of the queue at most: {step:g} times as many, up to {queued:,}, added {added:.0f} µs to a claim of "
        f"{limit}, so it would take {then:.0f} µs there, {then / limit:.0f} µs per task."
    )
