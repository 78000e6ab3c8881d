"""The memory port in plain dictionaries, on the pure rules alone: what every other store is compared with."""

import asyncio
from bisect import bisect_right, insort
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from meshd.errors import FencedError, InvalidArgumentError
from meshd.memory.digests import BUCKETS, bucket_of, fingerprint, pack_sums
from meshd.memory.hybrid_clock import is_future
from meshd.memory.joining import admit, cover, is_spent, observes
from meshd.memory.model import (
    LOCAL,
    MAX_BATCH,
    MAX_KEY_BYTES,
    ActorLease,
    Applied,
    Batch,
    Change,
    Digest,
    Dot,
    Item,
    Mastery,
    Member,
    MemoryLimits,
    NodeClock,
    Pushed,
    Refusal,
    Reply,
    StoreClock,
    Version,
)

FEED_BYTES = 65_536
"""Larger changes come to the feed without their versions."""


class ReferenceFeed:
    """Changes in the order they were made."""

    def __init__(self) -> None:
        self.changes: deque[Change] = deque()
        self.rings = asyncio.Event()

    async def get(self, *, timeout_ms: int, known: int = 0) -> Change | None:
        del known
        if not self.changes:
            self.rings.clear()
            try:
                async with asyncio.timeout(timeout_ms / 1000):
                    await self.rings.wait()
            except TimeoutError:
                return None
        return self.changes.popleft()


