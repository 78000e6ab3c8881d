"""Versions of the shared memory, made as nodes make them, and short ways to write, read and compare them."""

from collections.abc import Mapping, Sequence

from meshd.clock import Clock
from meshd.memory.hybrid_clock import Time, next_time
from meshd.memory.joining import observed_in
from meshd.memory.model import Applied, Batch, Dot, Flag, Header, Item, Member, Pushed, Refusal, Reply, Version
from meshd.memory.sealing import Seal, pack_item
from meshd.memory.store import MemoryStore

SEAL = Seal("a secret of the tests")


class Writer:
    """One actor: makes versions with rising numbers, and batches of those that were not put into one yet.

    It has always seen its own earlier versions, and what they had observed, as every real writer has.
    """

    def __init__(self, actor: str, clock: Clock, *, node: str = "", seq: int = 0, token: int = 0) -> None:
        self.actor = actor
        self.seq = seq
        self._clock = clock
        self._node = node or actor
        self._token = token
        self._batched = seq
        self._time = Time(0)
        self._last: dict[str, Version] = {}

    def put(
        self,
        key: str,
        value: str = "1",
        *,
        over: Item = (),
        ttl_ms: int = 0,
        ms: int | None = None,
        flags: Flag = Flag.NONE,
    ) -> Version:
        """Return the next version, which has observed `over`."""
        self.seq += 1
        now_ms = self._clock()
        self._time = next_time(self._time, now_ms)
        own = self._last.get(key)
        header = Header(
            actor=self.actor,
            seq=self.seq,
            observed=observed_in(over if own is None else (*over, own), actor=self.actor),
            ms=self._time.ms if ms is None else ms,
            tick=self._time.tick,
            flags=flags,
            expires_ms=now_ms + ttl_ms if ttl_ms else 0,
            key=key,
            node=self._node,
        )
        version = self._last[key] = SEAL.make(header, value.encode())
        return version

    def delete(self, key: str, *, over: Item = ()) -> Version:
        """Return a tombstone."""
        return self.put(key, "", over=over, flags=Flag.TOMBSTONE)

    def skip(self, numbers: int) -> None:
        """Use numbers for nothing, as for versions that were superseded before they were sent."""
        self.seq += numbers

    def batch(
        self,
        *versions: Version,
        conditions: Mapping[str, tuple[Dot, ...]] | None = None,
        master: tuple[str, int] | None = None,
    ) -> Batch:
        """Return a batch from after the last one up to the newest number."""
        first, self._batched = self._batched + 1, self.seq
        return Batch(
            actor=self.actor,
            first=first,
            last=self.seq,
            versions=versions,
            conditions=conditions or {},
            token=self._token,
            master=master,
        )

    async def push(self, store: MemoryStore, *versions: Version) -> Pushed:
        """Push versions that must be taken."""
        pushed = await store.push(self.batch(*versions))
        assert not pushed.gap
        assert not set(words(pushed.replies)) & {Applied.CONFLICT, Applied.REFUSED}, pushed
        return pushed

    async def write(self, store: MemoryStore, key: str, value: str = "1", *, ttl_ms: int = 0) -> Version:
        """Write over what the store has, as a client does."""
        version = self.put(key, value, over=await get_one(store, key), ttl_ms=ttl_ms)
        await self.push(store, version)
        return version

    async def remove(self, store: MemoryStore, key: str) -> Version:
        """Delete what the store has."""
        version = self.delete(key, over=await get_one(store, key))
        await self.push(store, version)
        return version


def batch_of(*versions: Version, conditions: Mapping[str, tuple[Dot, ...]] | None = None) -> Batch:
    """Return a batch of one actor's versions that begins and ends with them."""
    numbers = [version.header.seq for version in versions]
    actor = versions[0].header.actor
    return Batch(actor=actor, first=numbers[0], last=numbers[-1], versions=versions, conditions=conditions or {})


def words(replies: Sequence[Reply]) -> list[Applied]:
    """Return what became of each version."""
    return [reply.applied for reply in replies]


def refusals(replies: Sequence[Reply]) -> list[Refusal | None]:
    """Return why each version was refused."""
    return [reply.refusal for reply in replies]


async def get_one(store: MemoryStore, key: str) -> Item:
    """Return the item of one key."""
    (item,) = await store.get([key])
    return item


async def values(store: MemoryStore, key: str) -> list[str]:
    """Return the bodies of a key's siblings, in the order of their dots."""
    return [version.body.decode() for version in await get_one(store, key)]


async def everything(store: MemoryStore) -> dict[str, bytes]:
    """Return the bytes of every item."""
    found: dict[str, bytes] = {}
    after = ""
    while page := await store.list("", limit=50, after=after):
        found.update((key, pack_item(item)) for key, item in page)
        after = page[-1][0]
    return found


async def catch_up(store: MemoryStore, *, after: int, limit: int = 1_000) -> tuple[list[Version], int]:
    """Return every version changed after a revision, and where the reader stands then."""
    found: list[Version] = []
    more = True
    while more:
        change = await store.changes(after=after, limit=limit)
        assert change.after == after
        found += change.versions
        after, more = change.revision, change.more
    return found, after


async def all_newer(store: MemoryStore, clock: Mapping[str, int], *, limit: int = 1_000) -> list[Version]:
    """Return every version that a clock does not cover."""
    found: list[Version] = []
    after = ""
    while True:
        page, after = await store.newer(clock, after=after, limit=limit)
        found += page
        if not after:
            return found


async def report_up_to_date(store: MemoryStore, node: str) -> bool:
    """Report that a replica has everything; return what the store answers."""
    revision = (await store.clock()).revision
    return await store.report(Member(node=node, actor=f"{node}~1", revision=revision, seen_ms=0))
