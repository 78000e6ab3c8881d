"""Reading and writing through the memory service: values, conditions, lifetimes, models, counters, sets, leases."""

import asyncio
from datetime import timedelta

import pytest
from pydantic import BaseModel

from meshd.clock import ManualClock
from meshd.errors import AlreadyExistsError, InvalidArgumentError, InvalidPayloadError, WriteConflictError
from meshd.memory.model import Policy, Strategy
from meshd.memory.prefixes import Rule, Rules
from meshd.memory.service import Memory
from meshd.memory.watching import Change
from tests.memory.islands import Island, meet

RULES = Rules(
    prefixes={
        "merged/": Rule(prefix="merged/", policy=Policy.MERGE_COMPATIBLE),
        "manual/": Rule(prefix="manual/", policy=Policy.MANUAL),
        "vectors/": Rule(prefix="vectors/", policy=Policy.VERSION_VECTOR),
        "brief/": Rule(prefix="brief/", ttl_ms=1_000),
        "strict/": Rule(prefix="strict/", strategy=Strategy.STRONG),
    }
)


class Note(BaseModel):
    text: str
    stars: int = 0


@pytest.fixture
def a(clock: ManualClock) -> Island:
    return Island("a", clock)


@pytest.fixture
def b(clock: ManualClock) -> Island:
    return Island("b", clock)


@pytest.fixture
def memory(a: Island) -> Memory:
    return a.memory(RULES)


async def values(memory: Memory, key: str) -> object:
    entry = await memory.get(key)
    return None if entry is None else entry.value


async def test_a_value_is_read_with_its_author_and_its_time(memory: Memory, clock: ManualClock) -> None:
    saved = await memory.by(agent="scout", task="t1").put("notes/paris", {"rain": True}, note="seen")
    entry = await memory.get("notes/paris")
    assert entry is not None
    assert (entry.value, entry.agent, entry.node, entry.at_ms) == ({"rain": True}, "scout", "a", clock.now_ms)
    assert (entry.winner.task, entry.winner.note, entry.versions) == ("t1", "seen", saved.versions)
    assert await memory.get("notes/rome") is None


async def test_null_is_a_value(memory: Memory) -> None:
    await memory.put("k", None)
    entry = await memory.get("k")
    assert entry is not None
    assert entry.value is None


async def test_a_write_over_what_was_read_fails_once_somebody_wrote_in_between(memory: Memory) -> None:
    first = await memory.put("k", 1)
    await memory.put("k", 2)
    for strategy in (None, "eventual"):
        with pytest.raises(WriteConflictError) as caught:
            await memory.put("k", 3, over=first, strategy=strategy)
        assert caught.value.expected == first.versions
    assert await values(memory, "k") == 2


async def test_create_writes_once_and_again_after_a_deletion(memory: Memory) -> None:
    await memory.create("k", 1)
    with pytest.raises(AlreadyExistsError):
        await memory.create("k", 2)
    assert await memory.delete("k")
    assert not await memory.delete("k")
    await memory.create("k", 3)
    assert await values(memory, "k") == 3


async def test_concurrent_updates_are_all_kept(memory: Memory) -> None:
    async def append(number: int) -> None:
        async def change(seen: list[int]) -> list[int]:
            await asyncio.sleep(0)
            return [*seen, number]

        await memory.update("list", change, default=[])

    await asyncio.gather(*(append(number) for number in range(20)))
    assert sorted((await memory.get("list") or pytest.fail("gone")).value) == list(range(20))


async def test_a_value_is_gone_after_its_lifetime_and_may_be_created_again(memory: Memory, clock: ManualClock) -> None:
    await memory.put("k", 1, ttl=timedelta(seconds=2))
    await memory.put("brief/k", 1)
    clock.advance(seconds=1)
    assert (await values(memory, "k"), await values(memory, "brief/k")) == (1, None)
    clock.advance(seconds=1)
    assert await values(memory, "k") is None
    await memory.create("k", 2)


async def test_a_listing_skips_what_is_gone(memory: Memory) -> None:
    await memory.put_many({f"l/{number:02}": number for number in range(12)})
    await memory.delete("l/03")
    await memory.put("m", 1)
    assert [entry.value for entry in await memory.list("l/", limit=4)] == [0, 1, 2, 4]
    assert [entry.key for entry in await memory.list("l/", after="l/09")] == ["l/10", "l/11"]


async def test_a_model_goes_in_and_comes_out(memory: Memory) -> None:
    await memory.put("note", Note(text="hi", stars=3))
    entry = await memory.get("note", model=Note)
    assert entry is not None
    assert entry.value == Note(text="hi", stars=3)
    await memory.put("note", {"stars": 1})
    with pytest.raises(InvalidPayloadError, match="does not fit Note"):
        await memory.get("note", model=Note)


