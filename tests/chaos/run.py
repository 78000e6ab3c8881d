"""One chaos run: a client, four nodes in processes of their own, a nemesis, and the check of what happened."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from meshd import Mesh
from meshd.tasks.model import Priority
from tests.chaos.checker import check
from tests.chaos.client import Follower, Submitter, audit, read_finals, read_node_entries
from tests.chaos.effects import read_effects
from tests.chaos.fleet import Fleet
from tests.chaos.history import STORE, History, Remains, Rule
from tests.chaos.nemesis import Blow, Nemesis, plan_strikes
from tests.chaos.outcome import Outcome, recovery, rerun, subjects
from tests.chaos.stores import Store, open_store
from tests.chaos.work import brisk_settings, request
from tests.support.proxy import Proxy, proxied

MESH = "chaos"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What to do to whom."""

    backend: str
    tasks: int
    kills: int
    store_kills: int = 0
    freezes: int = 0
    leaves: int = 0
    lost_answers: float = 0.0
    """Share of the store's answers to nodes that is cut off on the way (Redis only)."""
    fsync: str = "everysec"
    """When Redis syncs its append-only file: everysec or always."""
    seed: int = 7
    nodes: int = 4
    concurrency: int = 8
    timeout_s: float = 300.0
    """When the work must have ended; whatever has not by then counts as lost."""

    @property
    def blows(self) -> dict[Blow, int]:
        return {
            Blow.KILL: self.kills,
            Blow.STORE: self.store_kills,
            Blow.FREEZE: self.freezes,
            Blow.LEAVE: self.leaves,
        }


async def carry_out(run: Run, directory: Path) -> Outcome:
    """Do the run in `directory`, which must be empty, and check it."""
    began = time.monotonic()
    store = await asyncio.to_thread(open_store, run.backend, directory, fsync=run.fsync)
    try:
        async with Mesh(store.url, settings=brisk_settings(MESH)) as mesh:
            durability = (await mesh.backend.health()).durability
            history, repeated = await _history(run, directory=directory, store=store, mesh=mesh)
    finally:
        store.close()
    violations = check(history)
    return Outcome(
        backend=run.backend,
        durability=durability,
        seed=run.seed,
        submitted=len(history.acknowledged),
        completed=sum(final is not None and final.state == "completed" for final in history.finals.values()),
        rerun=rerun(history.entries),
        lost=subjects(violations, Rule.LOST),
        double=subjects(violations, Rule.DOUBLE),
        node_kills=sum(kill.life != STORE for kill in history.kills),
        store_kills=sum(kill.life == STORE for kill in history.kills),
        freezes=len(history.freezes),
        leaves=history.leaves,
        lost_answers=history.lost_answers,
        repeated_submits=repeated,
        recovery=recovery(history, of=_timely(history, seed=run.seed)),
        seconds=time.monotonic() - began,
        violations=tuple(violations),
        last_words=history.last_words,
        audited=0 if history.remains is None else history.remains.audited,
    )


def _timely(history: History, *, seed: int) -> set[str]:
    """Return the tasks that do not let others go first: how fast the rest ends says nothing about recovery."""
    late = {Priority.LOW, Priority.BACKGROUND}
    return {
        receipt.task_id for receipt in history.acknowledged if request(receipt.number, seed=seed).priority not in late
    }


async def _history(run: Run, *, directory: Path, store: Store, mesh: Mesh) -> tuple[History, int]:
    async with _network(run, store) as proxy:
        url = store.url if proxy is None else proxy.url
        fleet = Fleet(url=url, mesh=MESH, directory=directory, concurrency=run.concurrency)
        history, repeated = await _witnessed(run, directory=directory, store=store, mesh=mesh, fleet=fleet)
        return replace(history, lost_answers=0 if proxy is None else proxy.lost_answers), repeated


async def _witnessed(run: Run, *, directory: Path, store: Store, mesh: Mesh, fleet: Fleet) -> tuple[History, int]:
    nemesis = Nemesis(fleet, store)
    follower = Follower(mesh)
    submitter = Submitter(mesh, follower, seed=run.seed)
    try:
        async with _following(follower):
            await _work(run, fleet=fleet, nemesis=nemesis, follower=follower, submitter=submitter)
            await fleet.leave()
            newest = await mesh.events.latest("tasks")
            await follower.until(lambda: follower.cursor == newest)
        ids = [receipt.task_id for receipt in submitter.acknowledged]
        return History(
            acknowledged=submitter.acknowledged,
            finals=await read_finals(mesh, ids),
            entries=follower.entries,
            node_entries=await read_node_entries(mesh),
            effects=list(read_effects(directory)),
            kills=nemesis.kills,
            freezes=nemesis.freezes,
            leaves=nemesis.leaves,
            exits=fleet.exits,
            last_words=fleet.last_words(),
            remains=await _remains(fleet, store=store, mesh=mesh),
        ), submitter.repeated
    finally:
        fleet.close()


@asynccontextmanager
async def _network(run: Run, store: Store) -> AsyncGenerator[Proxy | None, None]:
    """What lies between the nodes and the store, if it is to lose answers."""
    if run.lost_answers == 0 or store.port is None:
        yield None
        return
    rng = Random(f"{run.seed}/network")
    async with proxied(store.port) as proxy:
        proxy.lose_answers(should_cut=lambda: rng.random() < run.lost_answers)
        yield proxy


async def _work(run: Run, *, fleet: Fleet, nemesis: Nemesis, follower: Follower, submitter: Submitter) -> None:
    """Return when all work has ended, or when it took too long: then the check will tell what is missing."""
    for number in range(1, run.nodes + 1):
        fleet.start(f"n{number}")
    rng = Random(f"{run.seed}/nemesis")
    strikes = plan_strikes(rng, run.blows)

    async def reached(share: float) -> None:
        await follower.until(lambda: len(follower.completed) >= share * run.tasks)

    try:
        async with asyncio.timeout(run.timeout_s), asyncio.TaskGroup() as group:
            group.create_task(submitter.run(run.tasks))
            group.create_task(nemesis.run(strikes, reached=reached))
            group.create_task(reached(1.0))
    except TimeoutError:
        return


async def _remains(fleet: Fleet, *, store: Store, mesh: Mesh) -> Remains:
    audited, findings = await audit(mesh)
    return Remains(
        counts={str(state): count for state, count in (await mesh.tasks.counts()).items()},
        open_counts=await mesh.backend.tasks.open_counts(fleet.names),
        indexes=await asyncio.to_thread(store.indexes, MESH),
        audited=audited,
        findings=findings,
    )


@asynccontextmanager
async def _following(follower: Follower) -> AsyncGenerator[None, None]:
    """Follow for the length of the block; an error of the follower ends the block."""
    async with asyncio.TaskGroup() as group:
        following = group.create_task(follower.run())
        yield
        following.cancel()
