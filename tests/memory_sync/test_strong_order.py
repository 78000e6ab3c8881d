"""Writes and reads under `strong` happen in one order for everybody; the history of each run is searched for it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from time import monotonic

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.errors import UnavailableError, WriteConflictError
from meshd.memory.access import Access, Draft
from meshd.memory.hub_access import HubAccess
from meshd.memory.model import Strategy
from meshd.memory.prefixes import Rule, Rules
from meshd.memory.syncing import SyncOptions
from tests.memory_sync.linearizability import Operation, is_linearizable
from tests.memory_sync.replicas import QUICK, SEAL, replica_of
from tests.support.proxy import proxied
from tests.support.redis_server import RedisServer

KEY = "strong/register"
CALLS = 60


class Client:
    """Reads and writes one key, and writes down when it asked and what it was told."""

    def __init__(self, access: Access, name: str, history: list[Operation]) -> None:
        self._access = access
        self._name = name
        self._history = history
        self._rng = Random(name)

    async def run(self) -> None:
        for number in range(CALLS):
            try:
                await self._call(f"{self._name}:{number}")
            except UnavailableError:
                continue

    async def _call(self, value: str) -> None:
        began = monotonic()
        item = (await self._access.read([KEY]))[0]
        found = item[0].body.decode() if item else None
        self._history.append(Operation(began=began, ended=monotonic(), found=found))
        await asyncio.sleep(self._rng.uniform(0, 0.003))
        began = monotonic()
        expects = tuple(version.dot for version in item)
        draft = Draft(key=KEY, body=lambda _: value.encode(), over=item, expects=expects)
        try:
            await self._access.write([draft], strategy=Strategy.STRONG)
        except WriteConflictError:
            self._history.append(Operation(began=began, ended=monotonic(), wrote=value, over=found, is_taken=False))
        except UnavailableError:
            self._history.append(Operation(began=began, wrote=value, over=found))
        else:
            self._history.append(Operation(began=began, ended=monotonic(), wrote=value, over=found))


@pytest.mark.parametrize("is_killed", [False, True], ids=["answers lost", "hub killed"])
async def test_strong_writes_and_reads_have_one_order(tmp_path: Path, is_killed: bool) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start(aof=True, options={"--appendfsync": "always"})
    history: list[Operation] = []
    strong = SyncOptions(interval=QUICK.interval, rules=Rules(prefixes={"strong/": Rule(strategy=Strategy.STRONG)}))
    try:
        async with AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(proxied(server.port))
            backend = await open_backend(proxy.url, BackendOptions(mesh="order", timeout_ms=2_000))
            stack.push_async_callback(backend.aclose)
            replica = await stack.enter_async_context(replica_of(backend, tmp_path / "a.db", node="a", options=strong))
            accesses: list[Access] = [HubAccess(backend.memory, SEAL) for _ in range(3)]
            clients = [Client(each, f"c{at}", history) for at, each in enumerate([*accesses, replica])]
            rng = Random(7)
            if not is_killed:
                proxy.lose_answers(to="strong/register", should_cut=lambda: rng.random() < 0.05)
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.run())
                if is_killed:
                    await asyncio.sleep(0.1)
                    await asyncio.to_thread(server.restart)
            for access in accesses:
                await access.aclose()  # type: ignore[attr-defined]
    finally:
        server.stop()
    assert sum(each.wrote is not None and each.is_taken for each in history) > CALLS // 2
    assert is_linearizable(history)


def test_a_read_of_an_older_value_is_found_out() -> None:
    write = Operation(began=1, ended=2, wrote="a")
    again = Operation(began=3, ended=4, wrote="b", over="a")
    assert is_linearizable([write, again, Operation(began=5, ended=6, found="b")])
    assert not is_linearizable([write, again, Operation(began=5, ended=6, found="a")])
    assert is_linearizable([write, Operation(began=3, wrote="b", over="a"), Operation(began=5, ended=6, found="a")])


def test_two_writes_over_the_same_value_are_found_out() -> None:
    first = Operation(began=1, ended=2, wrote="a")
    assert not is_linearizable([first, Operation(began=1, ended=2, wrote="b")])
    assert is_linearizable([first, Operation(began=1, ended=2, wrote="b", is_taken=False)])
