"""Redis against the reference: the same random operations leave the same bytes, sums and answers."""

from dataclasses import dataclass, field, replace
from random import Random

import pytest

from meshd.backends import Backend
from meshd.backends.redis.keys import Keys
from meshd.backends.redis.memory import RedisMemoryStore
from meshd.clock import ManualClock
from meshd.memory.joining import join, observed_in
from meshd.memory.model import Batch, Dot, Flag, Header, Item, Member, Version
from meshd.memory.sealing import Seal, pack_item
from tests.memory.reference import ReferenceStore
from tests.redis_backend.memory_versions import books_of, expected_books, items_of
from tests.redis_backend.raw import Raw

SEAL = Seal("secret")
KEYS = ["a", "a/b", "b", "ü", "z"]
STEPS = 150


@dataclass(slots=True)
class Writer:
    """An actor with a view of its own, which is behind the store's most of the time."""

    actor: str
    seq: int = 0
    view: dict[str, Item] = field(default_factory=dict[str, Item])
    outbox: list[Version] = field(default_factory=list[Version])
    made: list[Version] = field(default_factory=list[Version])

    def write(self, key: str, *, now_ms: int, is_deleted: bool, life_ms: int) -> None:
        self.seq += 1
        header = Header(
            actor=self.actor,
            seq=self.seq,
            observed=observed_in(self.view.get(key, ()), actor=self.actor),
            ms=now_ms,
            flags=Flag.TOMBSTONE if is_deleted else Flag.NONE,
            expires_ms=now_ms + life_ms if life_ms else 0,
            key=key,
            node=self.actor.partition("~")[0],
        )
        version = SEAL.make(header, b"" if is_deleted else b'{"n":%d}' % self.seq)
        self.view[key] = join(self.view.get(key, ()), (version,))
        self.outbox.append(version)
        self.made.append(version)


