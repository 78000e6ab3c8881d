"""`TaskStore` on Redis: each batch is one script, so each step is atomic and fenced in the store itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from time import monotonic

from meshd.backends.redis import bells, task_audit, task_scripts
from meshd.backends.redis.durability import DurabilityProbe
from meshd.backends.redis.link import Link
from meshd.tasks.audit import AuditPage
from meshd.tasks.leases import standstill_ms
from meshd.tasks.model import (
    Claimed,
    Claimer,
    Durability,
    Ending,
    Hold,
    NewTask,
    Outcome,
    Pauses,
    Priority,
    Receipt,
    SweepReport,
    Task,
    TaskFilter,
    TaskPage,
    TaskState,
    Wake,
)
from meshd.tasks.store import FEW_STEPS, MANY_STEPS, MAX_BATCH, TOLD_AT_ONCE, check_batch, check_parents

READ_CHUNK = 64
"""Tasks read per script; a payload may have a megabyte."""
LIST_STEPS = 4
"""Most steps one page of a listing takes before it is returned as it is."""
TIDY_S = 120.0


@lru_cache(maxsize=1024)
def _asker(claimer: Claimer) -> tuple[task_scripts.Asker, bytes]:
    """Return the claimer as scripts know it, and what its profile stands for."""
    spec = bells.spec_of(claimer)
    profile = bells.profile_of(spec)
    return task_scripts.Asker(claimer=claimer, profile=profile, bell=bells.name_of(claimer, profile)), spec


class RedisTaskStore:
    """The tasks of one mesh."""

    starts_ahead = True

    def __init__(self, connection: Link, *, durability: DurabilityProbe) -> None:
        self._store = connection
        self._durability = durability
        self._timings = connection.options.tasks
        self._read: dict[str, int] = {}
        """By bell, the token of the task that was read from it and that the next claim takes away."""
        self._tidy_at = monotonic() + TIDY_S

    def bell_of(self, claimer: Claimer) -> str:
        """Return the name of the bell that rings for a claimer."""
        return _asker(claimer)[0].bell

    async def submit(self, tasks: Sequence[NewTask], *, durability: Durability | None = None) -> Sequence[Receipt]:
        check_batch(tasks)
        check_parents(tasks)
        if not tasks:
            return []
        level = await self._durability.reach(durability)
        return await task_scripts.submit(self._store, tasks=tasks, durability=level)

    async def claim(self, claimer: Claimer, *, limit: int, lease_ms: int, alone: bool = False) -> Claimed:
        if limit < 1:
            return Claimed()
        asker, spec = _asker(claimer)
        while True:
            grab = await task_scripts.claim(
                self._store,
                asker=asker,
                limit=min(limit, MAX_BATCH),
                lease_ms=lease_ms,
                patience_ms=2 * self._timings.poll_ms,
                alone=alone,
                read=self._read.get(asker.bell),
            )
            if grab is None:
                await task_scripts.add_profile(self._store, profile=asker.profile, spec=spec)
                continue
            self._read.pop(asker.bell, None)
            if grab.claimed.tasks or not grab.more:
                return grab.claimed

    async def ready_count(self) -> int:
        """Return how many tasks are ready, at less cost than a claim that finds none."""
        return int(await self._store.peek("HGET", self._store.keys.counts(), "ready") or 0)

    async def pass_on(self) -> None:
        """Ring another waiting claimer for what is ready: the one that was rung cannot come."""
        await task_scripts.pass_on(self._store)

    async def wait_for_work(self, claimer: Claimer, *, timeout_ms: int) -> Wake:
        asker, _ = _asker(claimer)
        wake = await bells.wait(self._store, bell=asker.bell, claimer=claimer, timeout_ms=timeout_ms)
        for task in wake.tasks:
            self._store.saw(self._store.keys.clock(self._store.keys.tasks), task.token)
            if self._read.get(asker.bell) == task.token:
                return Wake(rang=True)
            self._read[asker.bell] = task.token
        return wake

    async def reconcile(self, claimer: Claimer, *, known: Sequence[Hold]) -> int:
        asker, _ = _asker(claimer)
        moved, cursor = await task_scripts.reconcile(self._store, asker=asker, known=known, cursor="0")
        while cursor != "0":
            more, cursor = await task_scripts.reconcile(self._store, asker=asker, known=known, cursor=cursor)
            moved += more
        return moved

    async def start(self, holds: Sequence[Hold]) -> Sequence[Outcome]:
        check_batch(holds)
        return await task_scripts.start(self._store, holds=holds) if holds else []

    async def renew(self, holds: Sequence[Hold], *, lease_ms: int) -> Sequence[Outcome]:
        check_batch(holds)
        return await task_scripts.renew(self._store, holds=holds, lease_ms=lease_ms) if holds else []

    async def progress(self, hold: Hold, *, fraction: float | None, note: str) -> Outcome:
        return await task_scripts.progress(self._store, hold=hold, fraction=fraction, note=note)

    async def finish(self, endings: Sequence[Ending]) -> Sequence[Outcome]:
        check_batch(endings)
        if not endings:
            return []
        outcomes, settles = await task_scripts.finish(self._store, endings=endings)
        if settles:
            await self._settle(steps=FEW_STEPS)
        return outcomes

    async def _settle(self, *, steps: int) -> tuple[int, bool]:
        """Tell tasks of the ends they wait for; return how many were told, and whether there are more."""
        told, more = 0, True
        while more and steps > 0:
            batch, more = await task_scripts.settle(self._store, limit=TOLD_AT_ONCE)
            told, steps = told + batch, steps - 1
        return told, more

    async def cancel(self, task_id: str, *, reason: str) -> Task:
        task, settles = await task_scripts.cancel(self._store, task_id=task_id, reason=reason)
        if settles:
            await self._settle(steps=FEW_STEPS)
        return task

    async def redrive(self, task_id: str) -> Task:
        return await task_scripts.redrive(self._store, task_id=task_id)

    async def reprioritize(self, task_id: str, priority: Priority) -> Task:
        return await task_scripts.reprioritize(self._store, task_id=task_id, priority=priority)

    async def purge(self, task_ids: Sequence[str]) -> Sequence[bool]:
        check_batch(task_ids)
        return await task_scripts.purge(self._store, task_ids=task_ids) if task_ids else []

    async def pause(self, task_type: str | None = None) -> None:
        await task_scripts.pause(self._store, task_type=task_type)

    async def resume(self, task_type: str | None = None) -> None:
        while await task_scripts.resume(self._store, task_type=task_type):
            pass

    async def paused(self) -> Pauses:
        return await task_scripts.paused(self._store)

    async def get(self, task_ids: Sequence[str]) -> Sequence[Task | None]:
        found: list[Task | None] = []
        for at in range(0, len(task_ids), READ_CHUNK):
            found += await task_scripts.get(self._store, task_ids=task_ids[at : at + READ_CHUNK])
        return found

    async def list(self, where: TaskFilter, *, limit: int, cursor: str | None = None) -> TaskPage:
        found: tuple[Task, ...] = ()
        for _ in range(LIST_STEPS):
            page = await task_scripts.list_page(self._store, where=where, limit=limit - len(found), cursor=cursor or "")
            found += page.tasks
            cursor = page.cursor
            if cursor is None or len(found) >= limit:
                break
        return TaskPage(tasks=found, cursor=cursor)

    async def counts(self) -> Mapping[TaskState, int]:
        return await task_scripts.counts(self._store)

    async def open_counts(self, node_ids: Sequence[str]) -> Mapping[str, int]:
        if not node_ids:
            return {}
        sizes = await self._store.pipeline([("SCARD", self._store.keys.held(node_id)) for node_id in node_ids])
        return dict(zip(node_ids, map(int, sizes), strict=True))

    async def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        moved, cursor = await task_scripts.reclaim(
            self._store, node_id=node_id, up_to_incarnation=up_to_incarnation, cursor="0"
        )
        while cursor != "0":
            more, cursor = await task_scripts.reclaim(
                self._store, node_id=node_id, up_to_incarnation=up_to_incarnation, cursor=cursor
            )
            moved += more
        return moved

    async def sweep(self, *, limit: int = 200) -> SweepReport:
        if monotonic() >= self._tidy_at:
            self._tidy_at = monotonic() + TIDY_S
            await task_scripts.tidy(self._store)
        bounded = max(1, min(limit, MAX_BATCH))
        report, settles = await task_scripts.sweep(
            self._store, limit=bounded, standstill_ms=standstill_ms(self._timings)
        )
        if not settles:
            return report
        told, more = await self._settle(steps=MANY_STEPS)
        return replace(report, settled=told, more=report.more or more)

    async def audit(self, *, repair: bool, cursor: str | None = None) -> AuditPage:
        return await task_audit.audit(self._store, repair=repair, cursor=cursor)

    async def watch(self, task_ids: Sequence[str], *, topic: str) -> Sequence[Task | None]:
        found: list[Task | None] = []
        for at in range(0, len(task_ids), READ_CHUNK):
            chunk = task_ids[at : at + READ_CHUNK]
            found += await task_scripts.watch(self._store, task_ids=chunk, topic=topic)
        return found
