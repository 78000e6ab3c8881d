"""A guarded write counts only while the record it names lives the life it names."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.clock import ManualClock
from meshd.errors import FencedError
from meshd.records import Guard, RecordStore
from tests.conftest import OpenAgain
from tests.support.waiting import wait_until

GuardedWrite = Callable[[RecordStore, Guard], Awaitable[object]]


async def put(records: RecordStore, guard: Guard) -> object:
    return await records.put("there", b"new", guard=guard)


async def create(records: RecordStore, guard: Guard) -> object:
    return await records.create("fresh", b"new", guard=guard)


async def update(records: RecordStore, guard: Guard) -> object:
    there = await records.get("there")
    assert there is not None
    return await records.update("there", b"new", revision=there.revision, guard=guard)


async def delete(records: RecordStore, guard: Guard) -> object:
    return await records.delete("there", guard=guard)


every_write = pytest.mark.parametrize("write", [put, create, update, delete])


async def values(backend: Backend) -> dict[str, bytes]:
    return {record.key: record.value for record in await backend.records.list("")}


async def assert_fenced(backend: Backend, write: GuardedWrite, guard: Guard, *, current: int) -> None:
    await backend.records.put("there", b"old")
    before = await values(backend)
    with pytest.raises(FencedError) as caught:
        await write(backend.records, guard)
    assert (caught.value.token, caught.value.current) == (guard.born, current)
    assert await values(backend) == before


@every_write
async def test_while_the_guard_lives_the_write_is_made(backend: Backend, write: GuardedWrite) -> None:
    guard = Guard(key="leader", born=await backend.records.create("leader", b"me", ttl_ms=1_000))
    await backend.records.put("there", b"old")
    await write(backend.records, guard)
    now = await values(backend)
    assert b"new" in now.values() or "there" not in now


@every_write
async def test_renewals_of_the_guard_do_not_end_its_life(backend: Backend, write: GuardedWrite) -> None:
    guard = Guard(key="leader", born=await backend.records.create("leader", b"me", ttl_ms=1_000))
    renewed = await backend.records.update("leader", b"me", revision=guard.born, ttl_ms=1_000)
    await backend.records.put("leader", b"me again")
    await backend.records.put("there", b"old")
    await write(backend.records, guard)
    with pytest.raises(FencedError):
        await write(backend.records, replace(guard, born=renewed))


@every_write
async def test_a_guard_that_never_was_fences(backend: Backend, write: GuardedWrite) -> None:
    await assert_fenced(backend, write, Guard(key="leader", born=1), current=0)


@every_write
async def test_a_guard_whose_time_ran_out_fences(backend: Backend, clock: ManualClock, write: GuardedWrite) -> None:
    guard = Guard(key="leader", born=await backend.records.create("leader", b"me", ttl_ms=40))
    clock.advance(ms=40)

    async def is_gone() -> bool:
        return await backend.records.get("leader") is None

    await wait_until(is_gone)
    await assert_fenced(backend, write, guard, current=0)


@every_write
async def test_a_guard_deleted_and_made_again_is_another_life(backend: Backend, write: GuardedWrite) -> None:
    guard = Guard(key="leader", born=await backend.records.create("leader", b"me"))
    await backend.records.delete("leader", guard=guard)
    successor = await backend.records.create("leader", b"me")
    await assert_fenced(backend, write, guard, current=successor)


@every_write
async def test_a_guard_of_another_mesh_fences(
    backend: Backend, open_again: OpenAgain, options: BackendOptions, write: GuardedWrite
) -> None:
    neighbour = await open_again(replace(options, mesh=options.mesh + "2"))
    guard = Guard(key="leader", born=await neighbour.records.create("leader", b"theirs"))
    await assert_fenced(backend, write, guard, current=0)


async def test_the_guard_is_judged_before_the_record(backend: Backend) -> None:
    guard = Guard(key="leader", born=1)
    await backend.records.create("taken", b"1")
    with pytest.raises(FencedError):
        await backend.records.create("taken", b"2", guard=guard)
    with pytest.raises(FencedError):
        await backend.records.update("missing", b"2", revision=7, guard=guard)
    with pytest.raises(FencedError):
        await backend.records.delete("missing", guard=guard)
