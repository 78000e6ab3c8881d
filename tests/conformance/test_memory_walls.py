"""What stays in its place: local versions on their store, a mesh's memory in its mesh, and what is written, on disk."""

from dataclasses import replace

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.clock import ManualClock
from meshd.memory.model import LOCAL, Applied, Batch
from meshd.memory.store import MemoryStore
from tests.conftest import OpenAgain
from tests.support.builders import SHORT_MS
from tests.support.memory import (
    Writer,
    all_newer,
    catch_up,
    everything,
    get_one,
    report_up_to_date,
    values,
    words,
)


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


@pytest.fixture
async def neighbour(open_again: OpenAgain, options: BackendOptions) -> MemoryStore:
    """The memory of another mesh on the same store, whose name begins like the first one's."""
    return (await open_again(replace(options, mesh=options.mesh + "2"))).memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


@pytest.fixture
def local(clock: ManualClock) -> Writer:
    return Writer(LOCAL, clock)


async def test_a_local_version_is_stored_and_read(store: MemoryStore, local: Writer) -> None:
    version = local.put("mine", "1")
    pushed = await local.push(store, version)
    assert words(pushed.replies) == [Applied.APPLIED]
    assert await get_one(store, "mine") == (version,)
    assert [key for key, _ in await store.list("m")] == ["mine"]
    await local.push(store, local.put("mine", "2"))
    assert await values(store, "mine") == ["2"]
    assert [found.body for found in (await store.history(["mine"]))[0]] == [b"1"]


async def test_a_local_version_is_in_no_clock_and_no_change(store: MemoryStore, ann: Writer, local: Writer) -> None:
    await ann.push(store, ann.put("shared"))
    before = await store.clock()
    async with store.follow() as feed:
        await local.push(store, local.put("mine"))
        assert await feed.get(timeout_ms=SHORT_MS) is None
    after = await store.clock()
    assert (after.clock, after.revision) == ({"ann": 1}, before.revision)
    found, _ = await catch_up(store, after=0)
    assert [version.key for version in found] == ["shared"]
    assert [version.key for version in await all_newer(store, {})] == ["shared"]


async def test_local_numbers_go_on_and_are_known_again(store: MemoryStore, local: Writer) -> None:
    batch = local.batch(local.put("mine"))
    assert (await store.push(batch)).seq == 1
    assert words((await store.push(batch)).replies) == [Applied.KNOWN]
    late = await store.push(Batch(actor=LOCAL, first=9, last=9, versions=[]))
    assert (late.gap, late.seq) == (True, 1)


async def test_local_tombstones_wait_for_no_member(store: MemoryStore, local: Writer) -> None:
    await report_up_to_date(store, "n1")
    await local.push(store, local.put("mine"))
    await local.remove(store, "mine")
    assert await store.sweep() == 1
    assert await everything(store) == {}


async def test_a_clock_that_names_the_local_actor_does_not_move_it(store: MemoryStore, local: Writer) -> None:
    await store.absorb([], clock={LOCAL: 5, "ann": 1})
    assert (await store.clock()).clock == {"ann": 1}
    assert words((await local.push(store, local.put("mine"))).replies) == [Applied.APPLIED]


async def test_the_memory_of_another_mesh_is_neither_seen_nor_touched(
    store: MemoryStore, neighbour: MemoryStore, ann: Writer, clock: ManualClock
) -> None:
    twin = Writer("ann", clock)
    version = ann.put("k", "here")
    await ann.push(store, version, ann.put("gone", ttl_ms=5))
    standing = await neighbour.clock()
    assert (standing.clock, standing.items, standing.value_bytes) == ({}, 0, 0)
    assert standing.generation != (await store.clock()).generation
    await twin.push(neighbour, twin.put("k", "there"))
    await neighbour.quarantine("ann", reason="there only")
    clock.advance(ms=5)
    await neighbour.sweep()
    assert await values(store, "k") == ["here"]
    assert await values(neighbour, "k") == ["there"]
    assert set(await everything(store)) == {"k", "gone"}
    assert await store.quarantined() == {}
    assert await store.mark() != await neighbour.mark()
    assert words((await ann.push(store, ann.put("l"))).replies) == [Applied.APPLIED]
    assert list((await neighbour.history(["k"]))[0]) == []
    assert list(await neighbour.contested()) == []
    assert await store.drop({"k": (version.dot,)}) == 1
    assert await values(neighbour, "k") == ["there"]


async def test_members_leases_and_feeds_are_a_meshs_own(
    store: MemoryStore, neighbour: MemoryStore, ann: Writer
) -> None:
    await report_up_to_date(neighbour, "n1")
    assert list(await store.members()) == []
    mine = await store.take_mastery("p/", holder="n1", ttl_ms=1_000)
    assert (await neighbour.take_mastery("p/", holder="n2", ttl_ms=1_000)).holder == "n2"
    assert (await store.take_mastery("p/", holder="n3", ttl_ms=1_000)).holder == mine.holder
    async with neighbour.follow() as feed:
        await ann.write(store, "k")
        assert await feed.get(timeout_ms=SHORT_MS) is None


async def test_all_of_it_is_there_when_the_store_is_opened_again(
    store: MemoryStore, open_again: OpenAgain, ann: Writer
) -> None:
    await ann.write(store, "k", "1")
    await ann.write(store, "k", "2")
    await store.quarantine("n9", reason="why")
    lease = await store.lease_actor(owner="c", ttl_ms=60_000)
    again = (await open_again()).memory
    assert await again.clock() == await store.clock()
    assert await everything(again) == await everything(store)
    assert await again.digest() == await store.digest()
    assert list((await again.history(["k"]))[0]) == list((await store.history(["k"]))[0])
    assert await again.quarantined() == {"n9": "why"}
    assert (await again.renew_actor(lease, ttl_ms=60_000)).token == lease.token
