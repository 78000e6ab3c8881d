"""What nobody needs any more goes when every member has it, not before; what is gone does not come back."""

from dataclasses import replace

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.clock import ManualClock
from meshd.memory.digests import digest_of
from meshd.memory.model import Applied, Dot, Member, MemoryLimits
from meshd.memory.store import MemoryStore
from tests.conftest import OpenAgain
from tests.support.memory import Writer, batch_of, catch_up, everything, get_one, report_up_to_date, words

LIMITS = MemoryLimits(history=3, history_ttl_ms=5_000, evict_after_ms=10_000)


@pytest.fixture
async def store(open_again: OpenAgain, options: BackendOptions) -> MemoryStore:
    """A store with a short memory."""
    return (await open_again(replace(options, memory=LIMITS))).memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


@pytest.fixture
def bob(clock: ManualClock) -> Writer:
    return Writer("bob", clock)


async def deleted(store: MemoryStore, writer: Writer, key: str = "k") -> None:
    await writer.write(store, key)
    await writer.remove(store, key)


async def test_without_members_a_sweep_collects_tombstones(store: MemoryStore, ann: Writer) -> None:
    await deleted(store, ann)
    await ann.write(store, "kept")
    assert await store.sweep() == 1
    assert await store.sweep() == 0
    assert set(await everything(store)) == {"kept"}
    standing = await store.clock()
    assert (standing.clock, standing.items) == ({"ann": 3}, 1)


