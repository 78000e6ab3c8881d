"""SQLite against the reference: the same random calls get the same answers and leave the same memory.

Every second run is in a replica's file, of which its process remembers what it wrote.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from meshd.backends import BackendOptions, open_backend, open_replica
from meshd.clock import ManualClock
from meshd.memory.model import LOCAL, Applied, Batch, Dot, Item, Member, MemoryLimits, Pushed, Version
from meshd.memory.store import MemoryStore
from tests.memory.reference import ReferenceStore
from tests.support.memory import Writer, batch_of, catch_up, everything

KEYS = ["a", "a/b", "b", "ü", "z"]
LIMITS = MemoryLimits(
    max_item_bytes=400, max_items=4, max_bytes=1_800, history=3, history_ttl_ms=400, evict_after_ms=600
)
STEPS = 120


class Pair:
    """Both stores, and whoever writes to them."""

    def __init__(self, store: MemoryStore, reference: ReferenceStore, clock: ManualClock, chance: Random) -> None:
        self.stores = (store, reference)
        self.clock = clock
        self.chance = chance
        self.writers = [Writer(f"n{number}~x", clock, node=f"n{number}") for number in range(3)]
        self.made: dict[str, list[Version]] = {writer.actor: [] for writer in self.writers}
        self.sent = dict.fromkeys(self.made, 0)

    async def step(self) -> None:
        """Make one call at both and compare the answers."""
        self.clock.advance(ms=self.chance.choice([0, 0, 1, 7, 40]))
        await self.chance.choice([self.push] * 8 + [self.absorb] * 3 + [self.sweep, self.report, self.drop])()

    async def push(self) -> None:
        writer = self.chance.choice(self.writers)
        fresh = [await self.version(writer) for _ in range(self.chance.randrange(1, 4))]
        self.made[writer.actor] += fresh
        first = self.sent[writer.actor] + self.chance.choice([1, 1, 1, 1, 0, 2])
        versions = [each for each in self.made[writer.actor] if each.header.seq >= first]
        batch = Batch(actor=writer.actor, first=first, last=writer.seq, versions=versions)
        if versions and first > self.sent[writer.actor] and self.chance.random() < 0.3:
            key = self.chance.choice(versions).key
            expected = self.chance.choice([(), await self.live_dots(key)])
            batch = replace(batch, conditions={key: expected})
        one, two = [await store.push(batch) for store in self.stores]
        assert _plain(one, batch) == _plain(two, batch)
        self.sent[writer.actor] = one.seq

    async def version(self, writer: Writer) -> Version:
        key, chance = self.chance.choice(KEYS), self.chance.random()
        (over,) = await self.stores[0].get([key]) if self.chance.random() < 0.6 else ((),)
        match int(chance * 10):
            case 0:
                return writer.delete(key, over=over)
            case 1 | 2:
                return writer.put(key, "short", over=over, ttl_ms=self.chance.randrange(1, 90))
            case 3:
                return writer.put(key, "x" * self.chance.choice([150, 200, 400]), over=over)
            case 4 if chance < 0.42:
                return writer.put(key, over=over, ms=self.clock() + 70_000)
            case _:
                return writer.put(key, str(writer.seq), over=over)

    async def live_dots(self, key: str) -> tuple[Dot, ...]:
        (item,) = await self.stores[1].get([key])
        return tuple(version.dot for version in item if version.is_live(self.clock()))

    async def absorb(self) -> None:
        everything_made = [version for made in self.made.values() for version in made]
        some = self.chance.sample(everything_made, min(len(everything_made), 5))
        clock = None
        if self.chance.random() < 0.2:
            clock = {actor: seq for actor, seq in self.sent.items() if seq and self.chance.random() < 0.6}
        one, two = [list(await store.absorb(some, clock=clock)) for store in self.stores]
        assert one == two

    async def sweep(self) -> None:
        one, two = [await store.sweep() for store in self.stores]
        assert one == two

    async def report(self) -> None:
        revision = (await self.stores[0].clock()).revision - self.chance.choice([0, 0, 3])
        member = Member(node=self.chance.choice("pq"), actor="", revision=revision, seen_ms=0)
        one, two = [await store.report(member) for store in self.stores]
        assert one == two

    async def drop(self) -> None:
        key = self.chance.choice(KEYS)
        (item,) = await self.stores[0].get([key])
        dots = tuple(version.dot for version in item)
        wanted = {key: dots if self.chance.random() < 0.3 else dots[1:]}
        one, two = [await store.drop(wanted) for store in self.stores]
        assert one == two

    async def compare(self) -> None:
        """Check that both are in the same state, as every reading call shows it."""
        one, two = self.stores
        assert await everything(one) == await everything(two)
        assert replace(await one.clock(), generation="") == replace(await two.clock(), generation="")
        assert (await one.digest()).buckets == (await two.digest()).buckets
        assert await catch_up(one, after=0, limit=2) == await catch_up(two, after=0, limit=2)
        assert list(await one.contested()) == list(await two.contested())
        assert [member.node for member in await one.members()] == [member.node for member in await two.members()]
        past, same = await one.history(KEYS), await two.history(KEYS)
        assert [[each.blob for each in kept] for kept in past] == [[each.blob for each in kept] for kept in same]


def _plain(pushed: Pushed, batch: Batch) -> Pushed:
    """Leave out what an answer says of a key that the same batch changes again, and why a batch was not taken."""
    if {reply.applied for reply in pushed.replies} & {Applied.CONFLICT, Applied.REFUSED}:
        return replace(pushed, generation="", replies=[])
    last = {version.key: place for place, version in enumerate(batch.versions)}
    replies = [
        reply if last[version.key] == place else replace(reply, current=())
        for place, (version, reply) in enumerate(zip(batch.versions, pushed.replies, strict=False))
    ]
    return replace(pushed, generation="", replies=replies)


@pytest.fixture
async def pair(tmp_path: Path, seed: int) -> AsyncIterator[Pair]:
    clock = ManualClock()
    limits = LIMITS if seed % 3 == 0 else replace(LIMITS, max_items=100, max_bytes=100_000)
    path, options = tmp_path / "mesh.db", BackendOptions(clock=clock, memory=limits)
    async with AsyncExitStack() as stack:
        if seed % 2:
            file = await open_replica(path, options)
            stack.push_async_callback(file.aclose)
            store = file.store
        else:
            backend = await open_backend(f"sqlite:///{path}", options)
            stack.push_async_callback(backend.aclose)
            store = backend.memory
        yield Pair(store, ReferenceStore(clock, limits=limits), clock, Random(seed))


@pytest.mark.parametrize("seed", range(12))
async def test_random_calls_get_the_answers_of_the_reference(pair: Pair, seed: int) -> None:
    for step in range(STEPS):
        await pair.step()
        if step % 5 == 0:
            await pair.compare()
    await pair.compare()


async def test_local_versions_are_kept_as_the_reference_keeps_them(tmp_path: Path) -> None:
    clock = ManualClock()
    backend = await open_backend(f"sqlite:///{tmp_path / 'mesh.db'}", BackendOptions(clock=clock))
    pair = Pair(backend.memory, ReferenceStore(clock), clock, Random(1))
    local, shared = Writer(LOCAL, clock), Writer("n0~x", clock)
    over: Item = ()
    for number in range(6):
        version = local.put("mine", str(number), over=over)
        over = (version,)
        batch = batch_of(shared.put(f"k{number}"))
        for store in pair.stores:
            await store.absorb([version])
            await store.push(batch)
    await pair.compare()
    await backend.aclose()
