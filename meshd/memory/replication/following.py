"""Following the hub: every change it tells is taken if nothing before it is missing; otherwise what is missing is read.

Invariant: everything the hub changed up to the cursor has been taken here. Hints may be lost, so the cursor is moved
only by changes that follow it, or by reading the index of changes itself.
"""

import asyncio
from collections.abc import Callable, Sequence

from meshd.errors import CorruptDataError
from meshd.memory.model import Change, Version
from meshd.memory.replication.intake import Intake
from meshd.memory.store import Feed, MemoryStore

_PAGE = 1_000
_TOGETHER = 100
"""Versions of changes that wait in the feed are kept together, up to about this many."""
_STRETCHES = 1_000
"""Most stretches of own changes kept in mind."""
_AT_ONCE_S = 0.000_5
"""A change that was there sooner had been waiting, and others probably wait behind it."""


class Follower:
    """Where this replica stands in its hub's order of changes."""

    def __init__(self, hub: MemoryStore, intake: Intake, *, own: Callable[[], tuple[str, int]]) -> None:
        self._hub = hub
        self._intake = intake
        self._own = own
        self.generation = ""
        self.cursor = 0
        self.turn = asyncio.Lock()
        """Held by whoever moves the cursor."""
        self._made = Stretches()

    def stand_at(self, revision: int, *, generation: str) -> None:
        """Go on from here: everything before was taken; the hub may have lost what it had."""
        self._made.clear()
        self.generation, self.cursor = generation, revision

    def made(self, revision: int, *, count: int, generation: str) -> None:
        """Note that the hub's last `count` changes up to `revision` are of keys with nothing but versions from here.

        They are not read. A version of others beside them would have moved along, perhaps before it was read.
        Like the cursor, it holds as long as the hub keeps what it has.
        """
        self._made.add(revision - count, revision, generation=generation)

    def _go_to(self, revision: int) -> None:
        self.cursor = self._made.end_of(revision, generation=self.generation)

    async def hear(self, feed: Feed, *, timeout_ms: int) -> "Heard":
        """Wait for the next change, and take it; those that came before this looked are taken together."""
        now = asyncio.get_running_loop().time
        began = now()
        try:
            change = await feed.get(timeout_ms=timeout_ms, known=self.cursor)
        except CorruptDataError:
            return Heard(has_missed=True)
        if change is None:
            return Heard()
        async with self.turn:
            return await self._take(change, feed, is_late=now() - began < _AT_ONCE_S)

    async def _take(self, change: Change | None, feed: Feed, *, is_late: bool) -> "Heard":
        heard = Heard()
        versions: list[Version] = []
        self._go_to(self.cursor)
        cursor = self.cursor
        while change is not None:
            heard.add(change, generation=self.generation)
            if change.revision > cursor and not heard.has_missed:
                heard.has_missed = change.after > cursor or not change.versions
                if not heard.has_missed:
                    versions.extend(change.versions)
                    cursor = change.revision
            if heard.has_missed or not is_late or len(versions) >= _TOGETHER:
                break
            try:
                change = await feed.get(timeout_ms=0, known=cursor)
            except CorruptDataError:
                heard.has_missed = True
                break
        if not await self._intake.take(versions, skip=self._own()):
            heard.has_missed = True
        elif not heard.is_other:
            self._go_to(max(self.cursor, cursor))
        return heard

    async def catch_up(self) -> bool:
        """Read what is missing; return false if the hub's data is another than the cursor is about."""
        more = True
        self._go_to(self.cursor)
        while more:
            limit = self._made.gap_after(self.cursor, generation=self.generation, most=_PAGE)
            change = await self._hub.changes(after=self.cursor, limit=limit)
            if change.generation != self.generation or change.revision < self.cursor:
                return False
            if not await self._intake.take(change.versions, skip=self._own()):
                await self.ask_again()
            more = change.more
            self._go_to(max(self.cursor, change.revision))
        return True

    async def ask_again(self) -> None:
        """Read the keys of which damaged bytes came once more."""
        keys = list(self._intake.damaged)
        for start in range(0, len(keys), _TOGETHER):
            try:
                items = await self._hub.get(keys[start : start + _TOGETHER])
            except CorruptDataError:
                continue
            await self._intake.take(_versions(items))


class Stretches:
    """Parts of one generation's order of changes that were made from here, each from one revision to another."""

    def __init__(self) -> None:
        self._generation = ""
        self._ends: dict[int, int] = {}

    def clear(self) -> None:
        """Forget all."""
        self._ends.clear()

    def add(self, start: int, end: int, *, generation: str) -> None:
        """Note one that comes after all others; of too many apart, the earliest is forgotten."""
        if generation != self._generation:
            self._generation = generation
            self._ends.clear()
        newest = next(reversed(self._ends), None)
        if newest is not None and self._ends[newest] == start:
            self._ends[newest] = end
        elif end > start:
            self._ends[start] = end
            if len(self._ends) > _STRETCHES:
                del self._ends[next(iter(self._ends))]

    def end_of(self, revision: int, *, generation: str) -> int:
        """Return where the stretch ends in which a revision is, or the revision; forget those that begin before."""
        if generation == self._generation:
            while self._ends and (start := next(iter(self._ends))) <= revision:
                revision = max(revision, self._ends.pop(start))
        return revision

    def gap_after(self, revision: int, *, generation: str, most: int) -> int:
        """Return how many changes, `most` at most, are to be read from there before a stretch begins."""
        if not self._ends or generation != self._generation:
            return most
        return max(1, min(most, next(iter(self._ends)) - revision))


class Heard:
    """What a look into the feed came to."""

    __slots__ = ("has_missed", "is_other", "wanted")

    def __init__(self, *, has_missed: bool = False) -> None:
        self.has_missed = has_missed
        """Something before was lost, or came damaged or without its versions: read the index."""
        self.is_other = False
        """The hub's data is another than the cursor is about."""
        self.wanted = False
        """Somebody waits for this replica's report."""

    def add(self, change: Change, *, generation: str) -> None:
        """Note one change."""
        self.wanted = self.wanted or change.wanted
        self.is_other = self.is_other or change.generation != generation
        self.has_missed = self.has_missed or self.is_other


def _versions(items: Sequence[Sequence[Version]]) -> list[Version]:
    return [version for item in items for version in item]
