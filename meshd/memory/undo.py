"""Undo: one key set back to what it was, or everything one agent, node, task or operation wrote.

Nothing is erased: what was there before is written anew, as versions that name the one they take back, and only where
that one is still what the key shows. So an undo reaches every node like any write, keeps later work, and can itself be
undone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from meshd.errors import InvalidArgumentError, NotFoundError, WriteConflictError
from meshd.ids import new_id
from meshd.memory.core import How
from meshd.memory.entries import latest_first
from meshd.memory.history import MOST_VERSIONS, At, MemoryHistory, before_all, past
from meshd.memory.joining import join
from meshd.memory.model import MAX_BATCH, Header, Item, Strategy, Version
from meshd.memory.plans import Plan, Undone

T = TypeVar("T")

AT_A_TIME = 64
"""Keys whose past is read at once."""
MARK = "undo-"
"""How the names of operations begin that this module makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Whose versions are to be undone; what is empty or 0 leaves all in."""

    agent: str = ""
    node: str = ""
    task: str = ""
    operation: str = ""
    """A note, or the name of an undo: its versions have it as their note, or before a colon in it."""
    since_ms: int = 0

    def covers(self, header: Header) -> bool:
        """Return whether a version is one of those."""
        return (
            (not self.agent or header.agent == self.agent)
            and (not self.node or header.node == self.node)
            and (not self.task or header.task == self.task)
            and (not self.operation or header.note.split(": ")[0] == self.operation)
            and header.ms >= self.since_ms
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """One key left as it is."""

    key: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoReport:
    """What an undo did, or would do."""

    operation: str
    """Its name: `rollback_by(operation=…)` takes it back. Empty for a dry run."""
    undone: tuple[Undone, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    is_dry_run: bool = False


class MemoryUndo(MemoryHistory):
    """Setting keys back."""

    async def rollback(
        self, key: str, to: At | None = None, *, note: str = "", strategy: Strategy | str | None = None
    ) -> Undone:
        """Set one key back: to the version before the one it shows, or to what it was at `to`.

        A key that had no value then is deleted; one that was deleted is there again.

        Raises:
            NotFoundError: nothing was ever written, or that version is not kept (any more).
            WriteConflictError: somebody wrote the key meanwhile.
        """
        item, versions = await self._versions(key)
        shown = await self._shown(item)
        if shown is None:
            raise NotFoundError(f"memory key {key!r} was never written")
        target = before_all(item, versions) if to is None else past(key, versions, to)
        plan = self._plan(key, item, target, undoes=shown, now_ms=await self._access.now_ms())
        await self.change(key, plan.make, _how(_operation(note), plan, strategy))
        return plan.as_undone()

    async def rollback_by(
        self,
        scope: Scope,
        *,
        prefix: str = "",
        dry_run: bool = False,
        note: str = "",
        strategy: Strategy | str | None = None,
    ) -> UndoReport:
        """Undo every write of a scope, key by key: each shows again what it would without them.

        A key that somebody else wrote since is left as it is, and reported as skipped.

        Raises:
            InvalidArgumentError: the scope names nobody and nothing.
        """
        if not (scope.agent or scope.node or scope.task or scope.operation):
            raise InvalidArgumentError("whose writes? name an agent, a node, a task or an operation")
        plans, skipped = await self._survey(scope, prefix)
        if dry_run:
            return UndoReport(
                operation="",
                undone=tuple(plan.as_undone() for plan in plans),
                skipped=tuple(skipped),
                is_dry_run=True,
            )
        operation = _operation(note)
        undone: list[Undone] = []
        for at in range(0, len(plans), MAX_BATCH):
            for plan, why in await self._carry_out(plans[at : at + MAX_BATCH], operation, strategy):
                if why:
                    skipped.append(Skipped(key=plan.key, why=why))
                else:
                    undone.append(plan.as_undone())
        return UndoReport(operation=operation.split(": ")[0], undone=tuple(undone), skipped=tuple(skipped))

    async def _survey(self, scope: Scope, prefix: str) -> tuple[list[Plan], list[Skipped]]:
        """Return what is to be set back, and what somebody else wrote since."""
        theirs: list[tuple[str, Item]] = []
        others: list[tuple[str, Item]] = []
        actors: set[str] = set()
        async for key, item in self._scan(prefix):
            mine = [version for version in item if scope.covers(version.header)]
            if mine:
                theirs.append((key, item))
                actors.update(version.header.actor for version in mine)
            elif any(version.header.ms >= scope.since_ms for version in item):
                others.append((key, item))
        now_ms = await self._access.now_ms()
        plans = await _together([partial(self._plan_without, scope, key, item, now_ms=now_ms) for key, item in theirs])
        skipped = await _together(
            [partial(self._written_over, scope, key) for key, item in others if _may_cover(item, actors)]
        )
        return plans, skipped

    async def _plan_without(self, scope: Scope, key: str, item: Item, *, now_ms: int) -> Plan | None:
        """Return how the key gets to show what it would without the scope's versions; `None` if it does so already."""
        older = await self._access.history(key, limit=MOST_VERSIONS)
        left = join(*((version,) for version in (*item, *older) if not scope.covers(version.header)))
        undoes = next(version for version in latest_first(item) if scope.covers(version.header))
        plan = self._plan(key, item, left, undoes=undoes, now_ms=now_ms)
        return plan if plan.changes_something else None

    async def _written_over(self, scope: Scope, key: str) -> Skipped | None:
        """Return the key as skipped if the scope wrote it before somebody else did."""
        item, versions = await self._versions(key)
        if not any(scope.covers(version.header) for version in versions):
            return None
        header = latest_first(item)[0].header
        return Skipped(key=key, why=f"written since by {header.agent or header.node or header.actor}")

    async def _carry_out(
        self, plans: Sequence[Plan], operation: str, strategy: Strategy | str | None
    ) -> list[tuple[Plan, str]]:
        """Write a batch of plans; return each with why it was not possible, empty where it was."""
        hows = {plan.key: _how(operation, plan, strategy) for plan in plans}
        try:
            await self._write_each({plan.key: plan.make for plan in plans}, hows)
        except WriteConflictError:
            return [(plan, await self._carry_out_alone(plan, hows[plan.key])) for plan in plans]
        return [(plan, "") for plan in plans]

    async def _carry_out_alone(self, plan: Plan, how: How) -> str:
        (item,) = await self._access.read([plan.key])
        if any(version.header.note == how.note and version.header.undoes == how.undoes for version in item):
            return ""
        try:
            await self.change(plan.key, plan.make, how)
        except WriteConflictError:
            return "written meanwhile"
        return ""

    def _plan(self, key: str, item: Item, target: Item, *, undoes: Version, now_ms: int) -> Plan:
        shown, wanted = self._resolve(item, now_ms), self._resolve(target, now_ms)
        return Plan(key=key, seen=item, shown=shown, target=wanted, undoes=undoes)


async def _together(steps: Sequence[Callable[[], Awaitable[T | None]]]) -> list[T]:
    """Take steps that only read, some at a time; return what they found, in order."""
    found: list[T] = []
    for at in range(0, len(steps), AT_A_TIME):
        some = await asyncio.gather(*(step() for step in steps[at : at + AT_A_TIME]))
        found += [each for each in some if each is not None]
    return found


def since_ms(since: datetime | timedelta | None, *, now_ms: int) -> int:
    """Return the moment `since` names: itself, or so long ago."""
    match since:
        case None:
            return 0
        case datetime():
            return round(since.timestamp() * 1000)
        case timedelta():
            return now_ms - since // timedelta(milliseconds=1)


def _operation(note: str) -> str:
    name = f"{MARK}{new_id()}"
    return f"{name}: {note}" if note else name


def _how(operation: str, plan: Plan, strategy: Strategy | str | None) -> How:
    return How(note=operation, undoes=plan.undone_name, strategy=strategy)


def _may_cover(item: Item, actors: set[str]) -> bool:
    """Whether one of the siblings may have been written over a version of these actors, or of any if none is known."""
    headers = [version.header for version in item]
    return any(not actors or header.actor in actors or actors & header.observed.keys() for header in headers)
