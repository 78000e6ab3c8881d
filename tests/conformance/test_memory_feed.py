"""The feed tells of every change while it is open; what it leaves out, the changes have."""

import asyncio

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.memory.model import Batch, Change, Version
from meshd.memory.store import Feed, MemoryStore
from tests.conftest import OpenAgain
from tests.support.builders import LONG_MS, SHORT_MS
from tests.support.memory import Writer, catch_up


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


class Follower:
    """A reader as the port means it: takes what fits where it stands, and reads the rest."""

    def __init__(self, store: MemoryStore, feed: Feed, *, at: int) -> None:
        self.at = at
        self.versions: list[Version] = []
        self._store = store
        self._feed = feed

    async def until(self, revision: int) -> None:
        """Read until everything up to a revision was received."""
        async with asyncio.timeout(LONG_MS / 1_000):
            while self.at < revision:
                change = await self._feed.get(timeout_ms=LONG_MS)
                assert change is not None
                if change.after > self.at or change.more:
                    rest, self.at = await catch_up(self._store, after=self.at)
                    self.versions += rest
                elif change.revision > self.at:
                    self.versions += change.versions
                    self.at = change.revision


async def next_change(feed: Feed) -> Change:
    change = await feed.get(timeout_ms=LONG_MS)
    assert change is not None
    return change


async def test_a_change_is_told_with_its_versions_and_its_place(store: MemoryStore, ann: Writer) -> None:
    await ann.write(store, "before")
    standing = await store.clock()
    async with store.follow() as feed:
        version = ann.put("k")
        pushed = await ann.push(store, version)
        change = await next_change(feed)
        assert (change.generation, change.after, change.revision) == (
            standing.generation,
            standing.revision,
            pushed.revision,
        )
        assert (list(change.versions), change.wanted, change.more) == ([version], False, False)


async def test_a_change_has_every_sibling_of_its_items(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    bob = Writer("bob", clock)
    one, two = ann.put("k"), bob.put("k")
    await ann.push(store, one)
    async with store.follow() as feed:
        await bob.push(store, two)
        assert list((await next_change(feed)).versions) == [one, two]


async def test_absorbed_versions_are_told_too(store: MemoryStore, ann: Writer) -> None:
    version = ann.put("k")
    async with store.follow() as feed:
        await store.absorb([version])
        assert list((await next_change(feed)).versions) == [version]


async def test_nothing_is_told_where_nothing_changes(store: MemoryStore, ann: Writer) -> None:
    batch = ann.batch(ann.put("k"))
    await store.push(batch)
    async with store.follow() as feed:
        await store.push(batch)
        ann.skip(1)
        await ann.push(store)
        assert await feed.get(timeout_ms=SHORT_MS) is None


async def test_a_waiting_reader_is_woken_by_another_process(
    backend: Backend, open_again: OpenAgain, ann: Writer
) -> None:
    other = (await open_again()).memory
    version = ann.put("k")
    async with backend.memory.follow() as feed:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(next_change(feed))
            await asyncio.sleep(0)
            await ann.push(other, version)
        assert list(waiting.result().versions) == [version]


async def test_every_follower_is_told(backend: Backend, open_again: OpenAgain, ann: Writer) -> None:
    other = (await open_again()).memory
    version = ann.put("k")
    async with backend.memory.follow() as one, backend.memory.follow() as two, other.follow() as three:
        await ann.push(other, version)
        for feed in (one, two, three):
            assert list((await next_change(feed)).versions) == [version]


async def test_who_wants_reports_says_so_with_the_change(store: MemoryStore, ann: Writer) -> None:
    async with store.follow() as feed:
        await store.push(ann.batch(ann.put("k")), wanted=True)
        assert (await next_change(feed)).wanted
        await ann.write(store, "k")
        assert not (await next_change(feed)).wanted


async def test_a_follower_misses_nothing_of_many_changes(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    bob = Writer("bob", clock)
    async with store.follow() as feed:
        follower = Follower(store, feed, at=(await store.clock()).revision)
        for number in range(40):
            await ann.push(store, ann.put(f"k{number % 7}", str(number)), ann.put(f"l{number}"))
            await bob.push(store, bob.put(f"k{number % 3}", str(number)))
        await follower.until((await store.clock()).revision)
    told = {version.dot for version in follower.versions}
    for _, item in await store.list(""):
        assert {version.dot for version in item} <= told


async def test_a_change_too_large_to_be_told_is_read(store: MemoryStore, ann: Writer) -> None:
    versions = [ann.put(f"k{number}", "x" * 200_000) for number in range(12)]
    async with store.follow() as feed:
        follower = Follower(store, feed, at=(await store.clock()).revision)
        pushed = await store.push(Batch(actor="ann", first=1, last=12, versions=versions))
        await follower.until(pushed.revision)
    assert follower.versions == versions


async def test_an_open_feed_ends_with_its_block_and_may_be_opened_again(store: MemoryStore, ann: Writer) -> None:
    async with store.follow():
        pass
    await ann.write(store, "unheard")
    async with store.follow() as feed:
        assert await feed.get(timeout_ms=0) is None
        version = await ann.write(store, "k")
        assert list((await next_change(feed)).versions) == [version]
