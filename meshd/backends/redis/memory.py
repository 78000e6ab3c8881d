"""`MemoryStore` on Redis: the hub of a mesh's memory.

All keys are in partition `c`. An item is one string, so a write costs one key whatever its header says; revisions,
expiry, contested and collectable keys are one index each, and the digest is kept by the script that changes an item.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby

from meshd.backends.redis import memory_scripts as scripts
from meshd.backends.redis.link import Link
from meshd.backends.redis.memory_codec import packed_clock, packed_limits
from meshd.backends.redis.memory_feed import RedisFeed
from meshd.errors import InvalidArgumentError
from meshd.memory.model import (
    MAX_BATCH,
    ActorLease,
    Batch,
    Change,
    Digest,
    Dot,
    Item,
    Mastery,
    Member,
    NodeClock,
    Pushed,
    Reply,
    StoreClock,
    Version,
)
from meshd.memory.store import Feed

KEYS_PER_STEP = 100
"""Most keys one script is named."""
ITEMS_PER_STEP = 1_000
"""Most items of an index one script looks at."""


class RedisMemoryStore:
    """The items of one mesh."""

    def __init__(self, link: Link) -> None:
        self._store = link
        self._limits = link.options.memory
        self._packed_limits = packed_limits(self._limits)

    async def push(self, batch: Batch, *, wanted: bool = False) -> Pushed:
        _check_batch(batch)
        return await scripts.push(self._store, batch=batch, wanted=wanted, limits=self._packed_limits)

    async def absorb(
        self, versions: Sequence[Version], *, clock: NodeClock | None = None, generation: str | None = None
    ) -> Sequence[Reply]:
        _check_size(versions)
        return await scripts.absorb(
            self._store, versions=versions, clock=clock, generation=generation, limits=self._packed_limits
        )

    async def get(self, keys: Sequence[str]) -> Sequence[Item]:
        found: list[Item] = []
        for at in range(0, len(keys), KEYS_PER_STEP):
            found += await scripts.get(self._store, keys=keys[at : at + KEYS_PER_STEP])
        return found

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        found, _ = await self._listed("all", prefix=prefix, limit=limit, after=after)
        return found

    async def clock(self) -> StoreClock:
        return await scripts.clock(self._store)

    async def changes(self, *, after: int, limit: int = 1_000) -> Change:
        return await scripts.changes(self._store, after=after, limit=max(1, min(limit, ITEMS_PER_STEP)))

    async def newer(self, clock: NodeClock, *, after: str = "", limit: int = 1_000) -> tuple[Sequence[Version], str]:
        found: list[Version] = []
        packed = packed_clock(clock)
        while True:
            page, after = await scripts.newer_page(self._store, clock=packed, limit=ITEMS_PER_STEP, after=after)
            for _, versions in groupby(page, key=lambda version: version.key):
                siblings = list(versions)
                if found and len(found) + len(siblings) > limit:
                    return found, found[-1].key
                found += siblings
            if not after or len(found) >= limit:
                return found, after

    @asynccontextmanager
    async def follow(self) -> AsyncGenerator[Feed]:
        feed = RedisFeed(self._store)
        try:
            await feed.open()
            yield feed
        finally:
            await feed.aclose()

    async def digest(self) -> Digest:
        return await scripts.digest(self._store)

    async def mark(self) -> str:
        return await scripts.mark(self._store)

    async def history(self, keys: Sequence[str], *, limit: int = 100) -> Sequence[Sequence[Version]]:
        kept, life_ms = min(limit, self._limits.history), self._limits.history_ttl_ms
        found: list[list[Version]] = []
        while len(found) < len(keys):
            some = keys[len(found) : len(found) + KEYS_PER_STEP]
            found += await scripts.histories(self._store, keys=some, limit=kept, life_ms=life_ms)
        return found

    async def contested(self, prefix: str = "", *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        found: list[tuple[str, Item]] = []
        while True:
            page, now_ms = await self._listed("contested", prefix=prefix, limit=limit, after=after)
            found += [(key, item) for key, item in page if sum(each.is_live(now_ms) for each in item) > 1]
            if len(found) >= limit or len(page) < limit:
                return found[:limit]
            after = page[-1][0]

    async def sweep(self) -> int:
        return await scripts.sweep(self._store, life_ms=self._limits.evict_after_ms)

    async def report(self, member: Member) -> bool:
        return (await self.check_in(member))[0]

    async def check_in(self, member: Member) -> tuple[bool, StoreClock]:
        return await scripts.report(self._store, member=member, life_ms=self._limits.evict_after_ms)

    async def members(self) -> Sequence[Member]:
        return await scripts.members(self._store, life_ms=self._limits.evict_after_ms)

    async def drop(self, keys: Mapping[str, tuple[Dot, ...]]) -> int:
        wanted = list(keys.items())
        return sum(
            [
                await scripts.drop(self._store, keys=wanted[at : at + KEYS_PER_STEP])
                for at in range(0, len(wanted), KEYS_PER_STEP)
            ]
        )

    async def lease_actor(self, *, owner: str, ttl_ms: int) -> ActorLease:
        del owner
        return await scripts.lend(self._store, ttl_ms=ttl_ms)

    async def renew_actor(self, lease: ActorLease, *, ttl_ms: int) -> ActorLease:
        return await scripts.renew(self._store, lease=lease, ttl_ms=ttl_ms)

    async def return_actor(self, lease: ActorLease) -> None:
        await scripts.give_back(self._store, lease=lease)

    async def take_mastery(self, prefix: str, *, holder: str, ttl_ms: int) -> Mastery:
        return await scripts.lead(self._store, prefix=prefix, holder=holder, ttl_ms=ttl_ms)

    async def resign(self, mastery: Mastery) -> None:
        await scripts.resign(self._store, mastery=mastery)

    async def quarantine(self, node: str, *, reason: str) -> None:
        await scripts.quarantine(self._store, node=node, reason=reason)

    async def readmit(self, node: str) -> bool:
        return await scripts.readmit(self._store, node=node)

    async def quarantined(self) -> Mapping[str, str]:
        return await scripts.quarantined(self._store)

    async def _listed(
        self, index: str, *, prefix: str, limit: int, after: str
    ) -> tuple[Sequence[tuple[str, Item]], int]:
        found: list[tuple[str, Item]] = []
        now_ms, more = 0, True
        while more and len(found) < limit:
            step = min(limit - len(found), ITEMS_PER_STEP)
            page, now_ms, after = await scripts.list_page(
                self._store, index=index, prefix=prefix, limit=step, after=after
            )
            found += page
            more = bool(after)
        return found, now_ms


def _check_batch(batch: Batch) -> None:
    _check_size(batch.versions)
    seq = batch.first - 1
    for version in batch.versions:
        header = version.header
        if header.actor != batch.actor or not seq < header.seq <= batch.last:
            raise InvalidArgumentError(
                f"version {header.actor}:{header.seq} has no place in a batch of {batch.actor} "
                f"from {batch.first} to {batch.last}: numbers rise"
            )
        seq = header.seq


def _check_size(versions: Sequence[Version]) -> None:
    if len(versions) > MAX_BATCH:
        raise InvalidArgumentError(f"{len(versions)} versions are over the {MAX_BATCH} of one batch")