@dataclass(slots=True, kw_only=True)
class Pair:
    """Both stores, and whoever writes to them."""

    redis: RedisMemoryStore
    reference: ReferenceStore
    clock: ManualClock
    chance: Random
    writers: list[Writer]

    async def step(self) -> None:
        acts = [self.write] * 6 + [self.push] * 5 + [self.absorb, self.catch_up] * 2
        await self.chance.choice([*acts, self.wait, self.sweep, self.report, self.drop, self.rule])()

    async def write(self) -> None:
        chance = self.chance
        for _ in range(chance.randint(1, 4)):
            chance.choice(self.writers).write(
                chance.choice(KEYS),
                now_ms=self.clock() + chance.choice([0, 0, 0, 70_000]),
                is_deleted=chance.random() < 0.3,
                life_ms=chance.choice([0, 0, 5, 40]),
            )

    async def push(self) -> None:
        writer, chance = self.chance.choice(self.writers), self.chance
        versions = writer.outbox[: chance.randint(0, 6)]
        if not versions:
            return
        conditions: dict[str, tuple[Dot, ...]] = {}
        if chance.random() < 0.3:
            key = versions[0].key
            is_right = chance.random() < 0.7
            live = [each for each in (await self.reference.get([key]))[0] if each.is_live(self.clock())]
            conditions[key] = tuple(each.dot for each in live) if is_right else (Dot("nobody", 1),)
        reached = (await self.reference.clock()).clock.get(writer.actor, 0)
        first = min(reached + 1, versions[0].header.seq) + (chance.random() < 0.05)
        versions = [version for version in versions if version.header.seq >= first]
        last = max(first, *(version.header.seq for version in versions), 0)
        batch = Batch(actor=writer.actor, first=first, last=last, versions=versions, conditions=conditions)
        told = await self.redis.push(batch)
        expected = await self.reference.push(batch)
        assert list(told.replies) == list(expected.replies)
        assert replace(told, generation="", replies=()) == replace(expected, generation="", replies=())
        if not told.gap and chance.random() < 0.9:
            writer.outbox = [version for version in writer.outbox if version.header.seq > told.seq]
            if told.seq < last:
                writer.outbox = writer.outbox[len(versions) :]

    async def absorb(self) -> None:
        made = [version for writer in self.writers for version in writer.made[-30:]]
        some = self.chance.sample(made, k=min(len(made), self.chance.randint(0, 8)))
        clock = None
        if self.chance.random() < 0.3:
            writer = self.chance.choice(self.writers)
            some = writer.made[-90:]
            clock = {writer.actor: writer.seq} if 0 < len(writer.made) <= 90 else None
        assert list(await self.redis.absorb(some, clock=clock)) == list(await self.reference.absorb(some, clock=clock))

    async def catch_up(self) -> None:
        writer = self.chance.choice(self.writers)
        for key, item in await self.reference.list("", limit=100):
            writer.view[key] = join(writer.view.get(key, ()), item)

    async def wait(self) -> None:
        self.clock.advance(ms=self.chance.choice([1, 10, 60, 70_000]))

    async def sweep(self) -> None:
        assert await self.redis.sweep() == await self.reference.sweep()

    async def report(self) -> None:
        revision = (await self.reference.clock()).revision
        member = Member(
            node=self.chance.choice(["n1", "n2"]),
            actor="x",
            revision=max(0, revision - self.chance.randint(0, 9)),
            seen_ms=0,
        )
        assert await self.redis.report(member) == await self.reference.report(member)

    async def drop(self) -> None:
        key = self.chance.choice(KEYS)
        item = (await self.reference.get([key]))[0]
        dots = {key: tuple(version.dot for version in item)}
        if self.chance.random() < 0.3:
            assert await self.redis.drop(dots) == await self.reference.drop(dots)

    async def rule(self) -> None:
        node = self.writers[-1].actor.partition("~")[0]
        if await self.redis.readmit(node):
            assert await self.reference.readmit(node)
        elif self.chance.random() < 0.3:
            await self.redis.quarantine(node, reason="test")
            await self.reference.quarantine(node, reason="test")

    async def check(self) -> None:
        redis, reference = self.redis, self.reference
        told, expected = await redis.clock(), await reference.clock()
        assert replace(told, generation="") == replace(expected, generation="")
        items = await reference.get(KEYS)
        assert [pack_item(item) for item in await redis.get(KEYS)] == [pack_item(item) for item in items]
        assert list(await redis.list("a")) == list(await reference.list("a"))
        assert list(await redis.contested()) == list(await reference.contested())
        after = self.chance.randint(0, expected.revision)
        assert (await redis.changes(after=after)).versions == (await reference.changes(after=after)).versions
        seen = {writer.actor: self.chance.randint(0, writer.seq) for writer in self.writers}
        assert (await redis.newer(seen))[0] == (await reference.newer(seen))[0]
        assert list(await redis.history(KEYS)) == list(await reference.history(KEYS))
        if self.chance.random() < 0.3:
            assert await redis.digest() == await reference.digest()


@pytest.mark.parametrize("seed", range(8))
async def test_random_operations_leave_the_same_store(
    backend: Backend, clock: ManualClock, keys: Keys, raw: Raw, seed: int
) -> None:
    assert isinstance(backend.memory, RedisMemoryStore)
    writers = [Writer(actor) for actor in ("n1~a", "n2~b", "n2~c", "n10~d")]
    pair = Pair(
        redis=backend.memory,
        reference=ReferenceStore(clock),
        clock=clock,
        chance=Random(seed),
        writers=writers,
    )
    for _ in range(STEPS):
        await pair.step()
        await pair.check()
    assert await backend.memory.digest() == await pair.reference.digest()
    items, revisions = await items_of(pair.reference), pair.reference._revisions  # pyright: ignore[reportPrivateUsage]
    assert books_of(raw, keys) == expected_books(items, revisions, now_ms=clock())
