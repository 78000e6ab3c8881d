"""Items, lists, changes and what a clock lacks: read in pages, complete, in the promised order."""

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.memory.model import Version
from meshd.memory.store import MemoryStore
from tests.support.memory import Writer, all_newer, catch_up, get_one

KEYS = ["a", "a/1", "a/10", "a/2", "a\x00", "b", "z", "ä", "ä/1", "\u20ac", "\ufffd", "\U0001f600", "\U0010ffff"]


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


@pytest.fixture
def bob(clock: ManualClock) -> Writer:
    return Writer("bob", clock)


def by_bytes(keys: list[str]) -> list[str]:
    return sorted(keys, key=str.encode)


def dots(versions: list[Version]) -> list[tuple[str, int]]:
    return sorted(version.dot for version in versions)


async def test_items_come_in_the_order_asked_and_unknown_ones_are_empty(store: MemoryStore, ann: Writer) -> None:
    one, two = ann.put("k"), ann.delete("ä")
    await ann.push(store, one, two)
    assert list(await store.get(["ä", "none", "k", "k"])) == [(two,), (), (one,), (one,)]
    assert list(await store.get([])) == []


async def test_an_expired_version_is_still_an_item(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    version = await ann.write(store, "k", ttl_ms=10)
    clock.advance(ms=50)
    assert await get_one(store, "k") == (version,)
    assert [key for key, _ in await store.list("")] == ["k"]


async def test_a_list_is_in_the_order_of_the_bytes_of_its_keys(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, *[ann.put(key) for key in reversed(KEYS)])
    assert [key for key, _ in await store.list("")] == by_bytes(KEYS)


@pytest.mark.parametrize("prefix", ["a", "a/", "a/1", "ä", "\U0001f600", "\U0010ffff", "none"])
async def test_a_list_holds_what_begins_with_the_prefix(store: MemoryStore, ann: Writer, prefix: str) -> None:
    await ann.push(store, *[ann.put(key) for key in KEYS])
    found = await store.list(prefix)
    assert [key for key, _ in found] == by_bytes([key for key in KEYS if key.startswith(prefix)])
    for key, item in found:
        assert item == await get_one(store, key)


async def test_a_prefix_is_taken_literally(store: MemoryStore, ann: Writer) -> None:
    keys = ["a%b", "axb", "a_b", "a*b", "a[b", "a?b", "a\\b", "a b"]
    await ann.push(store, *[ann.put(key) for key in keys])
    for prefix in ("a%", "a_", "a*", "a[", "a?", "a\\"):
        assert [key for key, _ in await store.list(prefix)] == [prefix + "b"]


async def test_a_list_is_read_in_pages(store: MemoryStore, ann: Writer) -> None:
    keys = [f"p/{number:03}" for number in range(25)]
    await ann.push(store, *[ann.put(key) for key in [*reversed(keys), "p", "q"]])
    found: list[str] = []
    while page := await store.list("p/", limit=10, after=found[-1] if found else ""):
        assert len(page) <= 10
        found += [key for key, _ in page]
    assert found == keys


async def test_a_list_may_begin_after_a_key_that_is_not_there(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, *[ann.put(key) for key in "ace"])
    assert [key for key, _ in await store.list("", after="b")] == ["c", "e"]


async def test_changes_give_every_changed_item_as_it_is_now(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    start = (await store.clock()).revision
    await ann.push(store, ann.put("k", "old"), ann.put("l"))
    middle = (await store.clock()).revision
    newest = ann.put("k", "new")
    beside = bob.put("k", "beside")
    await ann.push(store, newest)
    await bob.push(store, beside)
    assert dots(list((await store.changes(after=start)).versions)) == [("ann", 2), ("ann", 3), ("bob", 1)]
    change = await store.changes(after=middle)
    standing = await store.clock()
    assert dots(list(change.versions)) == [("ann", 3), ("bob", 1)]
    assert (change.after, change.revision, change.more) == (middle, standing.revision, False)
    assert change.generation == standing.generation


async def test_who_is_up_to_date_has_no_changes(store: MemoryStore, ann: Writer) -> None:
    for _ in range(2):
        revision = (await store.clock()).revision
        change = await store.changes(after=revision)
        assert (list(change.versions), change.revision, change.more) == ([], revision, False)
        await ann.write(store, "k")


async def test_changes_come_in_the_order_of_the_last_change(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, ann.put("a"), ann.put("b"), ann.put("c"))
    await ann.push(store, ann.put("a"))
    assert [version.key for version in (await store.changes(after=0)).versions] == ["b", "c", "a"]


@pytest.mark.parametrize("limit", [1, 3, 7])
async def test_changes_are_read_in_pages_without_a_gap(store: MemoryStore, ann: Writer, limit: int) -> None:
    versions = [ann.put(f"k{number}") for number in range(20)]
    await ann.push(store, *versions)
    found, revision = await catch_up(store, after=0, limit=limit)
    assert found == versions
    assert revision == (await store.clock()).revision


async def test_an_item_that_changes_between_pages_is_not_missed(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, *[ann.put(f"k{number}") for number in range(6)])
    first = await store.changes(after=0, limit=3)
    await ann.push(store, ann.put("k5", "newer"), ann.put("k0", "newer"))
    rest, _ = await catch_up(store, after=first.revision, limit=2)
    found = {version.key: version.body for version in (*first.versions, *rest)}
    assert found == {f"k{number}": b"newer" if number in (0, 5) else b"1" for number in range(6)}


async def test_an_item_with_siblings_is_never_cut_by_a_page(
    store: MemoryStore, ann: Writer, bob: Writer, clock: ManualClock
) -> None:
    writers = [ann, bob, Writer("cy", clock)]
    for writer in writers:
        await writer.push(store, writer.put("k"), writer.put("l"))
    change = await store.changes(after=0, limit=1)
    assert dots(list(change.versions)) == [("ann", 1), ("bob", 1), ("cy", 1)]
    assert change.more
    page, after = await store.newer({}, limit=1)
    assert dots(list(page)) == [("ann", 1), ("bob", 1), ("cy", 1)]
    assert after


@pytest.mark.parametrize("limit", [1, 4, 1_000])
async def test_newer_gives_what_the_clock_does_not_cover(
    store: MemoryStore, ann: Writer, bob: Writer, limit: int
) -> None:
    await ann.push(store, *[ann.put(f"k{number}") for number in range(10)])
    await bob.push(store, *[bob.put(f"k{number}") for number in range(5, 12)])
    await ann.push(store, ann.put("k0"))
    assert dots(await all_newer(store, {"ann": 8, "bob": 6}, limit=limit)) == [
        ("ann", 9),
        ("ann", 10),
        ("ann", 11),
        ("bob", 7),
    ]
    assert await all_newer(store, {"ann": 11, "bob": 7}, limit=limit) == []
    assert await all_newer(store, {"ann": 99, "bob": 99, "cy": 1}, limit=limit) == []
    assert len(await all_newer(store, {}, limit=limit)) == 17
    assert dots(await all_newer(store, {"bob": 7}, limit=limit))[0] == ("ann", 2)


async def test_newer_comes_by_key(store: MemoryStore, ann: Writer) -> None:
    await ann.push(store, *[ann.put(key) for key in KEYS])
    assert [version.key for version in await all_newer(store, {}, limit=3)] == by_bytes(KEYS)


async def test_newer_has_tombstones_and_what_was_absorbed_ahead_of_the_clock(
    store: MemoryStore, ann: Writer, bob: Writer
) -> None:
    await ann.write(store, "k")
    await ann.remove(store, "k")
    bob.skip(4)
    await store.absorb([bob.put("l")])
    assert dots(await all_newer(store, {"ann": 1})) == [("ann", 2), ("bob", 5)]


async def test_what_was_superseded_is_in_the_history_newest_first(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    for number in range(4):
        await (ann if number % 2 else bob).write(store, "k", str(number))
    await ann.remove(store, "k")
    assert [version.body for version in (await store.history(["k"]))[0]] == [b"3", b"2", b"1", b"0"]
    assert [version.body for version in (await store.history(["k"], limit=2))[0]] == [b"3", b"2"]
    assert list((await store.history(["l"]))[0]) == []


async def test_the_history_of_many_keys_comes_in_the_order_asked(store: MemoryStore, ann: Writer) -> None:
    keys = [f"k{number:03}" for number in range(270)]
    for round_number in range(3):
        for first in range(0, len(keys), 90):
            await ann.push(store, *[ann.put(key, f"{key}.{round_number}") for key in keys[first : first + 90]])
    asked = ["none", *reversed(keys), keys[3]]
    found = await store.history(asked, limit=1)
    assert [[version.body for version in kept] for kept in found] == [
        [], *([f"{key}.1".encode()] for key in reversed(keys)), [b"k003.1"]
    ]  # fmt: skip
    assert list(await store.history([])) == []


async def test_siblings_reach_the_history_when_they_are_resolved(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    one, two = ann.put("k", "a"), bob.put("k", "b")
    await ann.push(store, one)
    await bob.push(store, two)
    assert list((await store.history(["k"]))[0]) == []
    await ann.write(store, "k", "both")
    assert dots(list((await store.history(["k"]))[0])) == [one.dot, two.dot]


async def test_contested_keys_are_listed_while_they_are(
    store: MemoryStore, ann: Writer, bob: Writer, clock: ManualClock
) -> None:
    keys = ["a/1", "a/2", "b"]
    await ann.push(store, *[ann.put(key) for key in [*keys, "calm"]])
    await bob.push(store, *[bob.put(key) for key in keys])
    assert [key for key, _ in await store.contested()] == keys
    assert [key for key, _ in await store.contested("a/")] == ["a/1", "a/2"]
    assert [key for key, _ in await store.contested(limit=1, after="a/1")] == ["a/2"]
    for key, item in await store.contested():
        assert item == await get_one(store, key)
    await ann.write(store, "a/1", "settled")
    assert [key for key, _ in await store.contested()] == ["a/2", "b"]


async def test_a_tombstone_or_an_expired_version_contests_nothing(
    store: MemoryStore, ann: Writer, bob: Writer, clock: ManualClock
) -> None:
    await ann.push(store, ann.put("deleted"), ann.put("expiring", ttl_ms=100), ann.put("k"))
    await bob.push(store, bob.delete("deleted"), bob.put("expiring"), bob.put("k"))
    assert [key for key, _ in await store.contested()] == ["expiring", "k"]
    clock.advance(ms=100)
    await store.sweep()
    assert [key for key, _ in await store.contested()] == ["k"]


async def test_the_clock_says_where_the_store_stands(store: MemoryStore, ann: Writer, clock: ManualClock) -> None:
    new = await store.clock()
    assert (new.clock, new.items, new.value_bytes, new.now_ms) == ({}, 0, 0, clock())
    assert new.generation
    await ann.push(store, ann.put("k"), ann.put("l"))
    clock.advance(ms=70)
    later = await store.clock()
    assert (later.clock, later.items, later.now_ms) == ({"ann": 2}, 2, clock())
    assert later.generation == new.generation
    assert later.revision > new.revision
