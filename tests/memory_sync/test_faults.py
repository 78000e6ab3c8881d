"""The hub goes away, forgets, goes back or lies, and what was acknowledged is there afterwards, the same everywhere."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.memory.access import Draft
from meshd.memory.hub_access import HubAccess
from meshd.memory.model import Change, Strategy
from meshd.memory.replication.replica import Replica
from meshd.memory.store import MemoryStore
from tests.memory_sync.lying import LyingStore
from tests.memory_sync.replicas import QUICK, SEAL, delete, draft, open_at, put, replica_of, text, texts
from tests.support.proxy import Proxy, proxied
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

OPTIONS = BackendOptions(mesh="faults", timeout_ms=1_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


@asynccontextmanager
async def behind_proxy(proxy: Proxy) -> AsyncGenerator[Backend]:
    backend = await open_backend(proxy.url, OPTIONS)
    try:
        yield backend
    finally:
        await backend.aclose()


@asynccontextmanager
async def opened(server: RedisServer) -> AsyncGenerator[Backend]:
    backend = await open_backend(server.url, OPTIONS)
    try:
        yield backend
    finally:
        await backend.aclose()


async def write_many(replica: Replica, keys: list[str], value: str = "v") -> None:
    drafts = [draft(key, f"{value} {key}", node=replica.node) for key in keys]
    await replica.write(drafts, strategy=Strategy.EVENTUAL)


async def is_equal(*replicas: Replica) -> bool:
    """Whether each holds what the hub holds, after a sync of all."""
    for each in replicas:
        await each.sync()
    return all([(await each.sync()).is_equal for each in replicas])


async def test_writes_made_while_cut_off_cross_when_the_cut_heals(server: RedisServer, tmp_path: Path) -> None:
    async with (
        proxied(server.port) as proxy,
        behind_proxy(proxy) as far,
        opened(server) as near,
        replica_of(far, tmp_path / "a.db", node="a") as a,
        replica_of(near, tmp_path / "b.db", node="b") as b,
    ):
        await put(a, "both", "before")
        await wait_until(lambda: is_text(b, "both", "before"))
        await proxy.cut()
        await write_many(a, [f"a/{number}" for number in range(300)])
        await put(a, "both", "a")
        await put(b, "both", "b")
        await write_many(b, [f"b/{number}" for number in range(300)])
        await delete(a, "a/7")
        assert a.state.pending > 0
        await proxy.mend()
        await wait_until(lambda: is_text(a, "b/299", "v b/299"), timeout=15)
        await wait_until(lambda: is_text(b, "a/299", "v a/299"), timeout=15)
        assert await is_equal(a, b)
        assert sorted(await texts(b, "both")) == ["a", "b"]
        assert await text(b, "a/7") is None


async def test_news_lost_with_the_feed_are_read_from_the_index(server: RedisServer, tmp_path: Path) -> None:
    async with opened(server) as backend:
        slow = replace(QUICK, interval=timedelta(seconds=60))
        async with (
            replica_of(backend, tmp_path / "a.db", node="a") as a,
            replica_of(backend, tmp_path / "b.db", node="b", options=slow) as b,
        ):
            await put(a, "k", "0")
            await wait_until(lambda: is_text(b, "k", "0"))
            with redis.Redis.from_url(server.url) as admin:  # pyright: ignore[reportUnknownMemberType]
                for number in range(1, 20):
                    await put(a, "k", str(number), priority=9)
                    await put(a, f"only/{number}", "x", priority=9)
                    admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")  # pyright: ignore[reportUnknownMemberType]
            await wait_until(lambda: is_text(b, "k", "19"))
            assert await is_equal(a, b)
            for number in range(1, 20):
                assert await text(b, f"only/{number}") == "x"


async def test_a_flushed_hub_is_refilled_under_load_and_nothing_is_lost(server: RedisServer, tmp_path: Path) -> None:
    async with opened(server) as backend, opened(server) as other:
        client = HubAccess(other.memory, SEAL)
        async with (
            replica_of(backend, tmp_path / "a.db", node="a") as a,
            replica_of(other, tmp_path / "b.db", node="b") as b,
        ):
            await write_many(a, [f"a/{number}" for number in range(500)])
            await write_many(b, [f"b/{number}" for number in range(500)])
            await client.write([draft(f"c/{n}", f"v c/{n}") for n in range(100)], strategy=Strategy.EVENTUAL)
            await client.aclose()
            assert await is_equal(a, b)
            acked: list[str] = []

            async def load(replica: Replica) -> None:
                for number in range(300):
                    key = f"{replica.node}/under load/{number}"
                    await put(replica, key, f"v {key}")
                    acked.append(key)

            async def flush() -> None:
                await asyncio.sleep(0.1)
                with redis.Redis.from_url(server.url) as admin:  # pyright: ignore[reportUnknownMemberType]
                    admin.execute_command("FLUSHALL")  # pyright: ignore[reportUnknownMemberType]

            await asyncio.gather(load(a), load(b), flush())
            keys = [*acked, *(f"{node}/{n}" for node in "ab" for n in range(500)), *(f"c/{n}" for n in range(100))]
            await wait_until(lambda: is_equal(a, b), timeout=20)
            for replica in (a, b):
                assert [key for key in keys if await text(replica, key) != f"v {key}"] == []
            fresh = HubAccess(backend.memory, SEAL)
            found = {key: [each.body.decode() for each in item] for key, item in await fresh.list("", limit=5_000)}
            assert {key for key in keys if found.get(key) != [f"v {key}"]} == set()


async def test_a_hub_flushed_while_it_is_read_is_not_taken_for_one_that_deleted_everything(
    server: RedisServer, tmp_path: Path
) -> None:
    async with opened(server) as backend, opened(server) as other:
        treacherous = FlushedWhileRead(backend.memory, server)
        a = await open_at(cast("Any", treacherous), tmp_path / "a.db", node="a")
        async with replica_of(other, tmp_path / "b.db", node="b") as b:
            await put(a, "known", "to both")
            await b.sync()
            await a.sync()
            treacherous.is_deaf = True
            await write_many(b, [f"b/{number}" for number in range(20)])
            await b.sync()
            treacherous.is_armed = True
            await wait_until(lambda: is_equal(a, b), timeout=20)
            assert not treacherous.is_armed
            for number in range(20):
                assert await text(a, f"b/{number}") == await text(b, f"b/{number}") == f"v b/{number}"
        await a.aclose()


class FlushedWhileRead(LyingStore):
    """A real store that is flushed between two steps of a comparison, and whose feed can be cut off."""

    def __init__(self, store: MemoryStore, server: RedisServer) -> None:
        super().__init__(store, lambda change: None if self.is_deaf else change)
        self._server = server
        self.is_deaf = False
        self.is_armed = False

    async def changes(self, *, after: int, limit: int = 1_000) -> Change:
        if self.is_armed:
            self.is_armed = False
            with redis.Redis.from_url(self._server.url) as admin:  # pyright: ignore[reportUnknownMemberType]
                admin.execute_command("FLUSHALL")  # pyright: ignore[reportUnknownMemberType]
        return await super().changes(after=after, limit=limit)


async def test_a_hub_restored_from_an_older_snapshot_is_brought_up_to_date(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start(options={"--dbfilename": "dump.rdb"})
    try:
        async with (
            opened(server) as backend,
            replica_of(backend, tmp_path / "a.db", node="a") as a,
            replica_of(backend, tmp_path / "b.db", node="b") as b,
        ):
            await write_many(a, [f"old/{number}" for number in range(50)])
            await put(a, "changed", "old")
            assert await is_equal(a, b)
            with redis.Redis.from_url(server.url) as admin:  # pyright: ignore[reportUnknownMemberType]
                admin.execute_command("SAVE")  # pyright: ignore[reportUnknownMemberType]
            shutil.copy(server.directory / "dump.rdb", tmp_path / "backup.rdb")
            await write_many(a, [f"new/{number}" for number in range(50)])
            await put(b, "changed", "new")
            await delete(b, "old/7")
            assert await is_equal(a, b)
            server.kill()
            await put(a, "offline", "yes")
            shutil.copy(tmp_path / "backup.rdb", server.directory / "dump.rdb")
            server.start(options={"--dbfilename": "dump.rdb"})
            await wait_until(lambda: is_equal(a, b), timeout=20)
            for replica in (a, b):
                assert await text(replica, "changed") == "new"
                assert await text(replica, "old/7") is None
                assert await text(replica, "new/49") == "v new/49"
                assert await text(replica, "offline") == "yes"
            assert [each.body for each in (await backend.memory.get(["changed"]))[0]] == [b"new"]
    finally:
        server.stop()


async def test_a_node_that_was_away_while_the_hub_went_back_and_on_misses_nothing(tmp_path: Path) -> None:
    """The hub's revision is over the node's cursor again by then, so the index alone would skip what is between."""
    server = RedisServer(tmp_path / "redis")
    server.start(options={"--dbfilename": "dump.rdb"})
    try:
        async with (
            proxied(server.port) as proxy,
            behind_proxy(proxy) as far,
            opened(server) as near,
            replica_of(far, tmp_path / "a.db", node="a") as a,
            replica_of(near, tmp_path / "b.db", node="b") as b,
        ):
            with redis.Redis.from_url(server.url) as admin:  # pyright: ignore[reportUnknownMemberType]
                admin.execute_command("SAVE")  # pyright: ignore[reportUnknownMemberType]
            shutil.copy(server.directory / "dump.rdb", tmp_path / "backup.rdb")
            await write_many(b, [f"before/{number}" for number in range(60)])
            assert await is_equal(a, b)
            await proxy.cut()
            server.kill()
            shutil.copy(tmp_path / "backup.rdb", server.directory / "dump.rdb")
            server.start(options={"--dbfilename": "dump.rdb"})
            await wait_until(lambda: is_equal(b), timeout=20)
            for number in range(150):
                await put(b, f"after/{number}", f"v after/{number}")
            await b.sync()
            await proxy.mend()
            await wait_until(lambda: is_equal(a, b), timeout=20)
            keys = [*(f"before/{number}" for number in range(60)), *(f"after/{number}" for number in range(150))]
            assert [key for key in keys if await text(a, key) != f"v {key}"] == []
    finally:
        server.stop()


async def test_a_copied_file_goes_on_as_somebody_else(server: RedisServer, tmp_path: Path) -> None:
    async with opened(server) as backend:
        async with replica_of(backend, tmp_path / "a.db", node="a") as a:
            await write_many(a, [f"k/{number}" for number in range(20)])
            await a.sync()
        for file in tmp_path.glob("a.db*"):
            if file.is_file():
                shutil.copy(file, tmp_path / file.name.replace("a.db", "copy.db"))
        a = await open_at(backend.memory, tmp_path / "a.db", node="a")
        copy = await open_at(backend.memory, tmp_path / "copy.db", node="a")
        first = (await put(a, "from a", "a")).version
        second = (await put(copy, "from the copy", "copy")).version
        assert first.header.actor != second.header.actor
        assert await is_equal(a, copy)
        assert await text(a, "from the copy") == "copy"
        assert await text(copy, "from a") == "a"
        await a.aclose()
        await copy.aclose()


async def test_a_restored_backup_uses_no_number_twice(server: RedisServer, tmp_path: Path) -> None:
    async with opened(server) as backend:
        async with replica_of(backend, tmp_path / "a.db", node="a") as a:
            await put(a, "k", "1")
            await a.sync()
        for file in tmp_path.glob("a.db*"):
            if file.is_file():
                shutil.copy(file, tmp_path / f"backup {file.name}")
        async with replica_of(backend, tmp_path / "a.db", node="a") as a:
            before = (await put(a, "k", "2")).version
            await a.sync()
        for file in tmp_path.glob("backup a.db*"):
            data = file.read_bytes()
            with (tmp_path / file.name.removeprefix("backup ")).open("r+b") as same:
                same.truncate()
                same.write(data)
        async with replica_of(backend, tmp_path / "a.db", node="a") as a:
            after = (await put(a, "other", "3")).version
            assert after.header.actor != before.header.actor
            assert await is_equal(a)
            assert await text(a, "k") == "2"


async def test_a_hub_that_is_frozen_holds_up_no_eventual_write(server: RedisServer, tmp_path: Path) -> None:
    async with (
        opened(server) as backend,
        opened(server) as other,
        replica_of(backend, tmp_path / "a.db", node="a") as a,
        replica_of(other, tmp_path / "b.db", node="b") as b,
    ):
        await put(a, "k", "before")
        await wait_until(lambda: is_text(b, "k", "before"))
        server.freeze()
        try:
            async with asyncio.timeout(1):
                for number in range(50):
                    await put(a, f"frozen/{number}", str(number))
        finally:
            server.thaw()
        await wait_until(lambda: is_text(b, "frozen/49", "49"), timeout=10)
        await wait_until(lambda: is_equal(a, b), timeout=10)


async def test_a_clock_that_runs_ahead_stamps_again_what_the_hub_refuses(server: RedisServer, tmp_path: Path) -> None:
    async with proxied(server.port) as proxy, behind_proxy(proxy) as far, opened(server) as near:
        await proxy.cut()
        ahead = lambda: 4_070_908_800_000  # noqa: E731 -- 2099
        async with (
            replica_of(far, tmp_path / "a.db", node="a", clock=ahead) as a,
            replica_of(near, tmp_path / "b.db", node="b") as b,
        ):
            await put(a, "k", "1")
            await put(a, "k", "2")
            await put(a, "other", "3")
            await proxy.mend()
            await wait_until(lambda: is_text(b, "k", "2"), timeout=10)
            await wait_until(lambda: is_text(b, "other", "3"), timeout=10)
            assert await is_equal(a, b)
            (item,) = await b.read(["k"])
            assert all(each.header.ms < 4_000_000_000_000 for each in item)


async def test_what_is_stamped_again_replaces_nothing_its_writer_had_not_seen(
    server: RedisServer, tmp_path: Path
) -> None:
    async with proxied(server.port) as proxy, behind_proxy(proxy) as far, opened(server) as near:
        await proxy.cut()
        async with (
            replica_of(far, tmp_path / "a.db", node="a", clock=lambda: 4_070_908_800_000) as a,
            replica_of(near, tmp_path / "b.db", node="b") as b,
        ):
            await put(a, "k", "from the future")
            await put(b, "k", "meanwhile")
            await b.sync()
            await proxy.mend()
            await wait_until(lambda: is_equal(a, b), timeout=10)
            await wait_until(lambda: stands_beside(b), timeout=10)


async def stands_beside(replica: Replica) -> bool:
    return sorted(await texts(replica, "k")) == ["from the future", "meanwhile"]


async def test_a_lost_answer_makes_no_write_happen_twice(server: RedisServer, tmp_path: Path) -> None:
    async with proxied(server.port) as proxy, behind_proxy(proxy) as far:
        client = HubAccess(far.memory, SEAL)
        async with replica_of(far, tmp_path / "a.db", node="a") as a:
            await put(a, "warm", "up", strategy=Strategy.STRONG)
            await put(client, "warm", "up", strategy=Strategy.STRONG)
            for access in (a, client):
                over = (await access.read(["k"]))[0]
                expects = tuple(version.dot for version in over)
                proxy.lose_answer_once("only once")
                conditional = Draft(key="k", body=lambda _: b"only once", over=over, expects=expects)
                written = await access.write([conditional], strategy=Strategy.STRONG)
                assert written[0].version.body == b"only once"
            assert proxy.lost_answers == 2
            await client.aclose()


async def is_text(replica: Replica, key: str, value: str) -> bool:
    return await text(replica, key) == value
