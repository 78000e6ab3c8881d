"""Leases by the store's clock: an actor lent to one client at a time, a prefix written by one master at a time."""

import asyncio

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import FencedError
from meshd.memory.model import ActorLease, Applied, Refusal
from meshd.memory.store import MemoryStore
from tests.support.memory import Writer, everything, get_one, refusals, words

TTL_MS = 1_000


@pytest.fixture
def store(backend: Backend) -> MemoryStore:
    return backend.memory


async def lend(store: MemoryStore, owner: str) -> ActorLease:
    return await store.lease_actor(owner=owner, ttl_ms=TTL_MS)


def holder(lease: ActorLease, clock: ManualClock) -> Writer:
    return Writer(lease.actor, clock, seq=lease.seq, token=lease.token)


async def test_an_actor_is_lent_for_a_time(store: MemoryStore, clock: ManualClock) -> None:
    lease = await lend(store, "c1")
    assert (lease.seq, lease.until_ms) == (0, clock() + TTL_MS)
    assert lease.token > 0
    assert lease.actor


async def test_no_two_owners_have_the_same_actor(store: MemoryStore) -> None:
    leases = await asyncio.gather(*(lend(store, f"c{number}") for number in range(10)))
    assert len({lease.actor for lease in leases}) == 10


async def test_a_returned_actor_is_lent_again_where_it_stood(store: MemoryStore, clock: ManualClock) -> None:
    first = await lend(store, "c1")
    writer = holder(first, clock)
    await writer.push(store, writer.put("k"), writer.put("l"))
    await store.return_actor(first)
    await store.return_actor(first)
    second = await lend(store, "c2")
    assert (second.actor, second.seq) == (first.actor, 2)
    assert second.token > first.token
    follower = holder(second, clock)
    assert words((await follower.push(store, follower.put("k", "2"))).replies) == [Applied.APPLIED]


async def test_an_actor_whose_lease_ended_is_lent_again(store: MemoryStore, clock: ManualClock) -> None:
    first = await lend(store, "c1")
    clock.advance(ms=TTL_MS - 1)
    assert (await lend(store, "c2")).actor != first.actor
    clock.advance(ms=1)
    third = await lend(store, "c3")
    assert third.actor == first.actor
    assert third.token > first.token


async def test_who_lost_the_actor_is_fenced_and_writes_nothing(store: MemoryStore, clock: ManualClock) -> None:
    first = await lend(store, "c1")
    writer = holder(first, clock)
    await writer.push(store, writer.put("k", "mine"))
    late = writer.put("k", "late")
    clock.advance(ms=TTL_MS)
    second = await lend(store, "c2")
    pushed = await store.push(writer.batch(late, writer.put("l")))
    assert words(pushed.replies) == [Applied.REFUSED] * 2
    assert refusals(pushed.replies) == [Refusal.FENCED] * 2
    assert (pushed.seq, pushed.gap) == (1, False)
    assert set(await everything(store)) == {"k"}
    follower = holder(second, clock)
    assert words((await follower.push(store, follower.put("l"))).replies) == [Applied.APPLIED]


async def test_a_late_batch_is_not_taken_for_the_new_holders(store: MemoryStore, clock: ManualClock) -> None:
    first = await lend(store, "c1")
    writer = holder(first, clock)
    lost = writer.batch(writer.put("k", "lost"))
    clock.advance(ms=TTL_MS)
    follower = holder(await lend(store, "c2"), clock)
    await follower.push(store, follower.put("other"))
    assert refusals((await store.push(lost)).replies) == [Refusal.FENCED]
    assert await get_one(store, "k") == ()


async def test_nobody_writes_as_a_lent_actor_without_its_token(store: MemoryStore, clock: ManualClock) -> None:
    lease = await lend(store, "c1")
    stranger = Writer(lease.actor, clock)
    assert refusals((await store.push(stranger.batch(stranger.put("k")))).replies) == [Refusal.FENCED]


async def test_a_token_of_nothing_that_was_lent_is_fenced(store: MemoryStore, clock: ManualClock) -> None:
    stranger = Writer("n1~x", clock, token=7)
    assert refusals((await store.push(stranger.batch(stranger.put("k")))).replies) == [Refusal.FENCED]


async def test_a_renewed_lease_lasts_longer(store: MemoryStore, clock: ManualClock) -> None:
    first = await lend(store, "c1")
    clock.advance(ms=TTL_MS - 1)
    renewed = await store.renew_actor(first, ttl_ms=TTL_MS)
    assert (renewed.actor, renewed.token, renewed.until_ms) == (first.actor, first.token, clock() + TTL_MS)
    clock.advance(ms=TTL_MS - 1)
    assert (await lend(store, "c2")).actor != first.actor