async def test_fields_written_on_two_sides_both_stay(a: Island, b: Island) -> None:
    here, there = a.memory(RULES), b.memory(RULES)
    await here.put("merged/x", {"title": "old", "tags": 1})
    await meet(a, b)
    await here.put("merged/x", {"title": "new", "tags": 1})
    await there.put("merged/x", {"title": "old", "tags": 1, "owner": "b"})
    await meet(a, b)
    for memory in (here, there):
        assert await values(memory, "merged/x") == {"title": "new", "tags": 1, "owner": "b"}


async def test_a_counter_counts_each_side_once(a: Island, b: Island) -> None:
    here, there = a.memory(RULES).counter("c"), b.memory(RULES).counter("c")
    assert await here.add(2) == 2
    await meet(a, b)
    await asyncio.gather(here.add(3), there.add(10), here.add(-1))
    await meet(a, b)
    await meet(a, b)
    assert (await here.value(), await there.value()) == (14, 14)
    await a.memory().put("text", "x")
    with pytest.raises(InvalidArgumentError):
        await a.memory().counter("text").add()


async def test_in_a_set_an_addition_wins_over_a_concurrent_removal(a: Island, b: Island) -> None:
    here, there = a.memory(RULES).set("s"), b.memory(RULES).set("s")
    await here.add("x", "y")
    await meet(a, b)
    await here.remove("x", "y")
    await there.remove("y")
    await there.add("x", [1])
    await meet(a, b)
    assert await here.values() == await there.values() == ["x", [1]]
    assert await here.has([1])
    assert not await here.has("y")


async def test_a_subscriber_is_told_of_changes_and_deletions_under_its_prefix(memory: Memory) -> None:
    told: asyncio.Queue[Change] = asyncio.Queue()
    async with asyncio.timeout(5), memory.subscribe("w/", told.put_nowait):
        await asyncio.sleep(0)
        await memory.put("w/1", 1)
        await memory.put("x", 1)
        first = await told.get()
        await memory.delete("w/1")
        second = await told.get()
    assert (first.key, first.value, first.is_deletion) == ("w/1", 1, False)
    assert (second.key, second.is_deletion) == ("w/1", True)


async def test_a_lease_has_one_holder_and_a_rising_token(memory: Memory) -> None:
    async with memory.lease("locks/x", {"who": "me"}) as lease:
        assert lease.is_held
        assert await values(memory, "locks/x") == {"who": "me"}
        with pytest.raises(AlreadyExistsError):
            await memory.lease("locks/x").take()
    assert await memory.get("locks/x") is None
    async with memory.lease("locks/x") as again:
        assert again.token > lease.token


async def test_a_lease_is_gone_when_its_owner_no_longer_renews_it(memory: Memory, clock: ManualClock) -> None:
    dead = await memory.lease("locks/x", ttl=timedelta(seconds=30)).take()
    dead._renewing.cancel()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess, reportPrivateUsage]
    clock.advance(seconds=31)
    async with memory.lease("locks/x") as lease:
        assert lease.token > dead.token
        await dead.give_back()
        assert lease.is_held


async def test_whoever_waits_for_a_lease_gets_it_once_it_is_given_back(memory: Memory) -> None:
    held = await memory.lease("locks/x").take()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiter = memory.lease("locks/x")
        waiting = group.create_task(waiter.take(wait=timedelta(seconds=5)))
        await asyncio.sleep(0)
        assert not waiting.done()
        await held.give_back()
        await waiting
    assert waiter.is_held
    await waiter.give_back()


async def test_a_lease_that_somebody_else_writes_is_lost(memory: Memory) -> None:
    lease = await memory.lease("locks/x", ttl=timedelta(seconds=0.3)).take()
    await memory.put("locks/x", "mine now", strategy="eventual")
    async with asyncio.timeout(5):
        await lease.lost()
    assert not lease.is_held
    await lease.give_back()
    assert await values(memory, "locks/x") == "mine now"


@pytest.mark.parametrize("key", ["", "a\nb", "x" * 513, "\udc00"])
async def test_a_key_that_cannot_be_is_refused(key: str, memory: Memory) -> None:
    with pytest.raises(InvalidArgumentError):
        await memory.put(key, 1)


async def test_priorities_and_lifetimes_outside_their_range_are_refused(memory: Memory) -> None:
    with pytest.raises(InvalidArgumentError, match="priority 11"):
        await memory.put("k", 1, priority=11)
    with pytest.raises(InvalidArgumentError, match="ttl"):
        await memory.put("k", 1, ttl=timedelta(0))
    with pytest.raises(InvalidArgumentError, match="acks 'some'"):
        await memory.put("k", 1, acks="some")
