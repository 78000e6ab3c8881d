"""A store whose feed lies: it damages or drops what it tells. Everything else is the real store."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from meshd.memory.model import Change, Version
from meshd.memory.store import Feed, MemoryStore

Lie = Callable[[Change], Change | None]


class LyingStore:
    """Passes every call on; changes go through `lie`, from the feed and, with `everywhere`, from the index too."""

    def __init__(self, store: MemoryStore, lie: Lie, *, everywhere: bool = False) -> None:
        self._store = store
        self.lie = lie
        self._everywhere = everywhere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def changes(self, *, after: int, limit: int = 1_000) -> Change:
        change = await self._store.changes(after=after, limit=limit)
        return (self.lie(change) or change) if self._everywhere else change

    @asynccontextmanager
    async def follow(self) -> AsyncGenerator[Feed]:
        async with self._store.follow() as feed:
            yield _LyingFeed(feed, self)


class _LyingFeed:
    def __init__(self, feed: Feed, store: LyingStore) -> None:
        self._feed = feed
        self._store = store

    async def get(self, *, timeout_ms: int, known: int = 0) -> Change | None:
        change = await self._feed.get(timeout_ms=timeout_ms, known=known)
        return change and self._store.lie(change)


def with_flipped_bit(change: Change) -> Change:
    """Return the change with one bit of each body other than it was written."""
    return replace(change, versions=[_flipped(version) for version in change.versions])


def _flipped(version: Version) -> Version:
    at = len(version.blob) - 17
    blob = version.blob[:at] + bytes([version.blob[at] ^ 1]) + version.blob[at + 1 :]
    return Version(version.header, version.body[:-1] + bytes([version.body[-1] ^ 1]), blob)
