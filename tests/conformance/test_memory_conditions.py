"""Conditions hold for a whole batch: one that fails leaves nothing of it, and says what is there instead."""

import asyncio
from dataclasses import replace

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.memory.model import Applied, Dot
from meshd.memory.store import MemoryStore
from tests.support.memory import Writer, batch_of, everything, get_one, values, words


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


@pytest.fixture
def ann(clock: ManualClock) -> Writer:
    return Writer("ann", clock)


@pytest.fixture
def bob(clock: ManualClock) -> Writer:
    return Writer("bob", clock)


async def test_a_batch_is_taken_while_its_condition_holds(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    first = await ann.write(store, "k", "1")
    second = bob.put("k", "2", over=(first,))
    pushed = await store.push(bob.batch(second, conditions={"k": (first.dot,)}))
    assert words(pushed.replies) == [Applied.APPLIED]


async def test_a_condition_that_fails_leaves_all_of_the_batch(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    first = await ann.write(store, "k", "1")
    newer = await ann.write(store, "k", "newer")
    before = await store.clock()
    batch = bob.batch(bob.put("other"), bob.put("k", "2", over=(first,)), conditions={"k": (first.dot,)})
    pushed = await store.push(batch)
    assert words(pushed.replies) == [Applied.CONFLICT, Applied.CONFLICT]
    assert [reply.current for reply in pushed.replies] == [(), (newer.dot,)]
    assert (pushed.seq, pushed.gap) == (0, False)
    assert await store.clock() == before
    assert await get_one(store, "k") == (newer,)
    assert await get_one(store, "other") == ()


async def test_after_a_conflict_the_actor_goes_on_behind_the_lost_number(
    store: MemoryStore, ann: Writer, bob: Writer
) -> None:
    first = await ann.write(store, "k", "1")
    await store.push(batch_of(bob.put("k", "lost"), conditions={"k": ()}))
    again = bob.put("k", "2", over=(first,))
    pushed = await store.push(replace(batch_of(again, conditions={"k": (first.dot,)}), first=1))
    assert (words(pushed.replies), pushed.seq) == ([Applied.APPLIED], 2)
    assert await values(store, "k") == ["2"]


async def test_an_empty_condition_holds_where_nothing_is_live(
    store: MemoryStore, ann: Writer, bob: Writer, clock: ManualClock
) -> None:
    await ann.write(store, "deleted")
    await ann.remove(store, "deleted")
    await ann.write(store, "expired", ttl_ms=50)
    clock.advance(ms=50)
    for key in ("new", "deleted", "expired"):
        pushed = await store.push(bob.batch(bob.put(key, over=await get_one(store, key)), conditions={key: ()}))
        assert words(pushed.replies) == [Applied.APPLIED]


async def test_an_empty_condition_fails_where_something_is_live(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    await ann.write(store, "k")
    pushed = await store.push(bob.batch(bob.put("k"), conditions={"k": ()}))
    assert words(pushed.replies) == [Applied.CONFLICT]
    assert await values(store, "k") == ["1"]


@pytest.mark.parametrize("expected", [("ann",), ("bob",), ("ann", "bob", "cy")])
async def test_a_condition_names_every_live_sibling_and_no_other(
    store: MemoryStore, ann: Writer, bob: Writer, clock: ManualClock, expected: tuple[str, ...]
) -> None:
    await ann.push(store, ann.put("k", "a"))
    await bob.push(store, bob.put("k", "b"))
    cy = Writer("cy", clock)
    version = cy.put("k", "c", over=await get_one(store, "k"))
    pushed = await store.push(cy.batch(version, conditions={"k": tuple(Dot(actor, 1) for actor in expected)}))
    assert words(pushed.replies) == [Applied.CONFLICT]
    assert pushed.replies[0].current == (Dot("ann", 1), Dot("bob", 1))


async def test_a_tombstone_beside_the_live_siblings_does_not_count(
    store: MemoryStore, ann: Writer, bob: Writer, clock: ManualClock
) -> None:
    first = await ann.write(store, "k")
    deletion = bob.delete("k", over=(first,))
    edit = await ann.write(store, "k", "edit")
    await bob.push(store, deletion)
    cy = Writer("cy", clock)
    version = cy.put("k", "c", over=await get_one(store, "k"))
    pushed = await store.push(cy.batch(version, conditions={"k": (edit.dot,)}))
    assert words(pushed.replies) == [Applied.APPLIED]


async def test_conditions_are_judged_by_the_state_before_the_batch(store: MemoryStore, ann: Writer) -> None:
    batch = ann.batch(ann.put("k", "1"), ann.put("k", "2"), conditions={"k": ()})
    assert words((await store.push(batch)).replies) == [Applied.APPLIED, Applied.APPLIED]
    assert await values(store, "k") == ["2"]


async def test_a_conditional_batch_pushed_again_is_known(store: MemoryStore, ann: Writer, bob: Writer) -> None:
    batch = ann.batch(ann.put("k", "1"), conditions={"k": ()})
    await store.push(batch)
    await bob.write(store, "k", "2")
    assert words((await store.push(batch)).replies) == [Applied.KNOWN]


async def test_of_many_creations_at_once_one_wins(store: MemoryStore, clock: ManualClock) -> None:
    writers = [Writer(f"w{number}", clock) for number in range(8)]
    pushed = await asyncio.gather(
        *(store.push(each.batch(each.put("k", each.actor), conditions={"k": ()})) for each in writers)
    )
    winners = [
        writer.actor for writer, each in zip(writers, pushed, strict=True) if words(each.replies) == [Applied.APPLIED]
    ]
    assert await values(store, "k") == winners
    assert len(winners) == 1


async def test_of_appends_under_conditions_none_is_lost(store: MemoryStore, clock: ManualClock) -> None:
    async def append(name: str) -> None:
        for round_number in range(5):
            taken = False
            while not taken:
                found = await get_one(store, "list")
                so_far = found[0].body.decode() if found else ""
                writer = Writer(f"{name}-{round_number}-{len(so_far)}", clock)
                version = writer.put("list", f"{so_far}{name}", over=found)
                expected = tuple(each.dot for each in found)
                (reply,) = (await store.push(writer.batch(version, conditions={"list": expected}))).replies
                taken = reply.applied is Applied.APPLIED

    await asyncio.gather(*(append(name) for name in "abcd"))
    (content,) = await values(store, "list")
    assert sorted(content) == sorted("abcd" * 5)
    assert set(await everything(store)) == {"list"}
