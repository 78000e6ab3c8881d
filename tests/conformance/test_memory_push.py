"""A batch of an actor's next versions is taken whole, once, and in order, or not at all."""

import asyncio

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import InvalidArgumentError
from meshd.memory.model import MAX_BATCH, Applied, Batch, Dot
from meshd.memory.sealing import pack_item
from meshd.memory.store import MemoryStore
from tests.conftest import OpenAgain
from tests.support.memory import Writer, catch_up, everything, get_one, values, words


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


@pytest.fixture
def bob(clock: ManualClock) -> Writer:
    return Writer("bob", clock)


async def test_the_first_version_of_a_key_is_its_only_sibling(store: MemoryStore, ann: Writer) -> None:
    version = ann.put("k", "v")
    pushed = await store.push(ann.batch(version))
    (reply,) = pushed.replies
    assert (reply.applied, reply.current, reply.refusal) == (Applied.APPLIED, (Dot("ann", 1),), None)
    assert (pushed.seq, pushed.gap) == (1, False)
    assert await get_one(store, "k") == (version,)


async def test_what_is_kept_is_the_bytes_that_came(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    first, second = ann.put("k", "\x00ä" * 900), bob.put("k", "")
    await ann.push(store, first)
    await bob.push(store, second)
    item = await get_one(store, "k")
    assert pack_item(item) == pack_item((first, second))
    assert item[0].header == first.header
    assert item[0].body == first.body


async def test_a_version_replaces_what_it_observed(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    first = await ann.write(store, "k", "1")
    second = bob.put("k", "2", over=(first,))
    assert words((await bob.push(store, second)).replies) == [Applied.APPLIED]
    assert await get_one(store, "k") == (second,)


async def test_versions_that_did_not_observe_each_other_stand_side_by_side(
    store: MemoryStore, ann: Writer, bob: Writer
) -> None:
    await bob.push(store, bob.put("k", "b"))
    pushed = await ann.push(store, ann.put("k", "a"))
    assert words(pushed.replies) == [Applied.SIBLING]
    assert pushed.replies[0].current == (Dot("ann", 1), Dot("bob", 1))
    assert await values(store, "k") == ["a", "b"]


async def test_a_version_over_all_siblings_is_alone_again(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    await ann.push(store, ann.put("k", "a"))
    await bob.push(store, bob.put("k", "b"))
    await ann.write(store, "k", "both")
    assert await values(store, "k") == ["both"]


async def test_an_actor_observes_its_own_earlier_versions(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, ann.put("k", "1"))
    assert words((await ann.push(store, ann.put("k", "2"))).replies) == [Applied.APPLIED]
    assert await values(store, "k") == ["2"]


async def test_a_version_that_another_has_observed_is_obsolete(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    first = ann.put("k", "1")
    second = bob.put("k", "2", over=(first,))
    await bob.push(store, second)
    pushed = await ann.push(store, first)
    assert words(pushed.replies) == [Applied.OBSOLETE]
    assert pushed.replies[0].current == (second.dot,)
    assert (await store.clock()).clock == {"ann": 1, "bob": 1}
    assert await get_one(store, "k") == (second,)


async def test_a_batch_pushed_again_is_known_and_changes_nothing(store: MemoryStore, ann: Writer) -> None:
    batch = ann.batch(ann.put("k", "1"), ann.put("l", "2"))
    first = await store.push(batch)
    before = await store.clock()
    again = await store.push(batch)
    assert words(again.replies) == [Applied.KNOWN, Applied.KNOWN]
    assert [reply.current for reply in again.replies] == [(Dot("ann", 1),), (Dot("ann", 2),)]
    assert (again.revision, again.seq) == (first.revision, first.seq)
    assert await store.clock() == before


async def test_a_known_version_stays_known_when_it_was_superseded(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    batch = ann.batch(ann.put("k", "1"))
    await store.push(batch)
    newer = await bob.write(store, "k", "2")
    assert words((await store.push(batch)).replies) == [Applied.KNOWN]
    assert await get_one(store, "k") == (newer,)


async def test_a_batch_that_overlaps_takes_what_is_new(store: MemoryStore, ann: Writer) -> None:
    one, two, three = ann.put("k", "1"), ann.put("l", "2"), ann.put("m", "3")
    await store.push(Batch(actor="ann", first=1, last=2, versions=[one, two]))
    pushed = await store.push(Batch(actor="ann", first=2, last=3, versions=[two, three]))
    assert words(pushed.replies) == [Applied.KNOWN, Applied.APPLIED]
    assert pushed.seq == 3
    assert set(await everything(store)) == {"k", "l", "m"}


async def test_a_batch_that_does_not_follow_is_a_gap_and_leaves_nothing(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, ann.put("k"))
    lost = ann.put("k", "lost")
    later = ann.put("l")
    pushed = await store.push(Batch(actor="ann", first=3, last=3, versions=[later]))
    assert (pushed.gap, pushed.seq, list(pushed.replies)) == (True, 1, [])
    assert set(await everything(store)) == {"k"}
    assert (await store.push(Batch(actor="ann", first=2, last=3, versions=[lost, later]))).seq == 3


async def test_an_unknown_actor_begins_at_one(store: MemoryStore, clock: ManualClock) -> None:
    late = Writer("late", clock, seq=7)
    pushed = await store.push(late.batch(late.put("k")))
    assert (pushed.gap, pushed.seq) == (True, 0)


async def test_numbers_without_a_version_are_passed_over(store: MemoryStore, ann: Writer) -> None:
    ann.skip(3)
    version = ann.put("k")
    ann.skip(2)
    assert (await ann.push(store, version)).seq == 6
    assert (await store.clock()).clock == {"ann": 6}


async def test_a_batch_of_skipped_numbers_only_moves_the_clock(store: MemoryStore, ann: Writer) -> None:
    ann.skip(4)
    assert (await ann.push(store)).seq == 4
    standing = await store.clock()
    assert (standing.clock, standing.items) == ({"ann": 4}, 0)


async def test_a_key_written_twice_in_a_batch_ends_as_its_last(store: MemoryStore, ann: Writer) -> None:
    pushed = await ann.push(store, ann.put("k", "1"), ann.put("l"), ann.put("k", "2"))
    assert words(pushed.replies) == [Applied.APPLIED] * 3
    assert await values(store, "k") == ["2"]
    assert [version.body for version in (await store.history(["k"]))[0]] == [b"1"]
    found, _ = await catch_up(store, after=0)
    assert sorted((version.key, version.body) for version in found) == [("k", b"2"), ("l", b"1")]


async def test_revisions_rise_with_each_change_and_with_nothing_else(
    store: MemoryStore, ann: Writer, bob: Writer
) -> None:
    seen = [(await store.clock()).revision]
    for pushed in (
        await ann.push(store, ann.put("k")),
        await ann.push(store, ann.put("k"), ann.put("l")),
        await bob.push(store, bob.put("k")),
        await bob.push(store, bob.delete("l")),
    ):
        assert pushed.revision > seen[-1]
        seen.append(pushed.revision)
    ann.skip(1)
    assert (await ann.push(store)).revision == seen[-1]
    assert (await store.clock()).revision == seen[-1]


async def test_a_full_batch_fits_and_one_more_is_refused(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, *[ann.put(f"k{number}") for number in range(MAX_BATCH)])
    assert (await store.clock()).items == MAX_BATCH
    with pytest.raises(InvalidArgumentError):
        await store.push(ann.batch(*[ann.put(f"l{number}") for number in range(MAX_BATCH + 1)]))


@pytest.mark.parametrize(("first", "last"), [(2, 3), (1, 1), (3, 3)])
async def test_numbers_outside_the_batch_are_refused(store: MemoryStore, ann: Writer, first: int, last: int) -> None:
    versions = [ann.put("k"), ann.put("l")]
    with pytest.raises(InvalidArgumentError):
        await store.push(Batch(actor="ann", first=first, last=last, versions=versions))
    assert await everything(store) == {}


async def test_a_version_of_another_actor_is_refused(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    with pytest.raises(InvalidArgumentError):
        await store.push(Batch(actor="ann", first=1, last=1, versions=[bob.put("k")]))
    assert await everything(store) == {}


async def test_a_deleted_key_keeps_its_tombstone(store: MemoryStore, ann: Writer) -> None:
    await ann.write(store, "k")
    tombstone = await ann.remove(store, "k")
    assert await get_one(store, "k") == (tombstone,)
    assert not tombstone.is_live(0)


async def test_a_write_beside_a_deletion_stays(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    await ann.write(store, "k", "old")
    edit = bob.put("k", "edit", over=await get_one(store, "k"))
    await ann.remove(store, "k")
    assert words((await bob.push(store, edit)).replies) == [Applied.SIBLING]
    assert edit in await get_one(store, "k")


async def test_what_one_process_writes_the_others_read(
    backend: Backend, open_again: OpenAgain, ann: Writer, bob: Writer
) -> None:
    other = await open_again()
    version = await ann.write(backend.memory, "k", "here")
    assert await get_one(other.memory, "k") == (version,)
    await bob.write(other.memory, "k", "there")
    assert await values(backend.memory, "k") == ["there"]
    assert await backend.memory.clock() == await other.memory.clock()


async def test_of_writers_at_once_none_is_lost(backend: Backend, open_again: OpenAgain, clock: ManualClock) -> None:
    stores = [backend.memory, (await open_again()).memory]
    writers = [Writer(f"w{number}", clock) for number in range(8)]

    async def write(writer: Writer, store: MemoryStore) -> None:
        for number in range(12):
            await writer.push(store, writer.put("shared", str(number)), writer.put(f"{writer.actor}/{number}"))

    await asyncio.gather(*(write(writer, stores[place % 2]) for place, writer in enumerate(writers)))
    standing = await backend.memory.clock()
    assert standing.clock == {writer.actor: 24 for writer in writers}
    assert standing.items == 8 * 12 + 1
    assert await values(backend.memory, "shared") == ["11"] * 8
