"""Replicas as processes that are killed and frozen: what they acknowledged survives, and no number is used twice."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from meshd.backends import Backend, BackendOptions, open_replica
from meshd.memory.access import Acks
from meshd.memory.hub_access import HubAccess
from meshd.memory.model import Strategy
from meshd.memory.replication.replica import Replica
from tests.memory_sync.replicas import SEAL, draft, put, replica_of, text
from tests.support.freezing import freeze
from tests.support.waiting import wait_until


@pytest.fixture
def options(mesh_name: str) -> BackendOptions:
    return BackendOptions(mesh=mesh_name)


class NodeProcess:
    """One `node_process`."""

    def __init__(self, url: str, mesh: str, node: str, file: Path, *, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.memory_sync.node_process", url, mesh, node, str(file), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def lines(self, count: int) -> list[str]:
        """Return the next lines it says."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline().decode().strip() for _ in range(count)]

    def ask(self, question: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{question}\n".encode())
        self.process.stdin.flush()
        return self.lines(1)[0]

    def kill(self) -> list[str]:
        """Kill it and return what it had said before."""
        self.process.kill()
        said, _ = self.process.communicate()
        return said.decode().split("\n")[:-1]


@contextmanager
def running(url: str, mesh: str, node: str, file: Path, *, count: int) -> Generator[NodeProcess]:
    process = NodeProcess(url, mesh, node, file, count=count)
    try:
        yield process
    finally:
        process.kill()


@pytest.mark.parametrize("said_before", [1, 40, 150])
async def test_what_a_killed_node_acknowledged_survives_it(
    backend: Backend, store_url: str, mesh_name: str, tmp_path: Path, said_before: int
) -> None:
    file = tmp_path / "a.db"
    with running(store_url, mesh_name, "a", file, count=100_000) as process:
        acked = process.lines(said_before)
        acked += process.kill()
    async with replica_of(backend, file, node="a") as a, replica_of(backend, tmp_path / "b.db", node="b") as b:
        assert [number for number in acked if await text(a, f"a/{number}") != number] == []
        await put(a, "after", "the crash")
        await a.sync()
        assert (await b.sync()).is_equal
        assert [number for number in acked if await text(b, f"a/{number}") != number] == []
        assert await text(b, "after") == "the crash"
        dots = [version.dot for _, item in await b.list("", limit=200_000) for version in item]
        assert len(dots) == len(set(dots))


async def test_a_frozen_node_holds_nobody_up_and_catches_up_when_it_wakes(
    backend: Backend, store_url: str, mesh_name: str, tmp_path: Path
) -> None:
    with running(store_url, mesh_name, "a", tmp_path / "a.db", count=10) as process:
        process.lines(11)
        async with replica_of(backend, tmp_path / "b.db", node="b") as b:
            await wait_until(lambda: is_text(b, "a/9", "9"))
            freeze(process.process, store_url)
            for number in range(50):
                await put(b, f"b/{number}", str(number))
            await b.sync()
            os.kill(process.process.pid, signal.SIGCONT)
            assert msgspec.json.decode(process.ask("sync"))["is_equal"]
            assert process.ask("get b/49") == '["49"]'


async def test_a_killed_node_leaves_its_unsent_writes_in_its_file(
    backend: Backend, store_url: str, mesh_name: str, tmp_path: Path
) -> None:
    with running(store_url, mesh_name, "a", tmp_path / "a.db", count=200) as process:
        process.lines(150)
        process.kill()
    file = await open_replica(tmp_path / "a.db", BackendOptions())
    here = (await file.store.clock()).clock
    await file.aclose()
    (actor,) = here
    assert (await backend.memory.clock()).clock.get(actor, 0) <= here[actor]


async def test_all_live_replicas_confirm_a_write_that_asks_them_to(
    backend: Backend, store_url: str, mesh_name: str, tmp_path: Path
) -> None:
    with (
        running(store_url, mesh_name, "a", tmp_path / "a.db", count=0) as first,
        running(store_url, mesh_name, "b", tmp_path / "b.db", count=0) as second,
    ):
        assert first.lines(1) == second.lines(1) == ["ready"]
        for each in (first, second):
            assert msgspec.json.decode(each.ask("sync"))["is_equal"]
        client = HubAccess(backend.memory, SEAL)
        written = await client.write([draft("k", "v")], strategy=Strategy.STRONG, acks=Acks(replicas=1.0))
        assert written[0].confirmed == 2
        assert first.ask("get k") == second.ask("get k") == '["v"]'
        await client.aclose()


async def is_text(replica: Replica, key: str, value: str) -> bool:
    return await text(replica, key) == value