class ReferenceStore:
    """A memory store in this process."""

    def __init__(
        self, now_ms: Callable[[], int], *, limits: MemoryLimits | None = None, generation: str = "g1"
    ) -> None:
        self.limits = limits or MemoryLimits()
        self.generation = generation
        self.revision = 0
        self.items: dict[str, Item] = {}
        self.bytes = 0
        self._now_ms = now_ms
        self.received: dict[str, int] = {}
        self._revisions: dict[str, int] = {}
        self._changed: list[tuple[int, str]] = []
        self._sums = [0] * BUCKETS
        self._ends: list[tuple[int, str, Version]] = []
        self._counted_ms = 0
        self._history: dict[str, list[tuple[int, Version]]] = {}
        self._members: dict[str, Member] = {}
        self._actors: dict[str, tuple[ActorLease, str]] = {}
        self._masters: dict[str, Mastery] = {}
        self._quarantined: dict[str, str] = {}
        self._feeds: list[ReferenceFeed] = []

    async def push(self, batch: Batch, *, wanted: bool = False) -> Pushed:
        seqs = [version.header.seq for version in batch.versions]
        actors = {version.header.actor for version in batch.versions}
        if len(seqs) > MAX_BATCH or actors - {batch.actor} or any(not batch.first <= seq <= batch.last for seq in seqs):
            raise InvalidArgumentError(f"these {len(seqs)} versions are no batch of {batch.actor}")
        now, start = self._now_ms(), self.revision
        last = self.received.get(batch.actor, 0)
        if self._is_fenced(batch, now):
            return self._pushed(batch, [Reply(applied=Applied.REFUSED, refusal=Refusal.FENCED)] * len(seqs))
        if batch.first > last + 1:
            return self._pushed(batch, [], gap=True)
        fresh = [version for version in batch.versions if version.header.seq > last]
        refused = self._refused(batch, fresh, now)
        if refused:
            spared = (Reply(applied=Applied.KNOWN), Reply(applied=Applied.CONFLICT))
            replies = [refused.get(each.dot, spared[each.header.seq > last]) for each in batch.versions]
            return self._pushed(batch, replies)
        taken = [(version, self.take(version)) for version in batch.versions]
        if batch.last > last:
            self.received[batch.actor] = batch.last
        replies = [
            Reply(applied=applied, current=tuple(kept.dot for kept in self.items.get(version.key, ())))
            for version, applied in taken
        ]
        self._tell(start, wanted=wanted)
        return self._pushed(batch, replies)

    async def absorb(
        self, versions: Sequence[Version], *, clock: NodeClock | None = None, generation: str | None = None
    ) -> Sequence[Reply]:
        if len(versions) > MAX_BATCH:
            raise InvalidArgumentError(f"{len(versions)} versions are more than {MAX_BATCH}")
        if generation is not None and generation != self.generation:
            return [Reply(applied=Applied.REFUSED, refusal=Refusal.FENCED) for _ in versions]
        now, start = self._now_ms(), self.revision
        replies: list[Reply] = []
        spoiled: set[str] = set()
        for version in versions:
            refusal = self._refusal(version, now) or self._excess(version, {})
            if refusal is None:
                applied = self.take(version)
                current = tuple(kept.dot for kept in self.items.get(version.key, ()))
                replies.append(Reply(applied=applied, current=current))
            else:
                spoiled.add(version.header.actor)
                replies.append(Reply(applied=Applied.REFUSED, refusal=refusal))
        if clock is not None:
            self.received = cover(self.received, {actor: seq for actor, seq in clock.items() if actor not in spoiled})
        self._tell(start, wanted=False)
        return replies

    async def get(self, keys: Sequence[str]) -> Sequence[Item]:
        return [self.items.get(key, ()) for key in keys]

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        keys = sorted(
            (key for key in self.items if key.startswith(prefix) and key.encode() > after.encode()), key=str.encode
        )
        return [(key, self.items[key]) for key in keys[:limit]]

    async def clock(self) -> StoreClock:
        return StoreClock(
            generation=self.generation,
            revision=self.revision,
            clock=dict(self.received),
            now_ms=self._now_ms(),
            items=len(self.items),
            value_bytes=self.bytes,
            quarantined=dict(self._quarantined),
        )

    async def changes(self, *, after: int, limit: int = 1_000) -> Change:
        rest = self._changed[bisect_right(self._changed, (after, "\U0010ffff")) :]
        found = rest[:limit]
        return Change(
            generation=self.generation,
            after=after,
            revision=found[-1][0] if len(rest) > limit else self.revision,
            versions=[version for _, key in found for version in self._shared(key)],
            more=len(rest) > limit,
        )

    async def newer(self, clock: NodeClock, *, after: str = "", limit: int = 1_000) -> tuple[Sequence[Version], str]:
        found: list[Version] = []
        for key in sorted(self.items, key=str.encode):
            if key.encode() > after.encode():
                found += [each for each in self._shared(key) if clock.get(each.header.actor, 0) < each.header.seq]
                if len(found) >= limit:
                    return found, key
        return found, ""

    @asynccontextmanager
    async def follow(self) -> AsyncGenerator[ReferenceFeed, None]:
        feed = ReferenceFeed()
        self._feeds.append(feed)
        try:
            yield feed
        finally:
            self._feeds.remove(feed)

    async def digest(self) -> Digest:
        now = self._now_ms()
        self._expire(now)
        return Digest(buckets=pack_sums(self._sums), now_ms=now)

    async def mark(self) -> str:
        return (await self.digest()).mark

    async def history(self, keys: Sequence[str], *, limit: int = 100) -> Sequence[Sequence[Version]]:
        return [[version for _, version in reversed(self._history.get(key, []))][:limit] for key in keys]

    async def contested(self, prefix: str = "", *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        now = self._now_ms()
        listed = await self.list(prefix, limit=len(self.items), after=after)
        return [(key, item) for key, item in listed if sum(each.is_live(now) for each in item) > 1][:limit]

    async def sweep(self) -> int:
        now = self._now_ms()
        self._expire(now)
        self._members = {member.node: member for member in await self.members()}
        stable = min((each.revision for each in self._members.values()), default=self.revision)
        spent = [
            key
            for key, item in self.items.items()
            if self._revisions.get(key, 0) <= stable and is_spent(item, covered=self.received, now_ms=now)
        ]
        collected = sum(len(self.items[key]) for key in spent)
        for key in spent:
            self.forget(key)
        oldest = now - self.limits.history_ttl_ms
        self._history = {
            key: kept
            for key, past in self._history.items()
            if (kept := [(at, version) for at, version in past if at > oldest])
        }
        return collected

    async def report(self, member: Member) -> bool:
        is_known = member.node in {each.node for each in await self.members()}
        self._members[member.node] = replace(member, seen_ms=self._now_ms())
        return is_known

    async def check_in(self, member: Member) -> tuple[bool, StoreClock]:
        return await self.report(member), await self.clock()

    async def members(self) -> Sequence[Member]:
        oldest = self._now_ms() - self.limits.evict_after_ms
        return [each for _, each in sorted(self._members.items()) if each.seen_ms > oldest]

    async def drop(self, keys: Mapping[str, tuple[Dot, ...]]) -> int:
        gone = [
            key
            for key, dots in keys.items()
            if dots and sorted(dots) == [version.dot for version in self.items.get(key, ())]
        ]
        self._expire(self._now_ms())
        for key in gone:
            self.forget(key)
            self._history.pop(key, None)
        return len(gone)

    async def lease_actor(self, *, owner: str, ttl_ms: int) -> ActorLease:
        now = self._now_ms()
        free = [lease for lease, holder in self._actors.values() if not holder or lease.until_ms <= now]
        old = min(free, key=lambda lease: lease.actor, default=None)
        actor = old.actor if old else f"~lent-{len(self._actors) + 1:04}"
        token = old.token + 1 if old else 1
        lease = ActorLease(actor=actor, seq=self.received.get(actor, 0), token=token, until_ms=now + ttl_ms)
        self._actors[actor] = (lease, owner)
        return lease

    async def renew_actor(self, lease: ActorLease, *, ttl_ms: int) -> ActorLease:
        held, owner = self._actors.get(lease.actor, (None, ""))
        if held is None or held.token != lease.token or not owner:
            current = held.token if held else 0
            raise FencedError(f"memory actor {lease.actor}", token=lease.token, current=current)
        renewed = replace(held, seq=self.received.get(lease.actor, 0), until_ms=self._now_ms() + ttl_ms)
        self._actors[lease.actor] = (renewed, owner)
        return renewed

    async def return_actor(self, lease: ActorLease) -> None:
        held, _ = self._actors.get(lease.actor, (None, ""))
        if held is not None and held.token == lease.token:
            self._actors[lease.actor] = (held, "")

    async def take_mastery(self, prefix: str, *, holder: str, ttl_ms: int) -> Mastery:
        now = self._now_ms()
        held = self._masters.get(prefix)
        if held is not None and held.until_ms > now and held.holder != holder:
            return held
        is_new = held is None or held.holder != holder
        epoch = (held.epoch if held else 0) + is_new
        mastery = Mastery(prefix=prefix, holder=holder, epoch=epoch, until_ms=now + ttl_ms)
        self._masters[prefix] = mastery
        return mastery

    async def resign(self, mastery: Mastery) -> None:
        held = self._masters.get(mastery.prefix)
        if held is not None and held.epoch == mastery.epoch:
            self._masters[mastery.prefix] = replace(held, holder="", until_ms=0)

    async def quarantine(self, node: str, *, reason: str) -> None:
        self._quarantined[node] = reason

    async def readmit(self, node: str) -> bool:
        return self._quarantined.pop(node, None) is not None

    async def quarantined(self) -> Mapping[str, str]:
        return dict(self._quarantined)

    def _refused(self, batch: Batch, fresh: Sequence[Version], now: int) -> dict[Dot, Reply]:
        refused: dict[Dot, Reply] = {}
        staged: dict[str, Item] = {}
        for version in fresh:
            live = tuple(kept.dot for kept in self.items.get(version.key, ()) if kept.is_live(now))
            if version.key in batch.conditions and batch.conditions[version.key] != live:
                current = tuple(kept.dot for kept in self.items.get(version.key, ()))
                refused[version.dot] = Reply(applied=Applied.CONFLICT, current=current)
            elif refusal := self._refusal(version, now) or self._excess(version, staged):
                refused[version.dot] = Reply(applied=Applied.REFUSED, refusal=refusal)
        return refused

    def _refusal(self, version: Version, now: int) -> Refusal | None:
        limits, header = self.limits, version.header
        if header.node in self._quarantined or header.actor.partition("~")[0] in self._quarantined:
            return Refusal.QUARANTINED
        if len(version.blob) > limits.max_item_bytes or len(version.key.encode()) > MAX_KEY_BYTES:
            return Refusal.TOO_LARGE
        if is_future(header.ms, now_ms=now, max_drift_ms=limits.max_drift_ms):
            return Refusal.FUTURE
        return None

    def _excess(self, version: Version, staged: dict[str, Item]) -> Refusal | None:
        """Return whether taking a version, after those that made `staged` of some items, makes the store too full."""
        before = staged.get(version.key, self.items.get(version.key, ()))
        after = admit(before, version, self.received)[1]
        if after == before:
            return None
        tried = {**staged, version.key: after}
        items = len(self.items.keys() | tried.keys())
        size = self.bytes + sum(_size(item) - _size(self.items.get(key, ())) for key, item in tried.items())
        grows = _size(after) > _size(before)
        if (not before and items > self.limits.max_items) or (grows and size > self.limits.max_bytes):
            return Refusal.FULL
        staged[version.key] = after
        return None

    def _is_fenced(self, batch: Batch, now: int) -> bool:
        if batch.master is not None:
            prefix, epoch = batch.master
            held = self._masters.get(prefix)
            if held is None or held.epoch != epoch or held.until_ms <= now:
                return True
        lease, _ = self._actors.get(batch.actor, (None, ""))
        return batch.token != (lease.token if lease else 0)

    def _pushed(self, batch: Batch, replies: Sequence[Reply], *, gap: bool = False) -> Pushed:
        seq = self.received.get(batch.actor, 0)
        return Pushed(generation=self.generation, revision=self.revision, seq=seq, replies=replies, gap=gap)

    def take(self, version: Version) -> Applied:
        key = version.key
        before = self.items.get(key, ())
        applied, after = admit(before, version, self.received)
        if applied not in (Applied.APPLIED, Applied.SIBLING):
            return applied
        self.items[key] = after
        self.bytes += _size(after) - _size(before)
        for kept in before:
            if observes(version.header, kept.dot):
                self.count(kept, -1)
                self._remember(kept)
        self.count(version, 1)
        if version.header.actor != LOCAL:
            self.revise(key)
        return applied

    def _shared(self, key: str) -> Iterable[Version]:
        return (version for version in self.items.get(key, ()) if version.header.actor != LOCAL)

    def revise(self, key: str) -> None:
        self._unlist(key)
        self.revision += 1
        self._revisions[key] = self.revision
        self._changed.append((self.revision, key))

    def _unlist(self, key: str) -> None:
        place = (self._revisions.pop(key, 0), key)
        at = bisect_right(self._changed, place) - 1
        if at >= 0 and self._changed[at] == place:
            del self._changed[at]

    def count(self, version: Version, times: int) -> None:
        """Add a version to the digest, or take it out, unless it counts nothing at the time counted to."""
        if version.header.actor == LOCAL or not version.is_live(self._counted_ms):
            return
        bucket = bucket_of(version.key)
        self._sums[bucket] = (self._sums[bucket] + times * fingerprint(version)) % (1 << 64)
        if times > 0 and version.header.expires_ms:
            insort(self._ends, (version.header.expires_ms, version.key, version), key=lambda end: end[:2])
        elif times < 0:
            self._ends = [end for end in self._ends if end[2].dot != version.dot]

    def _expire(self, now: int) -> None:
        while self._ends and self._ends[0][0] <= now:
            _, key, version = self._ends.pop(0)
            if any(kept.dot == version.dot for kept in self.items.get(key, ())):
                self.count(version, -1)
        self._counted_ms = now

    def forget(self, key: str) -> None:
        item = self.items.pop(key)
        self.bytes -= _size(item)
        for version in item:
            self.count(version, -1)
        self._unlist(key)

    def _remember(self, version: Version) -> None:
        past = self._history.setdefault(version.key, [])
        past.append((self._now_ms(), version))
        del past[: -self.limits.history]

    def _tell(self, start: int, *, wanted: bool) -> None:
        if self.revision == start or not self._feeds:
            return
        keys = [key for _, key in self._changed[bisect_right(self._changed, (start, "\U0010ffff")) :]]
        versions = [version for key in keys for version in self._shared(key)]
        is_large = sum(len(version.blob) for version in versions) > FEED_BYTES
        change = Change(
            generation=self.generation,
            after=start,
            revision=self.revision,
            versions=[] if is_large else versions,
            wanted=wanted,
            more=is_large,
        )
        for feed in self._feeds:
            feed.changes.append(change)
            feed.rings.set()


def _size(item: Item) -> int:
    return sum(4 + len(version.blob) for version in item)
