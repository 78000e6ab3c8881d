"""A hub killed in the middle of pushes: what it acknowledged is there, and a batch is there whole or not at all."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshd.backends import BackendOptions, open_backend
from meshd.memory.digests import digest_of
from meshd.memory.model import Batch, Version
from meshd.memory.store import MemoryStore
from tests.redis_backend.memory_versions import version
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

PER_BATCH = 20
OPTIONS = BackendOptions(mesh="crashed", timeout_ms=10_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path / "own")
    server.start(aof=True)
    yield server
    server.stop()


def a_batch(actor: str, first: int) -> Batch:
    """Return twenty versions of as many keys, which every batch of every actor writes."""
    last = first + PER_BATCH - 1
    versions = [version(f"k{seq % PER_BATCH}", seq, actor=actor) for seq in range(first, last + 1)]
    return Batch(actor=actor, first=first, last=last, versions=versions)


async def push_until(done: asyncio.Event, store: MemoryStore, actor: str, acknowledged: dict[str, int]) -> None:
    """Push batch after batch, each until it is answered, as a replica does."""
    while not done.is_set():
        first = acknowledged.get(actor, 0) + 1
        pushed = await store.push(a_batch(actor, first))
        assert not pushed.gap
        assert pushed.seq == first + PER_BATCH - 1
        acknowledged[actor] = pushed.seq


async def test_a_hub_killed_in_mid_batch_has_all_it_acknowledged_and_no_half_of_a_batch(server: RedisServer) -> None:
    backend = await open_backend(server.url, OPTIONS)
    memory, done = backend.memory, asyncio.Event()
    acknowledged: dict[str, int] = {}
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(push_until(done, memory, f"n{number}~a", acknowledged))
        for _ in range(3):
            reached = sum(acknowledged.values())
            await wait_until(lambda: sum(acknowledged.values()) > reached + 10 * PER_BATCH, timeout=20)  # noqa: B023
            await asyncio.to_thread(server.kill)
            at_death = dict(acknowledged)
            await asyncio.to_thread(server.restart)
            clock = (await memory.clock()).clock
            assert all(clock[actor] >= seq for actor, seq in at_death.items())
            assert all(seq % PER_BATCH == 0 for seq in clock.values())
        done.set()
    await check(memory, acknowledged)
    await backend.aclose()


async def check(memory: MemoryStore, acknowledged: dict[str, int]) -> None:
    """Every key has the last version of each actor, and every book agrees with the items."""
    standing, items = await memory.clock(), dict(await memory.list("", limit=1_000))
    assert standing.clock == acknowledged
    last = {(actor, seq - back) for actor, seq in acknowledged.items() for back in range(PER_BATCH)}
    versions: list[Version] = [each for item in items.values() for each in item]
    assert {tuple(each.dot) for each in versions} == last
    assert (standing.items, standing.value_bytes) == (PER_BATCH, sum(4 + len(each.blob) for each in versions))
    digest = await memory.digest()
    assert digest.buckets == digest_of(versions, now_ms=digest.now_ms)
    change = await memory.changes(after=0)
    assert sorted(each.dot for each in change.versions) == sorted(each.dot for each in versions)
    assert change.revision == standing.revision == sum(acknowledged.values())
