"""The replica port: a memory store of one process's own, in a file, and what the file says of itself."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from meshd.memory.model import NodeClock, Version
from meshd.memory.store import MemoryStore


class ReplicaFile(Protocol):
    """A memory store in a file that one process writes.

    A batch pushed to `store` allocates its dots and commits their versions in one transaction: a gap tells the next
    number, and nothing was written.
    """

    @property
    def store(self) -> MemoryStore: ...

    @property
    def identity(self) -> str:
        """Which file this is (device and inode): a copy, or one that was restored by copying, has another."""
        ...

    async def facts(self) -> Mapping[str, str]:
        """Return what `note` was told, durably."""
        ...

    async def note(self, facts: Mapping[str, str]) -> None:
        """Keep these beside the ones there are, in one transaction; an empty value forgets one."""
        ...

    async def written(self, actor: str, *, after: int, limit: int = 100) -> Sequence[Version]:
        """Return an actor's current versions numbered over `after`, in the order of their numbers."""
        ...

    async def tidy(self, covered: NodeClock) -> int:
        """Collect tombstones and expired versions that this clock covers, and forget old history; return how many went.

        In place of `MemoryStore.sweep`: pass what the hub has received. What waits to be sent stays, however long.
        """
        ...

    async def aclose(self) -> None:
        """Close the file. Idempotent."""
        ...
