"""Items in memory beside a store, so that reading one costs no more than a look into a dict.

Invariant: a key that is here has the newest item the store has; when that cannot be known, the key is not here.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from meshd.memory.model import Applied, Dot, Item, Reply, Version

_SHED = 8
"""A full cache gives up this fraction of its oldest entries at once."""


class Cache:
    """The newest items by key; the oldest entries go when it is full."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changes = 0
        self._items: dict[str, Item] = {}
        self.get = self._items.get

    def __len__(self) -> int:
        return len(self._items)

    @property
    def mark(self) -> int:
        """Where the cache stands: take it before the store is read, and pass it to `fill`."""
        return self._changes

    def fill(self, items: Iterable[tuple[str, Item]], *, mark: int) -> None:
        """Keep what was read from the store, unless something changed meanwhile."""
        if mark == self._changes:
            self._items.update(items)
            self._shed()

    def apply(self, versions: Sequence[Version], replies: Sequence[Reply]) -> None:
        """Follow what the store made of these versions, one after the other."""
        self._changes += 1
        for version, reply in zip(versions, replies, strict=True):
            if reply.applied is Applied.APPLIED:
                self._items[version.header.key] = (version,)
            elif reply.applied is Applied.SIBLING:
                self._add(version, reply.current)
        self._shed()

    def _add(self, version: Version, current: Sequence[Dot]) -> None:
        key = version.header.key
        known = {each.dot: each for each in (*self._items.get(key, ()), version)}
        if all(dot in known for dot in current):
            self._items[key] = tuple(known[dot] for dot in sorted(current))
        else:
            self._items.pop(key, None)

    def forget(self, keys: Iterable[str]) -> None:
        """Have these read from the store again."""
        self._changes += 1
        for key in keys:
            self._items.pop(key, None)

    def _shed(self) -> None:
        if len(self._items) > self._limit:
            for key in list(islice(self._items, max(len(self._items) - self._limit, self._limit // _SHED))):
                del self._items[key]
