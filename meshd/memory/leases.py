"""Leases: keys that belong to one owner while it lives. Nobody else can take one, and it is gone soon after its owner.

A lease is a key with a lifetime, created under the condition that there is none, at the store: two that ask at once are
judged there. Its token rises with every lease of the key, so what it protects can refuse a late owner.
"""

import asyncio
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from meshd.errors import AlreadyExistsError, UnavailableError, WriteConflictError
from meshd.memory.entries import Saved

if TYPE_CHECKING:
    from meshd.memory.service import Memory

RENEWALS = 3
"""Times a lease is renewed within its lifetime."""
LONGEST_LOOK_S = 1.0
"""How long somebody who waits for a lease trusts to be told that it is free."""
NOTE = "lease"
_TICK_BITS = 16


class KeyLease:
    """One lease, held within `async with`; or from `take` to `give_back`."""

    def __init__(self, memory: "Memory", key: str, value: object, *, ttl: timedelta) -> None:
        self._memory = memory
        self._value = value
        self._ttl = ttl
        self._entry: Saved[Any] | None = None
        self._renewing: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self.key = key
        self.token = 0
        """Higher than that of every earlier lease of the key: for whatever the lease protects."""

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have it, as far as is known here."""
        return self._entry is not None and not self._lost.is_set()

    async def take(self, *, wait: timedelta | None = None) -> Self:
        """Take the lease, and renew it from then on; with `wait` try for so long.

        Raises:
            AlreadyExistsError: somebody else holds it.
            StoreUnreachableError: the store, which judges, is away.
        """
        try:
            return await self._create()
        except AlreadyExistsError:
            if not wait:
                raise
        loop = asyncio.get_running_loop()
        end = loop.time() + wait.total_seconds()
        freed = asyncio.Event()
        async with self._memory.subscribe(self.key, lambda _: freed.set()):
            while True:
                await _either(freed, seconds=min(await self._seconds_left(), end - loop.time()))
                freed.clear()
                try:
                    return await self._create()
                except AlreadyExistsError:
                    if loop.time() >= end:
                        raise

    async def give_back(self) -> None:
        """End the lease now. Harmless when it is not held."""
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.wait({self._renewing})
            self._renewing = None
        entry, self._entry = self._entry, None
        if entry is not None and not self._lost.is_set():
            try:
                await self._memory.delete(self.key, note=NOTE, over=entry)
            except (WriteConflictError, UnavailableError):
                return

    async def lost(self) -> None:
        """Return when the lease was lost: somebody else wrote the key, or it could not be renewed in time."""
        await self._lost.wait()

    async def __aenter__(self) -> Self:
        return await self.take()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.give_back()

    async def _create(self) -> Self:
        entry = await self._memory.create(self.key, self._value, ttl=self._ttl, note=NOTE)
        header = entry.item[0].header
        self.token = (header.ms << _TICK_BITS) | header.tick
        self._lost.clear()
        self._entry = entry
        self._renewing = asyncio.create_task(self._renew(entry))
        return self

    async def _renew(self, entry: Saved[Any]) -> None:
        loop = asyncio.get_running_loop()
        seconds = self._ttl.total_seconds()
        until = loop.time() + seconds
        while loop.time() < until:
            await asyncio.sleep(min(seconds / RENEWALS, until - loop.time()))
            started = loop.time()
            try:
                entry = await self._memory.put(self.key, self._value, ttl=self._ttl, note=NOTE, over=entry)
            except WriteConflictError:
                break
            except UnavailableError:
                continue
            self._entry = entry
            until = started + seconds
        self._lost.set()

    async def _seconds_left(self) -> float:
        held = await self._memory.get(self.key)
        if held is None or not held.winner.expires_ms:
            return LONGEST_LOOK_S
        left = held.winner.expires_ms - await self._memory.now_ms()
        return min(max(left / 1000, 0.0), LONGEST_LOOK_S)


async def _either(event: asyncio.Event, *, seconds: float) -> None:
    """Wait for the event, for so long at most."""
    try:
        async with asyncio.timeout(max(seconds, 0.01)):
            await event.wait()
    except TimeoutError:
        return
