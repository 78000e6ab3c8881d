"""`TaskStore` of a mesh with several partitions: each task is in one of them, and each step goes where its task is.

What is exact within a partition is not across them: a claim serves the smallest virtual times of the partitions it
visits, a batch is all or none in each, a pause spreads from one to the next, and the queue's size is shared out evenly.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from meshd.backends.redis.ear import Ear
from meshd.backends.redis.partitions import partition_of
from meshd.backends.redis.rounds import Plan, Rounds
from meshd.backends.redis.slots import SlotElsewhereError
from meshd.backends.redis.tasks import RedisTaskStore
from meshd.errors import InvalidArgumentError, ParentsApartError, UnavailableError
from meshd.ids import TAIL, tail_of
from meshd.tasks.audit import AuditPage, Finding
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
from meshd.tasks.store import check_batch, check_parents

AWAY_S = 1.0
"""A partition that could not be asked is left out of claims for so long."""
REFUSALS = (UnavailableError, SlotElsewhereError)
"""What a store raises that did nothing and will be there again; kinds of these say more, and are not among them."""

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class PartitionedTaskStore:
    """The tasks of one mesh."""

    starts_ahead = False

    def __init__(
        self, parts: Sequence[RedisTaskStore], *, claiming: Sequence[RedisTaskStore], ear: Ear, rounds: Rounds
    ) -> None:
        self._parts = parts
        self._claiming = claiming
        self._away: dict[int, float] = {}
        self._ear = ear
        self._rounds = rounds
        self._full: set[str] = set()
        self._suspects: dict[str, set[int]] = {}
        """Where each claimer last saw that suspects wait: what one partition has is not forgotten at another."""
        self._passing: set[asyncio.Task[None]] = set()
        ear.pass_on = self._pass_on

    async def submit(self, tasks: Sequence[NewTask], *, durability: Durability | None = None) -> Sequence[Receipt]:
        check_batch(tasks)
        check_parents(tasks)
        for task in tasks:
            _check_tail(task)
            self._check_parents_near(task)
        return await self._spread(tasks, _id, lambda part, group: part.submit(group, durability=durability))

    async def claim(self, claimer: Claimer, *, limit: int, lease_ms: int, alone: bool = False) -> Claimed:
        bell = self._parts[0].bell_of(claimer)
        self._full.discard(bell)
        missed = not await self._ear.listen(bell)
        suspects = self._suspects.setdefault(bell, set())
        first = self._ear.take(bell) | suspects if alone else self._ear.take(bell)
        away = self._left_out()
        plan = self._rounds.plan(bell, limit=1 if alone else limit, rung=first - away, away=away, missed=missed)
        visit = partial(self._visit, claimer, lease_ms=lease_ms, alone=alone)
        answers = await visit(plan)
        if plan.is_fruitless and plan.passed_over:
            counts = await _all(
                self._unless_away(number, self._claiming[number].ready_count) for number in plan.passed_over
            )
            plan.add([number for number, count in zip(plan.passed_over, counts, strict=True) if count])
            answers += await visit(plan)
        if plan.is_filled:
            self._full.add(bell)
            for number in plan.not_visited | self._ear.take(bell):
                self._pass_on(bell, number)
        for number, claimed in answers:
            (suspects.add if claimed.suspects_wait else suspects.discard)(number)
        found = (task for _, claimed in answers for task in claimed.tasks)
        return Claimed(
            tasks=tuple(sorted(found, key=lambda task: task.vt) if len(answers) > 1 else found),
            suspects_wait=bool(suspects),
            now_ms=max((claimed.now_ms for _, claimed in answers), default=0),
        )

    async def _visit(self, claimer: Claimer, plan: Plan, *, lease_ms: int, alone: bool) -> list[tuple[int, Claimed]]:
        """Carry out a plan; return what each partition gave."""
        answers: list[tuple[int, Claimed]] = []
        while visits := plan.wave():
            wave = await _all(
                self._unless_away(
                    number, partial(self._claiming[number].claim, claimer, limit=share, lease_ms=lease_ms, alone=alone)
                )
                for number, share in visits
            )
            given = [
                (number, claimed) for (number, _), claimed in zip(visits, wave, strict=True) if claimed is not None
            ]
            plan.visited({number: len(claimed.tasks) for number, claimed in given})
            answers += given
        return answers

    def _left_out(self) -> frozenset[int]:
        """Return the partitions that could not be asked a moment ago, unless no other is left."""
        now = monotonic()
        away = frozenset(number for number, until in self._away.items() if until > now)
        return away if len(away) < len(self._parts) else frozenset()

    async def _unless_away(self, number: int, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
        """Return the answer of a partition, `None` while its store refuses to be asked: there are others.

        Raises:
            UnavailableError: it may have been asked, or it is the last one left.
        """
        try:
            answer = await ask()
        except UnavailableError as exc:
            self._away[number] = monotonic() + AWAY_S
            if type(exc) not in REFUSALS or len(self._away) == len(self._parts):
                raise
            return None
        self._away.pop(number, None)
        return answer

    async def wait_for_work(self, claimer: Claimer, *, timeout_ms: int) -> Wake:
        bell = self._parts[0].bell_of(claimer)
        await self._ear.listen(bell)
        return Wake(rang=await self._ear.wait(bell, timeout_ms=timeout_ms))

    async def reconcile(self, claimer: Claimer, *, known: Sequence[Hold]) -> int:
        groups = self._grouped(known, _task_id)
        return sum(
            await _all(
                part.reconcile(claimer, known=[known[at] for at in groups.get(number, ())])
                for number, part in enumerate(self._parts)
            )
        )

    async def start(self, holds: Sequence[Hold]) -> Sequence[Outcome]:
        check_batch(holds)
        return await self._spread(holds, _task_id, lambda part, group: part.start(group))

    async def renew(self, holds: Sequence[Hold], *, lease_ms: int) -> Sequence[Outcome]:
        check_batch(holds)
        return await self._spread(holds, _task_id, lambda part, group: part.renew(group, lease_ms=lease_ms))

    async def progress(self, hold: Hold, *, fraction: float | None, note: str) -> Outcome:
        return await self._part(hold.task_id).progress(hold, fraction=fraction, note=note)

    async def finish(self, endings: Sequence[Ending]) -> Sequence[Outcome]:
        check_batch(endings)
        return await self._spread(endings, lambda ending: ending.hold.task_id, lambda part, group: part.finish(group))

    async def cancel(self, task_id: str, *, reason: str) -> Task:
        return await self._part(task_id).cancel(task_id, reason=reason)

    async def redrive(self, task_id: str) -> Task:
        return await self._part(task_id).redrive(task_id)

    async def reprioritize(self, task_id: str, priority: Priority) -> Task:
        return await self._part(task_id).reprioritize(task_id, priority)

    async def purge(self, task_ids: Sequence[str]) -> Sequence[bool]:
        check_batch(task_ids)
        return await self._spread(task_ids, str, lambda part, group: part.purge(group))

    async def pause(self, task_type: str | None = None) -> None:
        await _all(part.pause(task_type) for part in self._parts)

    async def resume(self, task_type: str | None = None) -> None:
        await _all(part.resume(task_type) for part in self._parts)

    async def paused(self) -> Pauses:
        found = await _all(part.paused() for part in self._parts)
        return Pauses(
            mesh=any(pauses.mesh for pauses in found),
            task_types=frozenset[str]().union(*(pauses.task_types for pauses in found)),
        )

    async def get(self, task_ids: Sequence[str]) -> Sequence[Task | None]:
        return await self._spread(task_ids, str, lambda part, group: part.get(group))

    async def list(self, where: TaskFilter, *, limit: int, cursor: str | None = None) -> TaskPage:
        pages = await _all(part.list(where, limit=limit, cursor=cursor) for part in self._parts)
        return _newest(pages, limit=limit)

    async def counts(self) -> Mapping[TaskState, int]:
        return _sum(await _all(part.counts() for part in self._parts))

    async def open_counts(self, node_ids: Sequence[str]) -> Mapping[str, int]:
        return _sum([await part.open_counts(node_ids) for part in self._parts])

    async def reclaim(self, node_id: str, *, up_to_incarnation: int) -> int:
        return sum(await _all(part.reclaim(node_id, up_to_incarnation=up_to_incarnation) for part in self._parts))

    async def sweep(self, *, limit: int = 200) -> SweepReport:
        share = max(1, limit // len(self._parts))
        reports = await _all(part.sweep(limit=share) for part in self._parts)
        return SweepReport(
            promoted=sum(report.promoted for report in reports),
            reclaimed=sum(report.reclaimed for report in reports),
            opened=sum(report.opened for report in reports),
            buried=sum(report.buried for report in reports),
            expired=sum(report.expired for report in reports),
            settled=sum(report.settled for report in reports),
            graced=any(report.graced for report in reports),
            more=any(report.more for report in reports),
            is_quiet=all(report.is_quiet for report in reports),
        )

    async def audit(self, *, repair: bool, cursor: str | None = None) -> AuditPage:
        number, _, rest = (cursor or "0:").partition(":")
        if not number.isdecimal() or int(number) >= len(self._parts):
            raise InvalidArgumentError(f"cursor {cursor!r} is not one that an audit gave")
        checked, findings = 0, list[Finding]()
        for at in range(int(number), len(self._parts)):
            page = await self._parts[at].audit(repair=repair, cursor=rest or None)
            checked, rest = checked + page.checked, page.cursor or ""
            findings += page.findings
            is_last = not rest and at + 1 == len(self._parts)
            if checked or findings or rest or is_last:
                following = None if is_last else f"{at if rest else at + 1}:{rest}"
                return AuditPage(checked=checked, findings=tuple(findings), cursor=following)
        return AuditPage()

    async def watch(self, task_ids: Sequence[str], *, topic: str) -> Sequence[Task | None]:
        return await self._spread(task_ids, str, lambda part, group: part.watch(group, topic=topic))

    async def aclose(self) -> None:
        """End every wait. Idempotent."""
        for passing in self._passing:
            passing.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        await self._ear.aclose()

    def _pass_on(self, bell: str, number: int) -> bool:
        """Have somebody else rung in a claimer's place if it got all it asked for; return whether that is so."""
        if bell not in self._full:
            return False
        self._rounds.drop(bell, number)
        passing = asyncio.create_task(self._ring_another(number), name=f"meshd ring p{number}")
        self._passing.add(passing)
        passing.add_done_callback(self._passing.discard)
        return True

    async def _ring_another(self, number: int) -> None:
        with suppress(UnavailableError):
            await self._parts[number].pass_on()

    def _check_parents_near(self, task: NewTask) -> None:
        """Raise unless a task is kept where its parents are."""
        number = partition_of(task.id, len(self._parts))
        for parent in task.depends_on:
            if partition_of(parent, len(self._parts)) != number:
                raise ParentsApartError(task.id, parent_id=parent)

    def _part(self, task_id: str) -> RedisTaskStore:
        return self._parts[partition_of(task_id, len(self._parts))]

    def _grouped(self, items: Sequence[Item], id_of: Callable[[Item], str]) -> Mapping[int, Sequence[int]]:
        """Return where the items of each partition stand in the sequence."""
        groups: dict[int, list[int]] = {}
        for at, item in enumerate(items):
            groups.setdefault(partition_of(id_of(item), len(self._parts)), []).append(at)
        return groups

    async def _spread(
        self,
        items: Sequence[Item],
        id_of: Callable[[Item], str],
        act: Callable[[RedisTaskStore, Sequence[Item]], Awaitable[Sequence[Answer]]],
    ) -> Sequence[Answer]:
        """Act on the items of each partition there, and return the answers in the order of the items."""
        groups = self._grouped(items, id_of)
        if len(groups) == 1:
            return await act(self._parts[next(iter(groups))], items)
        parts = await _all(act(self._parts[number], [items[at] for at in places]) for number, places in groups.items())
        placed = {
            at: answer
            for places, answers in zip(groups.values(), parts, strict=True)
            for at, answer in zip(places, answers, strict=True)
        }
        return [placed[at] for at in range(len(items))]


