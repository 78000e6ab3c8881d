"""The memory port on SQLite: each call is one function that the database runs, in one transaction."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from meshd.backends.sqlite import memory_leases as leases
from meshd.backends.sqlite import memory_reading as reading
from meshd.backends.sqlite import memory_sweeping as sweeping
from meshd.backends.sqlite.bells import Bell
from meshd.backends.sqlite.database import Database
from meshd.backends.sqlite.memory_feed import follow
from meshd.backends.sqlite.memory_taking import absorb, check_batch, check_size, push
from meshd.memory.model import (
    ActorLease,
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
    Reply,
    StoreClock,
    Version,
)
from meshd.memory.sealing import read_item
from meshd.memory.store import Feed

HISTORIES_PER_READ = 256
"""Keys whose past is read in one statement."""


_FEW = 4
_FEW_BYTES = 16_384
"""Up to so many versions and bytes, taking them is a small write."""


class SqliteMemoryStore:
    """Implements `meshd.memory.store.MemoryStore`."""

    def __init__(self, database: Database, bell: Bell, limits: MemoryLimits) -> None:
        self._database = database
        self._bell = bell
        self._limits = limits

    async def push(self, batch: Batch, *, wanted: bool = False) -> Pushed:
        check_batch(batch)
        limits = self._limits
        return await self._database.write(
            lambda transaction: push(transaction, batch, limits=limits, wanted=wanted),
            is_small=_is_small(batch.versions),
        )

    async def absorb(
        self, versions: Sequence[Version], *, clock: NodeClock | None = None, generation: str | None = None
    ) -> Sequence[Reply]:
        check_size(versions)
        limits = self._limits
        return await self._database.write(
            lambda transaction: absorb(transaction, versions, clock=clock, generation=generation, limits=limits),
            is_small=clock is None and _is_small(versions),
        )

    async def get(self, keys: Sequence[str]) -> Sequence[Item]:
        found = await self._database.read(lambda reader: reading.read_blobs(reader, keys), is_small=len(keys) <= _FEW)
        return [read_item(found[key]) if key in found else () for key in keys]

    async def list(self, prefix: str, *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        rows = await self._database.read(lambda reader: reading.read_list(reader, prefix, after=after, limit=limit))
        return [(key, read_item(data)) for key, data in rows]

    async def clock(self) -> StoreClock:
        return await self._database.read(reading.read_clock)

    async def changes(self, *, after: int, limit: int = 1_000) -> Change:
        change, _ = await self._database.read(lambda reader: reading.read_changes(reader, after=after, limit=limit))
        return change

    async def newer(self, clock: NodeClock, *, after: str = "", limit: int = 1_000) -> tuple[Sequence[Version], str]:
        return await self._database.read(lambda reader: reading.read_newer(reader, clock, after=after, limit=limit))

    def follow(self) -> AbstractAsyncContextManager[Feed]:
        return follow(self._database, self._bell)

    async def digest(self) -> Digest:
        await self._expire()
        return await self._database.read(reading.read_digest)

    async def mark(self) -> str:
        return (await self.digest()).mark

    async def history(self, keys: Sequence[str], *, limit: int = 100) -> Sequence[Sequence[Version]]:
        limit = min(limit, self._limits.history)
        found: list[list[Version]] = []
        for at in range(0, len(keys), HISTORIES_PER_READ):
            some = keys[at : at + HISTORIES_PER_READ]
            found += await self._database.read(partial(reading.read_histories, keys=some, limit=limit))
        return found

    async def contested(self, prefix: str = "", *, limit: int = 100, after: str = "") -> Sequence[tuple[str, Item]]:
        return await self._database.read(
            lambda reader: reading.read_contested(reader, prefix, after=after, limit=limit)
        )

    async def sweep(self) -> int:
        limits = self._limits
        up_to = await self._database.write(lambda transaction: sweeping.horizon(transaction, limits=limits))
        return await self._collect(up_to=up_to)

    async def report(self, member: Member) -> bool:
        limits = self._limits
        return await self._database.write(lambda transaction: leases.report(transaction, member, limits=limits))

    async def check_in(self, member: Member) -> tuple[bool, StoreClock]:
        return await self.report(member), await self.clock()

    async def members(self) -> Sequence[Member]:
        evict_after_ms = self._limits.evict_after_ms
        return await self._database.read(lambda reader: leases.members(reader, evict_after_ms=evict_after_ms))

    async def drop(self, keys: Mapping[str, tuple[Dot, ...]]) -> int:
        limits = self._limits
        return await self._database.write(lambda transaction: sweeping.drop(transaction, keys, limits=limits))

    async def lease_actor(self, *, owner: str, ttl_ms: int) -> ActorLease:
        return await self._database.write(
            lambda transaction: leases.lease_actor(transaction, owner=owner, ttl_ms=ttl_ms)
        )

    async def renew_actor(self, lease: ActorLease, *, ttl_ms: int) -> ActorLease:
        return await self._database.write(lambda transaction: leases.renew_actor(transaction, lease, ttl_ms=ttl_ms))

    async def return_actor(self, lease: ActorLease) -> None:
        await self._database.write(lambda transaction: leases.return_actor(transaction, lease))

    async def take_mastery(self, prefix: str, *, holder: str, ttl_ms: int) -> Mastery:
        return await self._database.write(
            lambda transaction: leases.take_mastery(transaction, prefix, holder=holder, ttl_ms=ttl_ms)
        )

    async def resign(self, mastery: Mastery) -> None:
        await self._database.write(lambda transaction: leases.resign(transaction, mastery))

    async def quarantine(self, node: str, *, reason: str) -> None:
        await self._database.write(lambda transaction: leases.quarantine(transaction, node, reason))

    async def readmit(self, node: str) -> bool:
        return await self._database.write(lambda transaction: leases.quarantine(transaction, node, None))

    async def quarantined(self) -> Mapping[str, str]:
        return await self._database.read(leases.read_quarantined)

    async def tidy(self, covered: NodeClock) -> int:
        """Sweep as a replica does: collect what `covered`, the clock of its hub, covers; return how many went."""
        newest = (await self.clock()).revision
        return await self._collect(up_to=newest, covered=covered)

    async def _expire(self) -> None:
        limits = self._limits
        while await self._database.write(lambda transaction: sweeping.expire(transaction, limits=limits)):
            pass

    async def _collect(self, *, up_to: int, covered: NodeClock | None = None) -> int:
        """Apply expiry, collect, and forget old history, in as many transactions as it takes."""
        limits = self._limits
        await self._expire()
        went = 0
        place: sweeping.Place | None = sweeping.Place()
        while place is not None:
            more, place = await self._collect_page(place, up_to=up_to, covered=covered)
            went += more
        while await self._database.write(lambda transaction: sweeping.forget_history(transaction, limits=limits)):
            pass
        return went

    async def _collect_page(
        self, place: sweeping.Place, *, up_to: int, covered: NodeClock | None
    ) -> tuple[int, sweeping.Place | None]:
        limits = self._limits
        return await self._database.write(
            lambda transaction: sweeping.collect(transaction, place, up_to=up_to, covered=covered, limits=limits)
        )


def _is_small(versions: Sequence[Version]) -> bool:
    return len(versions) <= _FEW and sum([len(version.blob) for version in versions]) <= _FEW_BYTES
