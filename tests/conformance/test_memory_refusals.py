"""What a store does not take, and why: a batch goes whole, absorbed versions one by one."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.clock import ManualClock
from meshd.errors import InvalidArgumentError
from meshd.memory.model import MAX_BATCH, MAX_KEY_BYTES, Applied, MemoryLimits, Refusal, Version
from meshd.memory.store import MemoryStore
from tests.conftest import OpenAgain
from tests.support.memory import Writer, everything, refusals, words

LIMITS = MemoryLimits(max_item_bytes=600, max_items=4, max_bytes=1_500, max_drift_ms=1_000)


@pytest.fixture
async def store(open_again: OpenAgain, options: BackendOptions) -> MemoryStore:
    """A store that takes little."""
    return (await open_again(replace(options, memory=LIMITS))).memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock, node="n1")


def too_large(writer: Writer, clock: ManualClock) -> Version:
    return writer.put("large", "x" * 600)


def from_the_future(writer: Writer, clock: ManualClock) -> Version:
    return writer.put("future", ms=clock() + 1_001)


def with_a_long_key(writer: Writer, clock: ManualClock) -> Version:
    return writer.put("k" * (MAX_KEY_BYTES + 1))


FAULTY = [
    (too_large, Refusal.TOO_LARGE),
    (with_a_long_key, Refusal.TOO_LARGE),
    (from_the_future, Refusal.FUTURE),
]
Make = Callable[[Writer, ManualClock], Version]


@pytest.mark.parametrize(("make", "why"), FAULTY)
async def test_one_refused_version_keeps_the_whole_batch_out(
    store: MemoryStore, ann: Writer, clock: ManualClock, make: Make, why: Refusal
) -> None:
    await ann.push(store, ann.put("before"))
    before = await store.clock()
    pushed = await store.push(ann.batch(ann.put("k"), make(ann, clock), ann.put("l")))
    assert words(pushed.replies) == [Applied.CONFLICT, Applied.REFUSED, Applied.CONFLICT]
    assert refusals(pushed.replies) == [None, why, None]
    assert all(reply.current == () for reply in pushed.replies)
    assert pushed.seq == 1
    assert await store.clock() == before
    assert set(await everything(store)) == {"before"}


@pytest.mark.parametrize(("make", "why"), FAULTY)
async def test_an_absorbed_version_is_refused_alone_and_its_actors_clock_stays(
    store: MemoryStore, ann: Writer, clock: ManualClock, make: Make, why: Refusal
) -> None:
    bob = Writer("bob", clock)
    replies = await store.absorb([ann.put("k"), make(ann, clock), bob.put("l")], clock={"ann": 2, "bob": 1})
    assert words(replies) == [Applied.APPLIED, Applied.REFUSED, Applied.APPLIED]
    assert refusals(replies) == [None, why, None]
    assert (await store.clock()).clock == {"bob": 1}
    assert set(await everything(store)) == {"k", "l"}


async def test_the_limits_themselves_are_still_within(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    size = len(Writer("ann", clock, node="n1").put("k" * 100, "").blob)
    largest = ann.put("k" * 100, "x" * (600 - size))
    assert len(largest.blob) == 600
    await ann.push(store, largest, ann.put("l", ms=clock() + 1_000))


async def test_a_longest_key_is_taken(backend: Backend, ann: Writer) -> None:
    key = "ä" * (MAX_KEY_BYTES // 2)
    await ann.push(backend.memory, ann.put(key))
    assert [found for found, _ in await backend.memory.list("ä")] == [key]


async def test_no_more_items_than_the_mesh_may_have(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, *[ann.put(f"k{number}") for number in range(4)])
    pushed = await store.push(ann.batch(ann.put("k0", "changed"), ann.put("k4")))
    assert words(pushed.replies) == [Applied.CONFLICT, Applied.REFUSED]
    assert refusals(pushed.replies) == [None, Refusal.FULL]
    replies = await store.absorb([Writer("bob", lambda: 1).put("k5")], clock={"bob": 1})
    assert refusals(replies) == [Refusal.FULL]
    assert (await store.clock()).items == 4


async def test_no_more_bytes_than_the_mesh_may_have_but_always_fewer(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, ann.put("k", "x" * 400), ann.put("l", "x" * 400))
    full = await store.clock()
    pushed = await store.push(ann.batch(ann.put("m", "x" * 500)))
    assert refusals(pushed.replies) == [Refusal.FULL]
    assert await store.clock() == full
    again = Writer("bob", lambda: 1)
    smaller = again.put("k", "x", over=(await store.get(["k"]))[0])
    assert words((await again.push(store, smaller)).replies) == [Applied.APPLIED]
    assert (await store.clock()).value_bytes < full.value_bytes


async def test_items_and_bytes_are_counted_as_they_are(backend: Backend, ann: Writer) -> None:
    store = backend.memory
    await ann.push(store, ann.put("k", "x" * 50), ann.put("l"), ann.put("k", "y"))
    await ann.remove(store, "l")
    kept = await everything(store)
    standing = await store.clock()
    assert (standing.items, standing.value_bytes) == (len(kept), sum(map(len, kept.values())))


async def test_a_quarantined_node_is_refused_until_it_is_readmitted(store: MemoryStore, ann: Writer) -> None:
    await store.quarantine("n1", reason="says odd things")
    assert await store.quarantined() == {"n1": "says odd things"}
    version = ann.put("k")
    batch = ann.batch(version)
    assert refusals((await store.push(batch)).replies) == [Refusal.QUARANTINED]
    assert refusals(await store.absorb([version], clock={"ann": 1})) == [Refusal.QUARANTINED]
    assert (await store.clock()).clock == {}
    assert await store.readmit("n1")
    assert not await store.readmit("n1")
    assert await store.quarantined() == {}
    assert words((await store.push(batch)).replies) == [Applied.APPLIED]


async def test_quarantine_concerns_no_other_node_and_nothing_taken_before(
    store: MemoryStore, ann: Writer, clock: ManualClock
) -> None:
    batch = ann.batch(ann.put("k"))
    await store.push(batch)
    await store.quarantine("n1", reason="later")
    await store.quarantine("n1", reason="and worse")
    assert await store.quarantined() == {"n1": "and worse"}
    assert words((await store.push(batch)).replies) == [Applied.KNOWN]
    bob = Writer("bob", clock, node="n2")
    assert words((await bob.push(store, bob.put("k"))).replies) == [Applied.SIBLING]


async def test_absorbing_more_than_a_batch_is_refused(backend: Backend, ann: Writer) -> None:
    versions = [ann.put(f"k{number}") for number in range(MAX_BATCH + 1)]
    with pytest.raises(InvalidArgumentError):
        await backend.memory.absorb(versions)
    assert words(await backend.memory.absorb(versions[:MAX_BATCH])) == [Applied.APPLIED] * MAX_BATCH
