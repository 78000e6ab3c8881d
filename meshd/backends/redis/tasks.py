"""`TaskStore` on Redis: each batch is one script, so each step is atomic and fenced in the store itself."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from time import monotonic

from meshd.backends.redis import bells, task_scripts
from meshd.backends.redis.connection import Connection
from meshd.backends.redis.durability import DurabilityProbe
from meshd.tasks.model import (
    Claimer,
    Ending,
    Hold,
    NewTask,
    Outcome,
    Receipt,
    SweepReport,
    Task,
    TaskFilter,
    TaskPage,
    TaskState,
)
from meshd.tasks.store import MAX_BATCH, check_batch

READ_CHUNK = 64
"""Tasks read per script; a payload may have a megabyte."""
LIST_STEPS = 4
"""Most steps one page of a listing takes before it is returned as it is."""
TIDY_S = 30.0


@lru_cache(maxsize=1024)
def _profile(task_types: frozenset[str], capabilities: frozenset[str]) -> tuple[str, bytes]:
    spec = bells.spec_of(Claimer(node_id="", incarnation=0, task_types=task_types, capabilities=capabilities))
    return bells.profile_of(spec), spec


class RedisTaskStore:
    """The tasks of one mesh."""

    def __init__(self, connection: Connection, *, durability: DurabilityProbe) -> None:
        self._store = connection
        self._durability = durability
        self._timings = connection.options.tasks
        self._tidy_at = monotonic() + TIDY_S

    async def submit(self, tasks: Sequence[NewTask]) -> Sequence[Receipt]:
        check_batch(tasks)
        if not tasks:
            return []
        level = await self._durability.level()
        return await task_scripts.submit(self._store, tasks=tasks, durability=level)

    async def claim(self, claimer: Claimer, *, limit: int, lease_ms: int) -> Sequence[Task]:
        if limit < 1:
            return []
        profile, spec = _profile(claimer.task_types, claimer.capabilities)
        bell = bells.name_of(claimer, profile)
        while True:
            claimed = await task_scripts.claim(
                self._store,
                claimer=claimer,
                profile=profile,
                bell=bell,
                limit=min(limit, MAX_BATCH),
                lease_ms=lease_ms,
                patience_ms=2 * self._timings.poll_ms,
            )
            if claimed is None:
                await task_scripts.add_profile(self._store, profile=profile, spec=spec)
            elif claimed.tasks or not claimed.more:
                return claimed.tasks

    async def wait_for_work(self, claimer: Claimer, *, timeout_ms: int) -> bool:
        profile, _ = _profile(claimer.task_types, claimer.capabilities)
        return await bells.wait(self._store, bell=bells.name_of(claimer, profile), timeout_ms=timeout_ms)

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
        return await task_scripts.finish(self._store, endings=endings) if endings else []

    async def cancel(self, task_id: str, *, reason: str) -> Task:
        return await task_scripts.cancel(self._store, task_id=task_id, reason=reason)

    async def redrive(self, task_id: str) -> Task:
        return await task_scripts.redrive(self._store, task_id=task_id)

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
        return await task_scripts.sweep(self._store, limit=bounded, interval_ms=self._timings.sweep_ms)

    async def watch(self, task_ids: Sequence[str], *, topic: str) -> Sequence[Task | None]:
        found: list[Task | None] = []
        for at in range(0, len(task_ids), READ_CHUNK):
            chunk = task_ids[at : at + READ_CHUNK]
            found += await task_scripts.watch(self._store, task_ids=chunk, topic=topic)
        return found