async def test_a_lease_that_ended_may_be_renewed_while_nobody_has_the_actor(
    store: MemoryStore, clock: ManualClock
) -> None:
    first = await lend(store, "c1")
    writer = holder(first, clock)
    await writer.push(store, writer.put("k"))
    clock.advance(ms=5 * TTL_MS)
    assert (await store.renew_actor(first, ttl_ms=TTL_MS)).token == first.token
    assert words((await writer.push(store, writer.put("k"))).replies) == [Applied.APPLIED]


async def test_a_lease_that_was_taken_over_cannot_be_renewed(store: MemoryStore, clock: ManualClock) -> None:
    first = await lend(store, "c1")
    clock.advance(ms=TTL_MS)
    second = await lend(store, "c2")
    with pytest.raises(FencedError) as caught:
        await store.renew_actor(first, ttl_ms=TTL_MS)
    assert (caught.value.token, caught.value.current) == (first.token, second.token)
    await store.return_actor(first)
    assert (await store.renew_actor(second, ttl_ms=TTL_MS)).token == second.token


async def test_leased_actors_stay_few_however_many_clients_come(store: MemoryStore, clock: ManualClock) -> None:
    for number in range(30):
        lease = await lend(store, f"c{number}")
        writer = holder(lease, clock)
        await writer.push(store, writer.put(f"k{number}"))
        if number % 2:
            await store.return_actor(lease)
        else:
            clock.advance(ms=TTL_MS)
        await store.sweep()
    assert len((await store.clock()).clock) <= 2


async def test_one_holder_is_the_master_and_the_others_learn_who(store: MemoryStore, clock: ManualClock) -> None:
    mine = await store.take_mastery("p/", holder="n1", ttl_ms=TTL_MS)
    assert (mine.prefix, mine.holder, mine.until_ms) == ("p/", "n1", clock() + TTL_MS)
    assert await store.take_mastery("p/", holder="n2", ttl_ms=TTL_MS) == mine
    assert (await store.take_mastery("q/", holder="n2", ttl_ms=TTL_MS)).holder == "n2"


async def test_a_master_stays_with_its_epoch(store: MemoryStore, clock: ManualClock) -> None:
    mine = await store.take_mastery("p/", holder="n1", ttl_ms=TTL_MS)
    clock.advance(ms=TTL_MS - 1)
    again = await store.take_mastery("p/", holder="n1", ttl_ms=TTL_MS)
    assert (again.epoch, again.until_ms) == (mine.epoch, clock() + TTL_MS)
    assert (await store.take_mastery("p/", holder="n2", ttl_ms=TTL_MS)).holder == "n1"


async def test_after_the_lease_another_becomes_the_master_with_a_higher_epoch(
    store: MemoryStore, clock: ManualClock
) -> None:
    first = await store.take_mastery("p/", holder="n1", ttl_ms=TTL_MS)
    clock.advance(ms=TTL_MS)
    second = await store.take_mastery("p/", holder="n2", ttl_ms=TTL_MS)
    assert second.holder == "n2"
    assert second.epoch > first.epoch


async def test_who_resigns_makes_room_at_once(store: MemoryStore) -> None:
    first = await store.take_mastery("p/", holder="n1", ttl_ms=TTL_MS)
    await store.resign(first)
    second = await store.take_mastery("p/", holder="n2", ttl_ms=TTL_MS)
    assert second.holder == "n2"
    assert second.epoch > first.epoch
    await store.resign(first)
    assert (await store.take_mastery("p/", holder="n3", ttl_ms=TTL_MS)).holder == "n2"
    await store.resign(second)
    back = await store.take_mastery("p/", holder="n1", ttl_ms=TTL_MS)
    assert back.epoch > second.epoch


async def test_a_deposed_masters_late_write_is_fenced(store: MemoryStore, clock: ManualClock) -> None:
    ann, bob = Writer("ann", clock), Writer("bob", clock)
    first = await store.take_mastery("p/", holder="n1", ttl_ms=TTL_MS)
    taken = await store.push(ann.batch(ann.put("p/k", "1"), master=("p/", first.epoch)))
    assert words(taken.replies) == [Applied.APPLIED]
    clock.advance(ms=TTL_MS)
    second = await store.take_mastery("p/", holder="n2", ttl_ms=TTL_MS)
    late = await store.push(ann.batch(ann.put("p/k", "late"), master=("p/", first.epoch)))
    assert refusals(late.replies) == [Refusal.FENCED]
    assert late.seq == 1
    version = bob.put("p/k", "2", over=await get_one(store, "p/k"))
    assert words((await store.push(bob.batch(version, master=("p/", second.epoch)))).replies) == [Applied.APPLIED]
    assert await get_one(store, "p/k") == (version,)


async def test_of_many_candidates_at_once_all_learn_of_one_master(store: MemoryStore) -> None:
    found = await asyncio.gather(*(store.take_mastery("p/", holder=f"n{number}", ttl_ms=TTL_MS) for number in range(8)))
    assert len({(mastery.holder, mastery.epoch) for mastery in found}) == 1
