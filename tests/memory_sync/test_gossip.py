"""Without a hub, nodes tell each other; when it is back, it has everything, and so has everybody."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random

import pytest

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.clock import ManualClock
from meshd.memory.model import Strategy
from meshd.memory.prefixes import Rule, Rules
from meshd.memory.replication.gossip import Neighbourhood
from meshd.memory.replication.peer_store import Customs
from meshd.memory.replication.replica import Replica
from meshd.memory.syncing import SyncOptions
from meshd.peers.in_memory import Network
from tests.memory_sync.replicas import QUICK, delete, open_at, put, text, texts
from tests.support.memory import Writer
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

OPTIONS = BackendOptions(mesh="gossip", timeout_ms=1_000)
CALM = replace(QUICK, gossip_interval=timedelta(milliseconds=100))
PEERS = replace(
    CALM,
    batch_delay=timedelta(hours=1),
    rules=Rules(prefixes={"p/": Rule(prefix="p/", strategy=Strategy.PEER_TO_PEER)}),
)
"""What is written stays away from the hub, unless it goes through others."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "redis")
    server.start(aof=True)
    yield server
    server.stop()


@pytest.fixture
async def backend(server: RedisServer) -> AsyncGenerator[Backend]:
    backend = await open_backend(server.url, OPTIONS)
    yield backend
    await backend.aclose()


@pytest.fixture
async def network() -> Network:
    return Network(asyncio.get_running_loop().call_later, Random(1))


@asynccontextmanager
async def node(
    backend: Backend,
    network: Network,
    path: Path,
    *,
    options: SyncOptions = CALM,
) -> AsyncGenerator[Replica]:
    """A replica named as its file, which knows every other node there may be."""
    links = network.links(path.stem)
    around = Neighbourhood(links=links, addresses=lambda: "abc")
    replica = await open_at(backend.memory, path, node=path.stem, backend=backend, options=options, around=around)
    try:
        yield replica
    finally:
        await links.aclose()
        await replica.aclose()


async def has(replica: Replica, key: str, value: str | None) -> bool:
    return await text(replica, key) == value


async def mark(replica: Replica) -> str:
    """Return what the digest of a replica's own file says."""
    return await replica._file.store.mark()  # pyright: ignore[reportPrivateUsage]


async def are_equal(*replicas: Replica) -> bool:
    return len({await mark(each) for each in replicas}) == 1


async def is_whole(*replicas: Replica) -> bool:
    """Whether each holds what the hub holds."""
    return all([(await each.sync()).is_equal for each in replicas])


async def test_writes_cross_while_the_hub_is_dead_and_reach_it_when_it_is_back(
    server: RedisServer, backend: Backend, network: Network, tmp_path: Path
) -> None:
    async with (
        node(backend, network, tmp_path / "a.db") as a,
        node(backend, network, tmp_path / "b.db") as b,
        node(backend, network, tmp_path / "c.db") as c,
    ):
        await put(a, "before", "1")
        await wait_until(lambda: has(c, "before", "1"))
        server.kill()
        await asyncio.gather(*[put(each, f"from/{each.node}", each.node) for each in (a, b, c)])
        await delete(b, "before")
        for each in (a, b, c):
            for other in "abc":
                await wait_until(partial(has, each, f"from/{other}", other))
            await wait_until(partial(has, each, "before", None))
        await wait_until(lambda: are_equal(a, b, c))
        server.restart()
        await wait_until(lambda: is_whole(a, b, c))
        assert [item[0].body for item in await backend.memory.get([f"from/{each}" for each in "abc"])] == [
            b"a", b"b", b"c",
        ]  # fmt: skip


async def test_blind_writes_on_two_sides_are_both_kept_without_a_hub(
    server: RedisServer, backend: Backend, network: Network, tmp_path: Path
) -> None:
    async with (
        node(backend, network, tmp_path / "a.db") as a,
        node(backend, network, tmp_path / "b.db") as b,
    ):
        server.kill()
        network.cut_both("a", "b")
        await put(a, "k", "a")
        await put(b, "k", "b")
        network.heal("a", "b")
        network.heal("b", "a")
        for each in (a, b):
            await wait_until(partial(_both, each))
        await put(b, "k", "settled")
        await wait_until(lambda: _is_settled(a))
        await wait_until(lambda: are_equal(a, b))


