"""Stores that know the same and hold different things come to hold the same, and lose nothing by it."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from meshd.backends import Backend, BackendOptions
from meshd.errors import StoreUnreachableError, WriteConflictError
from meshd.memory.hub_access import HubAccess
from meshd.memory.model import Dot, Strategy, Version
from meshd.memory.replication.replica import Replica
from meshd.memory.stamping import Stamper
from meshd.memory.store import MemoryStore
from meshd.memory.syncing import SyncOptions
from tests.memory_sync.replicas import SEAL, delete, draft, put, replica_of, texts

ALONE = SyncOptions(interval=timedelta(hours=1), batch_delay=timedelta(milliseconds=5))


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    return BackendOptions(mesh=mesh_name)


async def test_what_others_wrote_beside_an_own_write_is_read_although_own_changes_are_not(
    backend: Backend, tmp_path: Path
) -> None:
    client = HubAccess(backend.memory, SEAL)
    async with replica_of(backend, tmp_path / "a.db", node="a", options=ALONE) as a:
        await a.sync()
        follower = a._syncer._follower  # pyright: ignore[reportPrivateUsage]
        async with follower.turn:
            await put(client, "k", "there")
            await a.write([draft("z", "first of the batch"), draft("k", "here")], strategy=Strategy.EVENTUAL)
            await a._outbox.flush()  # pyright: ignore[reportPrivateUsage]
            assert await follower.catch_up()
        assert sorted(await texts(a, "k")) == ["here", "there"]
        assert (await a.sync()).is_equal
    await client.aclose()


async def test_a_key_deleted_and_written_again_reaches_who_has_only_what_was_deleted(
    backend: Backend, tmp_path: Path
) -> None:
    async with replica_of(backend, tmp_path / "b.db", node="b", options=ALONE) as b:
        async with replica_of(backend, tmp_path / "a.db", node="a", options=ALONE) as a:
            await put(a, "k", "first")
            await a.sync()
        await b.sync()
        await delete(b, "k")
        await b.sync()
        await b.sync()
    async with replica_of(backend, tmp_path / "b.db", node="b", options=ALONE) as b:
        await put(b, "k", "second")
        await b.sync()
        async with replica_of(backend, tmp_path / "a.db", node="a", options=ALONE) as a:
            assert (await a.sync()).is_equal
            assert await texts(a, "k") == ["second"]


async def test_a_deletion_is_forgotten_where_it_was_written_once_every_replica_has_it(
    backend: Backend, tmp_path: Path
) -> None:
    async with (
        replica_of(backend, tmp_path / "a.db", node="a", options=ALONE) as a,
        replica_of(backend, tmp_path / "b.db", node="b", options=ALONE) as b,
    ):
        await put(a, "k", "first")
        await a.sync()
        await b.sync()
        await delete(b, "k")
        await _met(b, backend.memory)
        assert (await _file_of(b).get(["k"]))[0]
        await a.sync()
        await _met(b, backend.memory)
        await _met(b, backend.memory)
        assert (await _file_of(b).get(["k"]))[0] == ()


async def test_a_strong_write_does_not_hide_what_was_written_under_the_same_lease_before(backend: Backend) -> None:
    first = HubAccess(backend.memory, SEAL)
    await put(first, "k", "one", strategy=Strategy.STRONG)
    await first.aclose()
    second = HubAccess(backend.memory, SEAL)
    with pytest.raises(WriteConflictError):
        await second.write([draft("k", "two, knowing nothing")], strategy=Strategy.STRONG)
    assert [each.body for each in (await backend.memory.get(["k"]))[0]] == [b"one"]
    await second.aclose()


async def test_what_is_written_again_as_another_actor_does_not_hide_what_that_wrote_beside_it(
    backend: Backend, tmp_path: Path
) -> None:
    async with replica_of(backend, tmp_path / "a.db", node="a", options=ALONE) as a:
        older = (await put(a, "k", "older")).version
        a._syncer._write_as("a~another", seq=0)  # pyright: ignore[reportPrivateUsage]
        await a.write([draft("k", "blind")], strategy=Strategy.EVENTUAL)
        await a._committer.restamp([older])  # pyright: ignore[reportPrivateUsage]
        assert sorted(await texts(a, "k")) == ["blind", "older"]
        assert (await a.sync()).is_equal
        assert sorted(each.body for each in await _at(backend.memory, "k")) == [b"blind", b"older"]


async def test_each_side_gets_what_it_knows_and_has_not_and_it_is_written_once(
    backend: Backend, tmp_path: Path
) -> None:
    async with (
        replica_of(backend, tmp_path / "a.db", node="a", options=ALONE) as a,
        replica_of(backend, tmp_path / "b.db", node="b", options=ALONE) as b,
    ):
        await put(a, "k", "known to all")
        for replica in (a, b, a):
            await replica.sync()
        strays = {name: Stamper(SEAL).make(draft("k", name), Dot(f"gone~{name}", 1)) for name in ("a", "b", "hub")}
        alone = Stamper(SEAL).make(draft("other", "hub"), Dot("gone~other", 1))
        clock = {each.header.actor: 1 for each in (*strays.values(), alone)}
        await backend.memory.absorb([strays["hub"], alone], clock=clock)
        for replica, name in ((a, "a"), (b, "b")):
            await _file_of(replica).absorb([strays[name]], clock=clock)
            await replica._intake.forget(["k"])  # pyright: ignore[reportPrivateUsage]
        for replica in (a, b, a, b):
            await replica.sync()
        before = await backend.memory.clock()
        for replica in (a, b):
            assert (await replica.sync()).is_equal
            assert sorted(await texts(replica, "k")) == ["a", "b", "hub", "known to all"]
            assert await texts(replica, "other") == ["hub"]
            assert replica.state.unrepaired == 0
        after = await backend.memory.clock()
        assert (after.revision, after.clock) == (before.revision, before.clock)
        written = [version for version in await _at(backend.memory, "k", "other") if version.header.tick]
        assert len(await _at(backend.memory, "k", "other")) == 5
        assert {version.header.ms for version in written} <= {each.header.ms for each in (*strays.values(), alone)}


async def _met(replica: Replica, hub: MemoryStore) -> None:
    """Have the replica learn what a sweep of the hub tells it, and sync."""
    await replica.sync()
    replica._syncer._reconciler.met(await hub.members())  # pyright: ignore[reportPrivateUsage]
    await replica.sync()


def _file_of(replica: Replica) -> MemoryStore:
    return replica._file.store  # pyright: ignore[reportPrivateUsage]


async def _at(store: MemoryStore, *keys: str) -> Sequence[Version]:
    return [version for item in await store.get(keys) for version in item]


async def test_a_replica_closes_although_what_it_waited_for_failed_in_that_moment(
    backend: Backend, tmp_path: Path
) -> None:
    waits = asyncio.Event()

    async def work() -> None:
        waits.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise StoreUnreachableError("failed while it was cancelled") from None

    async with replica_of(backend, tmp_path / "a.db", node="a", options=ALONE) as a:
        task = asyncio.create_task(a._syncer.keep(work))  # pyright: ignore[reportPrivateUsage]
        await waits.wait()
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([task])
        assert task.cancelled()
