"""Stores that received the same versions are the same, in whatever order, however often, and by whatever way."""

from dataclasses import replace
from itertools import permutations
from random import Random

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.clock import ManualClock
from meshd.memory.digests import digest_of
from meshd.memory.joining import join
from meshd.memory.model import LOCAL, Applied, Dot, Refusal, Version
from meshd.memory.sealing import pack_item
from meshd.memory.store import MemoryStore
from tests.conftest import OpenAgain
from tests.support.memory import Writer, all_newer, batch_of, everything, get_one, refusals, values, words


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


@pytest.fixture
async def other(open_again: OpenAgain, options: BackendOptions) -> MemoryStore:
    """A second store, which knows nothing of the first."""
    return (await open_again(replace(options, mesh=options.mesh + "2"))).memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


@pytest.fixture
def bob(clock: ManualClock) -> Writer:
    return Writer("bob", clock)


async def test_versions_of_any_actors_are_taken_in_any_order(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    first = ann.put("k", "1")
    second = bob.put("k", "2", over=(first,))
    beside = ann.put("l", "3")
    replies = await store.absorb([beside, second, first])
    assert words(replies) == [Applied.APPLIED, Applied.APPLIED, Applied.OBSOLETE]
    assert [reply.current for reply in replies] == [(beside.dot,), (second.dot,), (second.dot,)]
    assert await get_one(store, "k") == (second,)


async def test_without_a_clock_the_stores_own_stays(store: MemoryStore, ann: Writer) -> None:
    await store.absorb([ann.put("k")])
    assert (await store.clock()).clock == {}


async def test_a_store_that_is_another_data_set_takes_nothing_and_vouches_for_nothing(
    store: MemoryStore, ann: Writer
) -> None:
    version = ann.put("k")
    replies = await store.absorb([version], clock={"ann": 1}, generation="another")
    assert refusals(replies) == [Refusal.FENCED]
    assert (await store.clock()).clock == {}
    generation = (await store.clock()).generation
    assert words(await store.absorb([version], clock={"ann": 1}, generation=generation)) == [Applied.APPLIED]
    assert (await store.clock()).clock == {"ann": 1}


async def test_with_a_clock_the_store_covers_it_and_is_never_set_back(
    store: MemoryStore, ann: Writer, bob: Writer
) -> None:
    await store.absorb([ann.put("k")], clock={"ann": 5, "bob": 2})
    await store.absorb([], clock={"ann": 3, "cy": 1})
    assert (await store.clock()).clock == {"ann": 5, "bob": 2, "cy": 1}


async def test_absorbing_again_is_known(store: MemoryStore, ann: Writer) -> None:
    versions = [ann.put("k"), ann.put("l")]
    await store.absorb(versions)
    before = (await store.clock()).revision
    assert words(await store.absorb(versions)) == [Applied.KNOWN, Applied.KNOWN]
    assert (await store.clock()).revision == before


async def test_a_version_the_clock_covers_does_not_come_back(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    version = ann.put("k")
    await store.absorb([], clock={"ann": 1})
    assert words(await store.absorb([version])) == [Applied.KNOWN]
    assert await get_one(store, "k") == ()


async def test_what_was_absorbed_is_known_when_its_actor_pushes_it(store: MemoryStore, ann: Writer) -> None:
    version = ann.put("k")
    await store.absorb([version])
    pushed = await ann.push(store, version)
    assert (words(pushed.replies), pushed.seq) == ([Applied.KNOWN], 1)
    assert await get_one(store, "k") == (version,)


def a_story(number: int, clock: ManualClock) -> tuple[Version, ...]:
    """Return four versions of one key: a write, one over it, one beside it, and a deletion of the first and third."""
    key = f"k{number}"
    ann, bob, cy = (Writer(f"{name}{number}", clock) for name in ("ann", "bob", "cy"))
    first = ann.put(key, "1")
    second = bob.put(key, "2", over=(first,))
    third = cy.put(key, "3")
    return (first, second, third, ann.delete(key, over=(first, third)))


async def test_every_order_of_arrival_ends_in_the_same_bytes(store: MemoryStore, clock: ManualClock) -> None:
    orders = list(permutations(range(4)))
    for number, order in enumerate(orders):
        versions = a_story(number, clock)
        await store.absorb([versions[place] for place in order])
        expected = join(*((version,) for version in versions))
        assert pack_item(await get_one(store, f"k{number}")) == pack_item(expected)
        assert len(expected) == 2
    digest = await store.digest()
    kept = [version for number in range(len(orders)) for version in await get_one(store, f"k{number}")]
    assert digest.buckets == digest_of(kept, now_ms=digest.now_ms)


def a_history(rng: Random, clock: ManualClock, *, writes: int) -> list[Version]:
    """Return versions of a few keys by actors who each saw a part of what was there."""
    writers = [Writer(f"w{number}", clock) for number in range(5)]
    seen: dict[str, dict[str, tuple[Version, ...]]] = {writer.actor: {} for writer in writers}
    made: list[Version] = []
    for _ in range(writes):
        writer, key = rng.choice(writers), rng.choice(["a", "b", "c/ä", "c/\U0001f600"])
        mine = seen[writer.actor]
        for other in rng.sample(writers, 2):
            mine[key] = join(mine.get(key, ()), seen[other.actor].get(key, ()))
        over = mine[key]
        version = writer.delete(key, over=over) if rng.random() < 0.2 else writer.put(key, str(len(made)), over=over)
        mine[key] = join(over, (version,))
        made.append(version)
        clock.advance(ms=rng.choice([0, 0, 1, 20]))
    return made


@pytest.mark.parametrize("seed", range(6))
async def test_two_stores_fed_in_different_orders_are_the_same(
    store: MemoryStore, other: MemoryStore, clock: ManualClock, seed: int
) -> None:
    rng = Random(seed)
    versions = a_history(rng, clock, writes=120)
    whole = {version.header.actor: version.header.seq for version in versions}
    for each in (store, other):
        left = versions + rng.sample(versions, 40)
        rng.shuffle(left)
        for start in range(0, len(left), 17):
            await each.absorb(left[start : start + 17])
        await each.absorb([], clock=whole)
    assert await everything(store) == await everything(other)
    assert (await store.digest()).buckets == (await other.digest()).buckets
    assert (await store.clock()).clock == (await other.clock()).clock == whole
    for key, item in await store.list(""):
        assert item == join(*((version,) for version in versions if version.key == key))


@pytest.mark.parametrize("seed", range(3))
async def test_pushed_and_absorbed_versions_end_in_the_same_bytes(
    store: MemoryStore, other: MemoryStore, clock: ManualClock, seed: int
) -> None:
    rng = Random(seed)
    versions = a_history(rng, clock, writes=60)
    for version in versions:
        await store.push(batch_of(version))
    rng.shuffle(versions)
    await other.absorb(versions)
    assert await everything(store) == await everything(other)
    assert (await store.digest()).buckets == (await other.digest()).buckets


async def test_a_store_filled_from_another_equals_it(
    store: MemoryStore, other: MemoryStore, clock: ManualClock
) -> None:
    await store.absorb(a_history(Random(9), clock, writes=90), clock={f"w{number}": 90 for number in range(5)})
    await store.absorb([Writer(LOCAL, clock).put("mine")])
    there = await store.clock()
    replies = await other.absorb(await all_newer(store, {}, limit=2), clock=there.clock)
    assert set(words(replies)) <= {Applied.APPLIED, Applied.SIBLING}
    kept = await everything(store)
    del kept["mine"]
    assert await everything(other) == kept
    assert (await other.clock()).clock == there.clock


async def test_two_sides_of_a_partition_meet(store: MemoryStore, other: MemoryStore, ann: Writer, bob: Writer) -> None:
    shared = await ann.write(store, "k", "before")
    await other.absorb([shared], clock={"ann": 1})
    await ann.write(store, "k", "left")
    await ann.write(store, "only left")
    await bob.write(other, "k", "right")
    await bob.remove(other, "only right")
    one, two = await store.clock(), await other.clock()
    left, right = await all_newer(store, two.clock), await all_newer(other, one.clock)
    await store.absorb(right, clock=two.clock)
    await other.absorb(left, clock=one.clock)
    assert await values(store, "k") == await values(other, "k") == ["left", "right"]
    assert await everything(store) == await everything(other)
    assert (await store.clock()).clock == (await other.clock()).clock == {"ann": 3, "bob": 2}


async def test_a_dot_names_the_same_version_in_every_reply(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    replies = await store.absorb([bob.put("k"), ann.put("k")])
    assert [reply.current for reply in replies] == [(Dot("bob", 1),), (Dot("ann", 1), Dot("bob", 1))]
