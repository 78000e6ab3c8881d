"""Whoever follows keys in this process is told which changed; several changes of one key become one."""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import contextmanager


class Watchers:
    """Changed keys, handed to every open watch whose prefix fits."""

    def __init__(self) -> None:
        self._open: set[Watch] = set()

    def tell(self, keys: Iterable[str]) -> None:
        """Note that these keys changed."""
        if self._open:
            for key in dict.fromkeys(keys):
                for watch in self._open:
                    watch.add(key)

    @contextmanager
    def watch(self, prefix: str) -> Generator["Watch"]:
        """Watch keys that start with `prefix` for the length of the block."""
        watch = Watch(prefix)
        self._open.add(watch)
        try:
            yield watch
        finally:
            self._open.discard(watch)


class Watch:
    """The keys of one prefix that changed and were not taken yet."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._keys: dict[str, None] = {}
        self._told = asyncio.Event()

    def add(self, key: str) -> None:
        """Note a change, if the key is of the prefix."""
        if key.startswith(self._prefix):
            self._keys[key] = None
            self._told.set()

    async def take(self, limit: int) -> list[str]:
        """Wait for a change, and return the keys changed since, those first that changed first."""
        await self._told.wait()
        taken = list(self._keys)[:limit]
        for key in taken:
            del self._keys[key]
        if not self._keys:
            self._told.clear()
        return taken
