"""Undo: one key set back to what it was, or everything one agent, node, task or operation wrote.

Nothing is erased: what was there before is written anew, as versions that name the one they take back, and only where
that one is still what the key shows. So an undo reaches every node like any write, keeps later work, and can itself be
undone.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from meshd.errors import InvalidArgumentError, NotFoundError, WriteConflictError
from meshd.ids import new_id
from meshd.memory.abreast import abreast
from meshd.memory.core import How
from meshd.memory.entries import latest_first
from meshd.memory.history import MOST_VERSIONS, At, MemoryHistory, before_all, past
from meshd.memory.joining import join
from meshd.memory.model import MAX_BATCH, Header, Item, Strategy, Version
from meshd.memory.plans import Plan, Undone

T = TypeVar("T")

PAGE = 1_000
"""Keys looked at together: their items, and of those that matter the past."""
PAGES_AT_ONCE = 4
BATCHES_AT_ONCE = 4
"""Batches under way: while the store takes one, the next are made."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What some keys have for an undo."""

    plans: Sequence[Plan]
    others: Sequence[Header]
    """Key by key, all siblings where none is of the scope, though what they were written over may be."""
    actors: set[str]
    """Those that wrote for the scope."""


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
        batches = await abreast(
            _parts(plans, MAX_BATCH),
            partial(self._carry_out, operation=operation, strategy=strategy),
            at_once=BATCHES_AT_ONCE,
        )
        outcome = [each for batch in batches for each in batch]
        return UndoReport(
            operation=operation.split(": ")[0],
            undone=tuple(plan.as_undone() for plan, why in outcome if not why),
            skipped=(*skipped, *(Skipped(key=plan.key, why=why) for plan, why in outcome if why)),
        )

    async def _survey(self, scope: Scope, prefix: str) -> tuple[list[Plan], list[Skipped]]:
        """Return what is to be set back, and what somebody else wrote since."""
        pages = await abreast(self._pages(prefix, page_size=PAGE), partial(self._look_at, scope), at_once=PAGES_AT_ONCE)
        actors = {actor for page in pages for actor in page.actors}
        suspects = {header.key for page in pages for header in page.others if _may_cover(header, actors)}
        others = [header for page in pages for header in page.others if header.key in suspects]
        latest = {header.key: header for header in sorted(others, key=lambda header: header.time)}
        skipped = await abreast(
            _parts(sorted(latest.items()), PAGE), partial(self._written_over, scope), at_once=PAGES_AT_ONCE
        )
        return [plan for page in pages for plan in page.plans], [each for part in skipped for each in part]

    async def _look_at(self, scope: Scope, page: Sequence[tuple[str, Item]]) -> _Page:
        """Return what a page of items has for an undo."""
        theirs: list[tuple[str, Item]] = []
        others: list[Header] = []
        actors: set[str] = set()
        for key, item in page:
            headers = [version.header for version in item]
            mine = [header.actor for header in headers if scope.covers(header)]
            if mine:
                theirs.append((key, item))
                actors.update(mine)
            elif max([header.ms for header in headers]) >= scope.since_ms:
                others += headers
        older = await self._access.history([key for key, _ in theirs], limit=MOST_VERSIONS) if theirs else ()
        now_ms = await self._access.now_ms()
        plans = [
            self._plan_without(scope, key, item, kept, now_ms=now_ms)
            for (key, item), kept in zip(theirs, older, strict=True)
        ]
        return _Page(plans=[plan for plan in plans if plan.changes_something], others=others, actors=actors)

    def _plan_without(self, scope: Scope, key: str, item: Item, older: Sequence[Version], *, now_ms: int) -> Plan:
        """Return how the key gets to show what it would without the scope's versions."""
        left = join(*((version,) for version in (*item, *older) if not scope.covers(version.header)))
        undoes = next(version for version in latest_first(item) if scope.covers(version.header))
        return self._plan(key, item, left, undoes=undoes, now_ms=now_ms)

    async def _written_over(self, scope: Scope, others: Sequence[tuple[str, Header]]) -> list[Skipped]:
        """Return those of the keys as skipped that the scope wrote before the latest of others did."""
        older = await self._access.history([key for key, _ in others], limit=MOST_VERSIONS)
        return [
            Skipped(key=key, why=f"written since by {latest.agent or latest.node or latest.actor}")
            for (key, latest), kept in zip(others, older, strict=True)
            if any(scope.covers(version.header) for version in kept)
        ]

    async def _carry_out(
        self, plans: Sequence[Plan], *, operation: str, strategy: Strategy | str | None
    ) -> list[tuple[Plan, str]]:
        """Write a batch of plans; return each with why it was not possible, empty where it was."""
        hows = {plan.key: _how(operation, plan, strategy) for plan in plans}
        try:
            await self._write_all({plan.key: plan.make for plan in plans}, hows)
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


async def _parts(whole: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
    for at in range(0, len(whole), size):
        yield whole[at : at + size]


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


def _may_cover(header: Header, actors: set[str]) -> bool:
    """Whether a version may have been written over one of these actors', or over any if none is known."""
    return not actors or header.actor in actors or not actors.isdisjoint(header.observed)