async def _all(calls: Any) -> list[Any]:
    """Return every answer once all calls have ended, or raise their first error then: no call is left behind."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return answers


def _id(task: NewTask) -> str:
    return task.id


def _task_id(hold: Hold) -> str:
    return hold.task_id


def _check_tail(task: NewTask) -> None:
    if task.idempotency_key is not None and task.id[-TAIL:] != tail_of(task.idempotency_key):
        raise InvalidArgumentError(
            f"task id {task.id} was not made for its idempotency key {task.idempotency_key!r}: use new_id(key=…)"
        )


def _newest(pages: Sequence[TaskPage], *, limit: int) -> TaskPage:
    """Return what all pages together show from the newest down to where the first of them ends."""
    horizon = max((page.cursor for page in pages if page.cursor is not None), default="")
    tasks = sorted((task for page in pages for task in page.tasks), key=lambda task: task.id, reverse=True)
    shown = tuple(task for task in tasks if task.id >= horizon)
    if len(shown) > limit:
        shown = shown[:limit]
        return TaskPage(tasks=shown, cursor=shown[-1].id)
    return TaskPage(tasks=shown, cursor=horizon or None)


def _sum(counts: Sequence[Mapping[Any, int]]) -> Mapping[Any, int]:
    total: Counter[Any] = Counter()
    for each in counts:
        total.update(each)
    return dict(total)