async def _is_settled(replica: Replica) -> bool:
    return list(await texts(replica, "k")) == ["settled"]


async def _both(replica: Replica) -> bool:
    return sorted(await texts(replica, "k")) == ["a", "b"]


async def test_under_a_peer_to_peer_rule_nodes_tell_each_other_although_the_hub_is_there(
    backend: Backend, network: Network, tmp_path: Path
) -> None:
    async with (
        node(backend, network, tmp_path / "a.db", options=PEERS) as a,
        node(backend, network, tmp_path / "b.db", options=PEERS) as b,
    ):
        await put(a, "p/k", "quick", strategy=Strategy.PEER_TO_PEER)
        await wait_until(lambda: has(b, "p/k", "quick"))


async def test_what_a_dead_writer_told_one_other_reaches_the_hub_through_it(
    server: RedisServer, backend: Backend, network: Network, tmp_path: Path
) -> None:
    async with node(backend, network, tmp_path / "b.db") as b:
        async with node(backend, network, tmp_path / "a.db") as a:
            server.kill()
            await put(a, "will", "remains")
            await wait_until(lambda: has(b, "will", "remains"))
        server.restart()
        await wait_until(lambda: _at_hub(backend, "will", b"remains"))
        await wait_until(lambda: is_whole(b))


async def _at_hub(backend: Backend, key: str, value: bytes) -> bool:
    return [version.body for version in (await backend.memory.get([key]))[0]] == [value]


async def test_what_was_deleted_and_forgotten_does_not_come_back_from_a_node_that_slept(
    server: RedisServer, backend: Backend, network: Network, tmp_path: Path
) -> None:
    async with node(backend, network, tmp_path / "a.db") as a, node(backend, network, tmp_path / "b.db") as b:
        await put(a, "gone", "1")
        await put(a, "stays", "1")
        await wait_until(lambda: has(b, "gone", "1"))
        await wait_until(lambda: has(b, "stays", "1"))
    async with node(backend, network, tmp_path / "a.db") as a:
        await delete(a, "gone")
        await a.sync()
        file = a._file  # pyright: ignore[reportPrivateUsage]
        await file.tidy((await file.store.clock()).clock)
        assert not (await file.store.get(["gone"]))[0], "the tombstone was not collected"
        server.kill()
        async with node(backend, network, tmp_path / "b.db") as b:
            await wait_until(lambda: has(b, "gone", None), timeout=20)
            assert await text(a, "gone") is None
            assert await text(b, "stays") == "1"
            await wait_until(lambda: are_equal(a, b))


def test_what_comes_from_a_wrong_clock_is_refused_and_its_writer_not_vouched_for() -> None:
    clock = ManualClock()
    right, wrong = Writer("right~1", clock), Writer("wrong~1", clock)
    sound = right.put("k")
    customs = Customs(clock, max_drift_ms=60_000)
    late = wrong.put("k", ms=clock() + 60_001)
    assert customs.pass_on([sound, late]) == ([sound], {"wrong~1"})
    assert customs.pass_on([wrong.put("k", ms=clock() + 60_000)])[1] == set()


async def test_a_node_in_quarantine_is_not_believed_by_those_who_heard_of_it(
    server: RedisServer, backend: Backend, network: Network, tmp_path: Path
) -> None:
    async with (
        node(backend, network, tmp_path / "a.db") as a,
        node(backend, network, tmp_path / "b.db") as b,
        node(backend, network, tmp_path / "c.db") as c,
    ):
        await backend.memory.quarantine("a", reason="lies")
        await b.sync()
        await c.sync()
        server.kill()
        await put(a, "lie", "1")
        await put(b, "truth", "1")
        for each in (a, c):
            await wait_until(partial(has, each, "truth", "1"))
        assert await text(b, "lie") is None
        assert await text(c, "lie") is None
