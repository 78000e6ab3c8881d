"""Reaching items without a replica: reads from the hub, writes through an actor it lends."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random

from meshd.clock import Clock, system_clock
from meshd.ids import new_id
from meshd.memory.access import Access, Acks, Draft, Session, Written
from meshd.memory.confirming import confirmed
from meshd.memory.leased_writer import writer_of
from meshd.memory.model import Change, Item, Member, Strategy, Version
from meshd.memory.sealing import Seal
from meshd.memory.sessions import Seen
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SyncOptions

_PAUSE_S = 0.02


class HubAccess(Access):
    """Items straight at the hub. It leases nothing before the first write; close it to give the lease back."""

    def __init__(
        self,
        store: MemoryStore,
        seal: Seal,
        *,
        options: SyncOptions | None = None,
        holder: str = "",
        clock: Clock = system_clock,
    ) -> None:
        options = options or SyncOptions()
        owner = holder or f"client:{new_id()}"
        self._store = store
        self._seal = seal
        self._options = options
        self._stamper = Stamper(seal, clock)
        self._has_time = False
        self._seen = Seen()
        self._writer = writer_of(store, self._stamper, holder=owner, options=options, rng=Random())

    async def read(self, keys: Sequence[str], *, session: Session | None = None) -> Sequence[Item]:
        if session is not None and not self._seen.covers(session):
            await self._seen.wait_for(session, timeout=self._options.read_timeout, look=self._look)
        items = await self._store.get(keys)
        for item in items:
            self._check(item)
        return items

    async def list(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        found = await self._store.list(prefix, limit=limit, after=after)
        for _, item in found:
            self._check(item)
        return found

    async def write(
        self, drafts: Sequence[Draft], *, strategy: Strategy, acks: Acks | None = None
    ) -> Sequence[Written]:
        if not self._has_time:
            await self._learn()
        is_awaited = acks is not None and acks.replicas > 0
        taken = await self._writer.write(drafts, strategy=strategy, wanted=is_awaited)
        count = 0
        for part in taken:
            self._seen.add(part.versions)
            if acks is not None and acks.replicas > 0:
                count = await self._confirmed(part.pushed.revision, acks)
        return [
            Written(version=version, reply=reply, is_sent=True, confirmed=count)
            for part in taken
            for version, reply in zip(part.versions, part.pushed.replies, strict=True)
        ]

    async def changes(self, prefix: str) -> AsyncIterator[tuple[str, Item]]:
        timeout_ms = round(self._options.interval.total_seconds() * 1000)
        async with self._store.follow() as feed:
            at = await self._learn()
            generation = ""
            while True:
                change = await feed.get(timeout_ms=timeout_ms)
                if change is None or change.after != at or not change.versions:
                    change = await self._store.changes(after=at)
                if generation and change.generation != generation:
                    change = await self._store.changes(after=0)
                generation, at = change.generation, change.revision
                for found in self._items(change, prefix):
                    yield found
                while change.more:
                    change = await self._store.changes(after=at)
                    at = change.revision
                    for found in self._items(change, prefix):
                        yield found

    async def history(self, keys: Sequence[str], *, limit: int) -> Sequence[Sequence[Version]]:
        return await self._store.history(keys, limit=limit)

    async def contested(self, prefix: str, *, limit: int, after: str = "") -> Sequence[tuple[str, Item]]:
        return await self._store.contested(prefix, limit=limit, after=after)

    async def session(self) -> Session:
        return dict(self._seen.clock)

    async def members(self) -> Sequence[Member]:
        return await self._store.members()

    async def quarantine(self, node: str, *, reason: str) -> None:
        await self._store.quarantine(node, reason=reason)

    async def readmit(self, node: str) -> bool:
        return await self._store.readmit(node)

    async def now_ms(self) -> int:
        if not self._has_time:
            await self._learn()
        return self._stamper.now_ms()

    async def aclose(self) -> None:
        """Give back what was leased. Idempotent."""
        await self._writer.aclose()

    def _check(self, item: Item) -> None:
        """Note what was read.

        Raises:
            CorruptDataError: a checksum is wrong.
        """
        for version in item:
            self._seal.check(version)
        self._seen.add(item)

    def _items(self, change: Change, prefix: str) -> Sequence[tuple[str, Item]]:
        found: dict[str, list[Version]] = {}
        for version in change.versions:
            if version.key.startswith(prefix):
                self._seal.check(version)
                found.setdefault(version.key, []).append(version)
        self._seen.add(change.versions)
        return [(key, tuple(sorted(versions, key=lambda each: each.dot))) for key, versions in found.items()]

    async def _confirmed(self, revision: int, acks: Acks) -> int:
        return await confirmed(
            self._store, revision=revision, acks=acks, now_ms=self._stamper.now_ms, live_ms=self._options.live_ms
        )

    async def _learn(self) -> int:
        """Learn the hub's time and clock; return its revision."""
        asked_ms = self._stamper.local_ms()
        clock = await self._store.clock()
        self._stamper.correct(hub_ms=clock.now_ms, asked_ms=asked_ms)
        self._has_time = True
        self._seen.cover(clock.clock)
        return clock.revision

    async def _look(self) -> None:
        await self._learn()
        await asyncio.sleep(_PAUSE_S)