async def test_a_sweep_collects_expired_versions(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    await ann.push(store, ann.put("soon", ttl_ms=50), ann.put("later", ttl_ms=51))
    clock.advance(ms=50)
    assert await store.sweep() == 1
    assert set(await everything(store)) == {"later"}


async def test_an_item_goes_whole_or_not_at_all(
    store: MemoryStore, ann: Writer, bob: Writer, clock: ManualClock
) -> None:
    await ann.push(store, ann.put("k", ttl_ms=20), ann.delete("l"))
    await bob.push(store, bob.put("k", ttl_ms=40), bob.put("l"))
    clock.advance(ms=20)
    assert await store.sweep() == 0
    assert (await store.clock()).items == 2
    clock.advance(ms=20)
    assert await store.sweep() == 2
    assert set(await everything(store)) == {"l"}


async def test_what_the_clock_does_not_cover_stays(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    value = bob.put("k")
    await ann.push(store, ann.delete("k", over=(value,)))
    ann.skip(1)
    await store.absorb([ann.delete("l")])
    assert await store.sweep() == 0
    await bob.push(store, value)
    assert await store.sweep() == 1
    await store.absorb([], clock={"ann": 3})
    assert await store.sweep() == 1


async def test_nothing_goes_before_every_member_has_it(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    await report_up_to_date(store, "n1")
    await report_up_to_date(store, "n2")
    await deleted(store, ann)
    await ann.write(store, "expired", ttl_ms=10)
    clock.advance(ms=10)
    assert await store.sweep() == 0
    await report_up_to_date(store, "n1")
    assert await store.sweep() == 0
    assert set(await everything(store)) == {"k", "expired"}
    await report_up_to_date(store, "n2")
    assert await store.sweep() == 2
    assert await everything(store) == {}


async def test_what_a_member_lacks_stays_though_older_things_go(store: MemoryStore, ann: Writer) -> None:
    await deleted(store, ann, "old")
    await report_up_to_date(store, "n1")
    await deleted(store, ann, "new")
    assert await store.sweep() == 1
    assert set(await everything(store)) == {"new"}


async def test_collected_versions_do_not_come_back(store: MemoryStore, ann: Writer) -> None:
    value, tombstone = ann.put("k"), ann.delete("k")
    await ann.push(store, value, tombstone)
    await store.sweep()
    assert words((await store.push(batch_of(value))).replies) == [Applied.KNOWN]
    assert words(await store.absorb([value, tombstone], clock={"ann": 2})) == [Applied.KNOWN, Applied.KNOWN]
    assert await everything(store) == {}


async def test_a_key_may_be_written_again_after_its_collection(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    await deleted(store, ann)
    await store.sweep()
    version = await bob.write(store, "k", "again")
    assert await get_one(store, "k") == (version,)


async def test_a_collection_is_no_change(store: MemoryStore, ann: Writer) -> None:
    await ann.write(store, "kept")
    await deleted(store, ann)
    before = await store.clock()
    await store.sweep()
    assert (await store.clock()).revision == before.revision
    found, revision = await catch_up(store, after=0)
    assert ([version.key for version in found], revision) == (["kept"], before.revision)


async def test_a_new_member_is_told_to_compare_everything_once(store: MemoryStore, ann: Writer) -> None:
    assert not await report_up_to_date(store, "n1")
    assert await report_up_to_date(store, "n1")
    assert not await report_up_to_date(store, "n2")


async def test_members_are_listed_as_they_last_reported(store: MemoryStore, clock: ManualClock) -> None:
    await store.report(Member(node="n2", actor="n2~x", revision=4, seen_ms=0, state={"pending": 3, "why": "slow"}))
    await store.report(Member(node="n1", actor="n1~x", revision=1, seen_ms=0))
    clock.advance(ms=10)
    await store.report(Member(node="n1", actor="n1~y", revision=7, seen_ms=0, state={"pending": 0}))
    one, two = await store.members()
    assert (one.node, one.actor, one.revision, dict(one.state)) == ("n1", "n1~y", 7, {"pending": 0})
    assert (two.node, two.actor, two.revision, dict(two.state)) == ("n2", "n2~x", 4, {"pending": 3, "why": "slow"})
    assert one.seen_ms - two.seen_ms == 10


async def test_who_checks_in_is_listed_and_learns_where_the_store_stands(store: MemoryStore) -> None:
    await store.quarantine("n9", reason="it lied")
    member = Member(node="n1", actor="n1~x", revision=0, seen_ms=0)
    assert (await store.check_in(member))[0] is False
    is_known, there = await store.check_in(member)
    now = await store.clock()
    assert (is_known, there) == (True, replace(now, now_ms=there.now_ms))
    assert there.quarantined == {"n9": "it lied"}
    assert [each.node for each in await store.members()] == ["n1"]


async def test_a_member_silent_for_long_is_evicted_and_holds_up_nothing(
    store: MemoryStore, ann: Writer, clock: ManualClock
) -> None:
    await report_up_to_date(store, "away")
    await deleted(store, ann)
    clock.advance(ms=LIMITS.evict_after_ms - 1)
    await report_up_to_date(store, "here")
    assert await store.sweep() == 0
    clock.advance(ms=1)
    assert await store.sweep() == 1
    assert [member.node for member in await store.members()] == ["here"]
    assert not await report_up_to_date(store, "away")
    assert await report_up_to_date(store, "away")


async def test_an_evicted_member_is_told_so_even_before_a_sweep(store: MemoryStore, clock: ManualClock) -> None:
    await report_up_to_date(store, "away")
    clock.advance(ms=LIMITS.evict_after_ms)
    assert list(await store.members()) == []
    assert not await report_up_to_date(store, "away")


async def test_a_key_keeps_only_so_much_of_its_past(store: MemoryStore, ann: Writer) -> None:
    for number in range(30):
        await ann.write(store, "k", str(number))
    assert [version.body for version in (await store.history(["k"]))[0]] == [b"28", b"27", b"26"]


async def test_old_history_is_forgotten(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    await ann.write(store, "k", "1")
    await ann.write(store, "k", "2")
    clock.advance(ms=LIMITS.history_ttl_ms - 1)
    await store.sweep()
    assert [version.body for version in (await store.history(["k"]))[0]] == [b"1"]
    clock.advance(ms=1)
    await store.sweep()
    assert list((await store.history(["k"]))[0]) == []


async def test_a_deleted_key_still_has_its_past(store: MemoryStore, ann: Writer) -> None:
    await deleted(store, ann)
    await store.sweep()
    assert [version.body for version in (await store.history(["k"]))[0]] == [b"1"]


async def test_items_that_are_exactly_as_told_are_dropped_without_a_trace(
    store: MemoryStore, ann: Writer, bob: Writer
) -> None:
    await ann.push(store, ann.put("k", "old"), ann.put("k"), ann.put("l"), ann.put("kept", "old"), ann.put("kept"))
    await bob.push(store, bob.put("l"))
    before = await store.clock()
    assert await store.drop({"k": (Dot("ann", 2),), "l": (Dot("ann", 3), Dot("bob", 1)), "none": ()}) == 2
    assert set(await everything(store)) == {"kept"}
    after = await store.clock()
    assert (after.clock, after.revision, after.items) == (before.clock, before.revision, 1)
    digest = await store.digest()
    assert digest.buckets == digest_of(await get_one(store, "kept"), now_ms=digest.now_ms)
    assert list((await store.history(["k"]))[0]) == []
    assert len((await store.history(["kept"]))[0]) == 1
    assert [version.key for version in (await catch_up(store, after=0))[0]] == ["kept"]


async def test_items_that_changed_meanwhile_are_not_dropped(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    await ann.push(store, ann.put("k"), ann.put("l"))
    await bob.push(store, bob.put("k"))
    await ann.write(store, "l", "newer")
    assert await store.drop({"k": (Dot("ann", 1),), "l": (Dot("ann", 2),), "m": (Dot("ann", 9),)}) == 0
    assert set(await everything(store)) == {"k", "l"}


async def test_many_go_in_one_sweep(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    for page in range(12):
        keys = [f"{page}/{number}" for number in range(100)]
        await ann.push(store, *[ann.put(key, ttl_ms=5) if page % 2 else ann.delete(key) for key in keys])
    clock.advance(ms=5)
    assert await store.sweep() == 1_200
    standing = await store.clock()
    assert (standing.items, standing.value_bytes) == (0, 0)


async def test_the_default_limits_collect_too(backend: Backend, ann: Writer) -> None:
    await deleted(backend.memory, ann)
    assert await backend.memory.sweep() == 1
