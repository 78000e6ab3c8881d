"""What a key was: its versions, its value at an earlier time, what changed, and where each part of it comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from meshd.errors import NotFoundError
from meshd.memory.core import MemoryCore
from meshd.memory.differences import ABSENT, Blame, Difference, blame, differences
from meshd.memory.entries import Entry, Writing, dot_of, entry_of, latest_first, writing
from meshd.memory.joining import join, observes
from meshd.memory.model import Header, Item, Version
from meshd.memory.prefixes import check_key

MOST_VERSIONS = 1_000
At = datetime | int | str
"""A moment (a `datetime`, or Unix milliseconds), or the name of a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One version in the log of a key."""

    writing: Writing
    is_current: bool
    """Nothing has superseded it: it is read, or stands beside what is read."""
    is_shown: bool
    """It is the one that is read."""


class MemoryHistory(MemoryCore):
    """The past of keys, as far as it is kept (`memory_sync.history`)."""

    async def log(self, key: str, *, limit: int = 100) -> list[Logged]:
        """Return the versions of a key that are still kept, the latest first."""
        item, versions = await self._versions(key, limit=limit)
        shown = await self._shown(item)
        current = {version.dot for version in item}
        return [
            Logged(writing=writing(each), is_current=each.dot in current, is_shown=each is shown)
            for each in versions[:limit]
        ]

    async def diff(self, key: str, before: At | None = None, after: At | None = None) -> list[Difference]:
        """Return what changed between two versions, or moments; by default between the last version and now.

        Raises:
            NotFoundError: such a version is not kept (any more), or nothing was ever written.
        """
        item, versions = await self._versions(key)
        new = item if after is None else past(key, versions, after)
        old = before_all(new, versions) if before is None else past(key, versions, before)
        return list(differences(self._value(old), self._value(new)))

    async def blame(self, key: str) -> list[Blame]:
        """Return, for each part of a key's value, the version since which it is what it is.

        Raises:
            NotFoundError: the key has no value.
        """
        item, versions = await self._versions(key)
        resolved = self._resolve(item, await self._access.now_ms())
        if resolved.winner is None:
            raise NotFoundError(f"memory key {key!r} has no value")
        newest = replace(writing(resolved.winner), value=resolved.value)
        return blame([newest, *(writing(each) for each in versions if each is not resolved.winner)])

    async def _then(self, key: str, at: At) -> Entry[Any] | None:
        """Return a key as it was, `None` if it had no value then.

        Raises:
            NotFoundError: the version, or every version of that time, is not kept (any more).
        """
        _, versions = await self._versions(key)
        then = past(key, versions, at)
        return entry_of(then, self._resolve(then, _newest_ms(then)), lambda value: value)

    def _value(self, item: Item) -> Any:
        resolved = self._resolve(item, _newest_ms(item))
        return ABSENT if resolved.winner is None else resolved.value

    async def _versions(self, key: str, *, limit: int = MOST_VERSIONS) -> tuple[Item, list[Version]]:
        """Return a key's item, and with its superseded versions all that is kept, the latest first."""
        (item,) = await self._access.read([check_key(key)])
        (older,) = await self._access.history([key], limit=limit)
        every = {version.dot: version for version in (*older, *item)}
        return item, latest_first(list(every.values()))

    async def _shown(self, item: Item) -> Version | None:
        """Return the version that decides what a key is now: also a tombstone."""
        resolved = self._resolve(item, await self._access.now_ms())
        return resolved.winner or (latest_first(item)[0] if item else None)


def before_all(item: Item, versions: Sequence[Version]) -> Item:
    """Return what the writers of these versions had seen: the item before them, as far as it is kept."""
    headers = [version.header for version in item]
    current = {version.dot for version in item}
    return join(*((each,) for each in versions if each.dot not in current and _seen_by_any(headers, each)))


def _seen_by_any(headers: Sequence[Header], version: Version) -> bool:
    return any(observes(header, version.dot) for header in headers)


def past(key: str, versions: Sequence[Version], at: At) -> Item:
    """Return the item as it was at a moment, or the one version named.

    Raises:
        NotFoundError: the version, or every version of that time, is not kept (any more).
    """
    if isinstance(at, str):
        wanted = dot_of(at)
        found = tuple(version for version in versions if version.dot == wanted)
        if not found:
            raise NotFoundError(f"memory key {key!r} has no version {at} (any more)")
        return found
    moment = round(at.timestamp() * 1000) if isinstance(at, datetime) else at
    then = join(*((version,) for version in versions if version.header.ms <= moment))
    if not then:
        oldest = datetime.fromtimestamp(versions[-1].header.ms / 1000, UTC).isoformat() if versions else "none"
        raise NotFoundError(f"memory key {key!r} has no version of that time (any more); the oldest is of {oldest}")
    return then


def _newest_ms(item: Item) -> int:
    return max((version.header.ms for version in item), default=0)
