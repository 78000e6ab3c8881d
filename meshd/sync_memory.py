"""The shared memory for code without an event loop: `memory` of a `SyncMesh`. A facade, with no logic of its own."""

from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ParamSpec, Protocol, TypeVar

from meshd.memory.counting import Counter
from meshd.memory.leases import KeyLease
from meshd.memory.service import LEASE_TTL, Memory
from meshd.memory.sets import SharedSet
from meshd.memory.watching import Change

P = ParamSpec("P")
R = TypeVar("R")


class Portal(Protocol):
    """Where calls run."""

    def call(self, awaitable: Coroutine[Any, Any, R]) -> R: ...

    def wrap(self, method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]: ...


class SyncCounter:
    """One counter; see `Counter`."""

    def __init__(self, portal: Portal, counter: Counter) -> None:
        self.key = counter.key
        self.add = portal.wrap(counter.add)
        self.value = portal.wrap(counter.value)


class SyncSharedSet:
    """One set; see `SharedSet`."""

    def __init__(self, portal: Portal, shared: SharedSet) -> None:
        self.key = shared.key
        self.add = portal.wrap(shared.add)
        self.remove = portal.wrap(shared.remove)
        self.values = portal.wrap(shared.values)
        self.has = portal.wrap(shared.has)


class SyncMemory:
    """Shared memory; see `Memory`. What is given to `update` runs on the loop's thread and must not call the mesh."""

    def __init__(self, portal: Portal, memory: Memory) -> None:
        self._portal = portal
        self._memory = memory
        self.get = portal.wrap(memory.get)
        self.list = portal.wrap(memory.list)
        self.put = portal.wrap(memory.put)
        self.put_many = portal.wrap(memory.put_many)
        self.create = portal.wrap(memory.create)
        self.update = portal.wrap(memory.update)
        self.delete = portal.wrap(memory.delete)
        self.log = portal.wrap(memory.log)
        self.diff = portal.wrap(memory.diff)
        self.blame = portal.wrap(memory.blame)
        self.rollback = portal.wrap(memory.rollback)
        self.rollback_by = portal.wrap(memory.rollback_by)
        self.conflicts = portal.wrap(memory.conflicts)
        self.resolve = portal.wrap(memory.resolve)
        self.session = portal.wrap(memory.session)
        self.members = portal.wrap(memory.members)
        self.quarantine = portal.wrap(memory.quarantine)
        self.readmit = portal.wrap(memory.readmit)
        self.now_ms = portal.wrap(memory.now_ms)

    def by(self, *, agent: str | None = None, task: str | None = None) -> "SyncMemory":
        """Return the same memory, written on behalf of an agent or a task."""
        return SyncMemory(self._portal, self._memory.by(agent=agent, task=task))

    def counter(self, key: str) -> SyncCounter:
        """Return a number that several may raise and lower at once."""
        return SyncCounter(self._portal, self._memory.counter(key))

    def set(self, key: str) -> SyncSharedSet:
        """Return a set of JSON values that several may add to and remove from at once."""
        return SyncSharedSet(self._portal, self._memory.set(key))

    def watch(self, prefix: str = "") -> Iterator[Change]:
        """Yield each key under `prefix` after it changed; see `Memory.watch`."""
        changes = self._memory.watch(prefix)
        try:
            while True:
                yield self._portal.call(_next(changes.__anext__))
        finally:
            self._portal.call(changes.aclose())

    @contextmanager
    def lease(
        self, key: str, value: object = None, *, ttl: timedelta = LEASE_TTL, wait: timedelta | None = None
    ) -> Generator[KeyLease]:
        """Hold a key for the length of the block; see `Memory.lease`."""
        held = self._portal.call(_leased(self._memory, key, value, ttl=ttl, wait=wait))
        try:
            yield held
        finally:
            self._portal.call(held.give_back())


async def _leased(memory: Memory, key: str, value: object, *, ttl: timedelta, wait: timedelta | None) -> KeyLease:
    return await memory.lease(key, value, ttl=ttl).take(wait=wait)


async def _next(step: Callable[[], Any]) -> Change:
    change: Change = await step()
    return change
