"""The digest that a store keeps as it goes is the one computed from scratch, at every moment."""

from dataclasses import replace
from random import Random

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.clock import ManualClock
from meshd.memory.digests import BUCKETS, bucket_of, differing, digest_of
from meshd.memory.model import LOCAL, Digest, Version
from meshd.memory.store import MemoryStore
from tests.conftest import OpenAgain
from tests.support.memory import Writer, get_one

EMPTY = bytes(8 * BUCKETS)


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


async def checked(store: MemoryStore) -> Digest:
    """Return the digest once it was found equal to one made of all items."""
    digest = await store.digest()
    kept: list[Version] = []
    for _, item in await store.list("", limit=10_000):
        kept += [version for version in item if version.header.actor != LOCAL]
    assert digest.buckets == digest_of(kept, now_ms=digest.now_ms)
    assert await store.mark() == digest.mark
    return digest


async def test_an_empty_store_sums_to_nothing(store: MemoryStore, clock: ManualClock) -> None:
    digest = await store.digest()
    assert digest.buckets == EMPTY
    assert await store.mark() == digest.mark


async def test_the_digest_follows_writes_conflicts_and_deletions(store: MemoryStore, clock: ManualClock) -> None:
    ann, bob = Writer("ann", clock), Writer("bob", clock)
    await ann.push(store, *[ann.put(f"k{number}") for number in range(20)])
    full = await checked(store)
    assert full.buckets != EMPTY
    await bob.push(store, *[bob.put(f"k{number}") for number in range(5)])
    await checked(store)
    for number in range(20):
        await ann.remove(store, f"k{number}")
    assert (await checked(store)).buckets == EMPTY


async def test_only_the_bucket_of_a_changed_key_differs(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, *[ann.put(f"k{number}") for number in range(20)])
    before = await store.digest()
    await ann.write(store, "k7", "other")
    after = await checked(store)
    assert differing(before.buckets, after.buckets) == [bucket_of("k7")]


async def test_an_expired_version_is_left_out_from_its_time_on(
    store: MemoryStore, ann: Writer, clock: ManualClock
) -> None:
    await ann.push(store, ann.put("kept"))
    without = await checked(store)
    await ann.push(store, ann.put("k", ttl_ms=100))
    assert (await checked(store)).buckets != without.buckets
    clock.advance(ms=99)
    assert (await checked(store)).buckets != without.buckets
    clock.advance(ms=1)
    digest = await checked(store)
    assert digest.buckets == without.buckets
    assert digest.now_ms == clock()


async def test_what_was_written_after_its_time_never_counts(
    store: MemoryStore, ann: Writer, clock: ManualClock
) -> None:
    late = ann.put("k", ttl_ms=10)
    clock.advance(ms=10)
    await store.digest()
    await ann.push(store, late)
    assert (await checked(store)).buckets == EMPTY
    await ann.write(store, "k", "lives")
    assert (await checked(store)).buckets != EMPTY


async def test_an_expired_version_that_is_replaced_counts_once(
    store: MemoryStore, ann: Writer, clock: ManualClock
) -> None:
    for number in range(6):
        await ann.write(store, "k", str(number), ttl_ms=20 * (number % 3))
        clock.advance(ms=15)
        if number % 2:
            await checked(store)
    await checked(store)


async def test_a_sweep_does_not_show(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    await ann.push(store, ann.put("k", ttl_ms=50), ann.put("l"), ann.delete("m"))
    clock.advance(ms=50)
    before = await checked(store)
    assert await store.sweep() == 2
    assert (await checked(store)).buckets == before.buckets


async def test_local_versions_do_not_count(store: MemoryStore, clock: ManualClock) -> None:
    local = Writer(LOCAL, clock)
    await local.push(store, local.put("k"), local.put("l", ttl_ms=5))
    assert (await checked(store)).buckets == EMPTY
    clock.advance(ms=10)
    assert (await checked(store)).buckets == EMPTY


@pytest.mark.parametrize("seed", range(5))
async def test_the_kept_digest_is_the_computed_one_after_anything(
    store: MemoryStore, open_again: OpenAgain, options: BackendOptions, clock: ManualClock, seed: int
) -> None:
    rng = Random(seed)
    writers = [Writer(f"w{number}", clock) for number in range(3)]
    other = (await open_again(replace(options, mesh=options.mesh + "2"))).memory
    made: list[Version] = []
    for step in range(90):
        writer, key = rng.choice(writers), f"k{rng.randrange(12)}"
        over = await get_one(store, key) if rng.random() < 0.7 else ()
        match rng.randrange(10):
            case 0:
                version = writer.delete(key, over=over)
            case 1 | 2 | 3:
                version = writer.put(key, str(step), over=over, ttl_ms=rng.randrange(1, 60))
            case _:
                version = writer.put(key, str(step), over=over)
        made.append(version)
        await writer.push(store, version)
        clock.advance(ms=rng.randrange(0, 9))
        if rng.random() < 0.2:
            await (store.sweep() if rng.random() < 0.3 else checked(store))
    rng.shuffle(made)
    await other.absorb(made, clock={writer.actor: writer.seq for writer in writers})
    assert (await checked(store)).buckets == (await checked(other)).buckets
