"""Random histories of three replicas, with every fault at random, end as the join of all that was acknowledged."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from random import Random

import pytest
import redis

from meshd.backends import Backend, BackendOptions, open_backend
from meshd.errors import MeshError, WriteConflictError
from meshd.memory.access import Draft, Written
from meshd.memory.joining import join
from meshd.memory.model import Item, Strategy
from meshd.memory.replication.replica import Replica
from tests.memory_sync.replicas import open_at
from tests.support.proxy import Proxy, proxied
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

NODES = ("a", "b", "c")
KEYS = tuple(f"k{number}" for number in range(6))
OPTIONS = BackendOptions(mesh="random", timeout_ms=700)


class World:
    """Three replicas, each behind a proxy of its own, on one server."""

    def __init__(self, server: RedisServer, folder: Path, rng: Random) -> None:
        self.server = server
        self.folder = folder
        self.rng = rng
        self.proxies: dict[str, Proxy] = {}
        self.backends: dict[str, Backend] = {}
        self.replicas: dict[str, Replica] = {}
        self.acked: dict[str, Item] = {}
        self.values = itertools.count()

    async def open(self, node: str) -> None:
        replica = await open_at(
            self.backends[node].memory, self.folder / f"{node}.db", node=node, backend=self.backends[node]
        )
        self.replicas[node] = replica

    async def write(self) -> None:
        replica, key = self.replicas[self.rng.choice(NODES)], self.rng.choice(KEYS)
        item = (await replica.read([key]))[0]
        body = f"{next(self.values)}".encode()
        made = Draft(key=key, body=None if self.rng.random() < 0.2 else lambda _: body, over=item)
        await self._acked(key, replica.write([made], strategy=Strategy.EVENTUAL))

    async def write_strongly(self) -> None:
        replica, key = self.replicas[self.rng.choice(NODES)], self.rng.choice(KEYS)
        item = (await replica.read([key]))[0]
        body = f"strong {next(self.values)}".encode()
        await self._acked(
            key, replica.write([Draft(key=key, body=lambda _: body, over=item)], strategy=Strategy.STRONG)
        )

    async def _acked(self, key: str, writing: Awaitable[Sequence[Written]]) -> None:
        try:
            async with asyncio.timeout(3):
                (written,) = await writing
        except (MeshError, WriteConflictError, TimeoutError):
            return
        self.acked[key] = (*self.acked.get(key, ()), written.version)

    async def cut(self) -> None:
        await self.proxies[self.rng.choice(NODES)].cut()

    async def mend(self) -> None:
        for proxy in self.proxies.values():
            await proxy.mend()

    async def reset(self) -> None:
        self.proxies[self.rng.choice(NODES)].reset()

    async def flush(self) -> None:
        with redis.Redis.from_url(self.server.url) as admin:  # pyright: ignore[reportUnknownMemberType]
            admin.execute_command("FLUSHALL")  # pyright: ignore[reportUnknownMemberType]

    async def reopen(self) -> None:
        node = self.rng.choice(NODES)
        await self.replicas[node].aclose()
        await self.open(node)

    async def pause(self) -> None:
        await asyncio.sleep(self.rng.uniform(0, 0.1))

    async def check(self) -> None:
        """Every store has the join of what was acknowledged, and of what was taken although its answer was lost."""
        for key in KEYS:
            now_ms = await self.replicas["a"].now_ms()
            stored = (await self.backends["a"].memory.get([key]))[0]
            wanted = [each.body for each in join(self.acked.get(key, ()), stored) if each.is_live(now_ms)]
            items = {node: (await replica.read([key]))[0] for node, replica in self.replicas.items()}
            for where, item in {**items, "hub": stored}.items():
                assert [each.body for each in item if each.is_live(now_ms)] == wanted, f"{key} at {where}"

    async def settled(self) -> bool:
        rounds = [await replica.sync() for replica in (*self.replicas.values(), *self.replicas.values())]
        return all(each.is_equal for each in rounds[len(NODES) :])


@pytest.mark.parametrize("seed", range(4))
async def test_a_random_history_converges_to_the_join_of_what_was_acknowledged(tmp_path: Path, seed: int) -> None:
    rng = Random(seed)
    server = RedisServer(tmp_path / "redis")
    server.start()
    world = World(server, tmp_path, rng)
    try:
        async with proxied(server.port) as one, proxied(server.port) as two, proxied(server.port) as three:
            world.proxies = dict(zip(NODES, (one, two, three), strict=True))
            for node, proxy in world.proxies.items():
                world.backends[node] = await open_backend(proxy.url, OPTIONS)
                await world.open(node)
            steps: list[tuple[Callable[[], Awaitable[None]], int]] = [
                (world.write, 60), (world.write_strongly, 8), (world.pause, 15), (world.cut, 4), (world.mend, 6),
                (world.reset, 3), (world.flush, 2), (world.reopen, 3),
            ]  # fmt: skip
            chosen = rng.choices([step for step, _ in steps], weights=[weight for _, weight in steps], k=150)
            for step in chosen:
                await step()
            await world.mend()
            await wait_until(world.settled, timeout=20)
            await world.check()
            for replica in world.replicas.values():
                await replica.aclose()
            for backend in world.backends.values():
                await backend.aclose()
    finally:
        server.stop()
