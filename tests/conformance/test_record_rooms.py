"""A record created with room is created only while there is room, exactly, however many are created at once."""

import asyncio
from collections.abc import Sequence

import pytest

from meshd.backends import Backend
from meshd.clock import ManualClock
from meshd.errors import AlreadyExistsError, FencedError, InvalidArgumentError, NoRoomError
from meshd.records import Guard, Room
from tests.conftest import OpenAgain
from tests.support.waiting import wait_until

TWO = Room(prefix="open/", most=2)


async def keys(backend: Backend) -> Sequence[str]:
    return [record.key for record in await backend.records.list("", limit=1_000)]


async def test_there_is_room_for_so_many_and_no_more(backend: Backend) -> None:
    first = await backend.records.create("open/1", b"", room=TWO)
    second = await backend.records.create("open/2", b"", room=TWO)
    assert first < second
    with pytest.raises(NoRoomError) as caught:
        await backend.records.create("open/3", b"", room=TWO)
    assert (caught.value.prefix, caught.value.most) == ("open/", 2)


async def test_what_finds_no_room_changes_nothing(backend: Backend, clock: ManualClock) -> None:
    for key in ("open/1", "open/2"):
        await backend.records.create(key, b"old", room=TWO)
    before = await backend.records.list("")
    with pytest.raises(NoRoomError):
        await backend.records.create("open/3", b"new", ttl_ms=60_000, room=TWO)
    assert await backend.records.list("") == before
    assert await backend.records.get("open/3") is None
    assert await backend.records.count("open/") == 2
    assert await backend.records.create("other", b"") > before[-1].revision


async def test_what_is_there_is_there_also_when_there_is_no_room(backend: Backend) -> None:
    for key in ("open/1", "open/2"):
        await backend.records.create(key, b"old", room=TWO)
    with pytest.raises(AlreadyExistsError):
        await backend.records.create("open/2", b"new", room=TWO)
    record = await backend.records.get("open/2")
    assert record is not None
    assert record.value == b"old"


async def test_the_guard_is_judged_before_the_room(backend: Backend) -> None:
    full = Room(prefix="", most=0)
    with pytest.raises(FencedError):
        await backend.records.create("k", b"", guard=Guard(key="leader", born=1), room=full)
    guard = Guard(key="leader", born=await backend.records.create("leader", b""))
    with pytest.raises(NoRoomError):
        await backend.records.create("k", b"", guard=guard, room=full)
    await backend.records.create("k", b"", guard=guard, room=Room(prefix="k", most=1))


async def test_a_key_that_cannot_be_is_refused_as_such(backend: Backend) -> None:
    with pytest.raises(InvalidArgumentError):
        await backend.records.create("", b"", room=Room(prefix="", most=0))


async def test_only_keys_with_the_prefix_take_room_whoever_wrote_them(backend: Backend) -> None:
    for key in ("open", "open0", "ope", "opens/1", "a", "z", "Open/1"):
        await backend.records.put(key, b"")
    await backend.records.put("open/ä", b"")
    await backend.records.create("elsewhere", b"", room=TWO)
    await backend.records.create("open/\U0010ffff", b"", room=TWO)
    with pytest.raises(NoRoomError):
        await backend.records.create("elsewhere too", b"", room=TWO)
    await backend.records.create("open/without", b"")
    assert await backend.records.count("open/") == 3


async def test_the_empty_prefix_is_all_records(backend: Backend) -> None:
    await backend.records.put("a", b"")
    await backend.records.create("b", b"", room=Room(prefix="", most=2))
    with pytest.raises(NoRoomError):
        await backend.records.create("c", b"", room=Room(prefix="", most=2))


async def test_what_is_deleted_makes_room(backend: Backend) -> None:
    for key in ("open/1", "open/2"):
        await backend.records.create(key, b"", room=TWO)
    await backend.records.delete("open/1")
    await backend.records.create("open/3", b"", room=TWO)
    assert await keys(backend) == ["open/2", "open/3"]


@pytest.mark.parametrize("lapsed", [1, 9, 10, 11, 100, 250])
async def test_what_expired_takes_no_room_however_much_it_is(backend: Backend, clock: ManualClock, lapsed: int) -> None:
    room = Room(prefix="open/", most=lapsed)
    for start in range(0, lapsed, 50):
        await asyncio.gather(
            *(
                backend.records.create(f"open/{number:03}", b"", ttl_ms=1_000, room=room)
                for number in range(start, min(start + 50, lapsed))
            )
        )
    with pytest.raises(NoRoomError):
        await backend.records.create("open/new", b"", room=room)
    clock.advance(ms=1_000)
    await backend.records.create("open/new", b"", room=room)
    assert await keys(backend) == ["open/new"]


async def test_a_key_whose_time_ran_out_finds_its_own_room(backend: Backend, clock: ManualClock) -> None:
    one = Room(prefix="open/", most=1)
    first = await backend.records.create("open/1", b"", ttl_ms=40, room=one)
    clock.advance(ms=40)

    async def is_gone() -> bool:
        return await backend.records.get("open/1") is None

    await wait_until(is_gone)
    assert await backend.records.create("open/1", b"", room=one) > first


async def test_what_was_renewed_goes_on_taking_room(backend: Backend, clock: ManualClock) -> None:
    for number in range(130):
        revision = await backend.records.create(f"open/{number:03}", b"", ttl_ms=1_000)
        await backend.records.update(f"open/{number:03}", b"", revision=revision, ttl_ms=60_000)
    await backend.records.put("gone/1", b"", ttl_ms=1_000)
    await backend.records.put("open/gone", b"", ttl_ms=1_000)
    clock.advance(ms=1_000)
    with pytest.raises(NoRoomError):
        await backend.records.create("open/new", b"", room=Room(prefix="open/", most=130))
    await backend.records.create("open/new", b"", room=Room(prefix="open/", most=131))


async def test_of_fifty_at_once_exactly_as_many_are_created_as_there_is_room_for(
    backend: Backend, open_again: OpenAgain
) -> None:
    processes = [backend, *[await open_again() for _ in range(4)]]
    room = Room(prefix="open/", most=10)

    async def create(number: int) -> str:
        key = f"open/{number:02}"
        try:
            await processes[number % len(processes)].records.create(key, b"", room=room)
        except NoRoomError:
            return ""
        return key

    created = [key for key in await asyncio.gather(*map(create, range(50))) if key]
    assert len(created) == 10
    assert await keys(backend) == created
