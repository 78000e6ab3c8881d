"""No room left, in memory or on disk: new work is refused, work in hand ends, and room is all that is needed."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from sqlite3 import connect

import pytest

from meshd import Mesh, TaskState
from meshd.errors import BackpressureError, StoreReadOnlyError, UnavailableError
from meshd.tasks.service import TaskHandle
from tests.faults.scene import SOON, Ledger, a_worker, settings
from tests.redis_backend.raw import raw_commands
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

DISK_MIB = 64
RESUME_S = 2.0
BLOB = Random(7).randbytes(25_000).hex()
"""Fifty kilobytes that no store can squeeze to nothing."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, empty."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "meshd-test", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk takes rights this process has not")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def fill(disk: Path) -> Path:
    """Take all room there is; deleting the returned file gives it back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(65_536)):
            pass
    with ballast.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(b"\x00"):
            pass
    return ballast


async def submit_until_refused(mesh: Mesh, refusal: type[UnavailableError]) -> list[TaskHandle]:
    """Submit big tasks until one is refused with this error; return those that were taken."""
    taken: list[TaskHandle] = []
    try:
        while len(taken) < 5_000:
            taken.append(await mesh.tasks.submit("work", number=len(taken), blob=BLOB))
    except refusal:
        return taken
    raise AssertionError("nothing was refused")


async def is_taken_again(mesh: Mesh) -> bool:
    try:
        await mesh.tasks.submit("nobody")
    except UnavailableError:
        return False
    return True


async def assert_completed(mesh: Mesh, handles: list[TaskHandle]) -> None:
    async for task in mesh.tasks.as_ended(handles, timeout=SOON):
        assert (task.state, task.crashes, task.failures) == (TaskState.COMPLETED, 0, 0)


async def test_a_full_memory_lets_all_work_in_hand_end_and_takes_work_again_when_drained(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    async with a_worker("n1", ledger, concurrency=4).running(server.url, settings=settings()):
        running = [await mesh.tasks.submit("hold") for _ in range(4)]
        await wait_until(lambda: len(ledger.began) == 4)
        with raw_commands(server.port) as run:
            used = int(run("INFO", "memory")["used_memory"])
            run("CONFIG", "SET", "maxmemory", used + 3_000_000)
            waiting = await submit_until_refused(mesh, BackpressureError)
            assert len(waiting) > 20
            ledger.go_on.set()
            await assert_completed(mesh, running + waiting)
            for handle in waiting:
                assert await mesh.backend.tasks.purge([handle.id]) == [True]
            drained = time.monotonic()
            await wait_until(lambda: is_taken_again(mesh))
            assert time.monotonic() - drained < 1
            assert await (await mesh.tasks.submit("work", number=7)).result(timeout=SOON) == 7


def save(server: RedisServer) -> bool:
    """Have the server save; return whether it could."""
    with raw_commands(server.port) as run:
        run("BGSAVE")
        while (found := run("INFO", "persistence"))["rdb_bgsave_in_progress"]:
            time.sleep(0.01)
    return bool(found["rdb_last_bgsave_status"] == "ok")


async def test_a_redis_that_cannot_save_loses_nothing_and_resumes_when_it_can(
    server: RedisServer, mesh: Mesh, ledger: Ledger
) -> None:
    server.stop()
    server.start(aof=True, options={"--save": "3600 1", "--dbfilename": "dump"})
    in_the_way = server.directory / "dump"
    async with a_worker("n1", ledger, concurrency=4).running(server.url, settings=settings()):
        running = [await mesh.tasks.submit("hold") for _ in range(4)]
        await wait_until(lambda: len(ledger.began) == 4)
        in_the_way.mkdir()
        assert not await asyncio.to_thread(save, server)
        with pytest.raises(StoreReadOnlyError):
            await mesh.tasks.submit("work")
        ledger.go_on.set()
        assert (await running[0].status()).state is TaskState.RUNNING
        assert [node.id for node in await mesh.nodes.list()] == ["n1"]
        in_the_way.rmdir()
        assert await asyncio.to_thread(save, server)
        repaired = time.monotonic()
        await assert_completed(mesh, running)
        assert await (await mesh.tasks.submit("work", number=7)).result(timeout=SOON) == 7
        assert time.monotonic() - repaired < RESUME_S
    assert max(ledger.began.values()) == 1


@pytest.fixture(params=["redis", "sqlite"])
async def store_on_disk(request: pytest.FixtureRequest, disk: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{disk / 'mesh.db'}"
        with closing(connect(disk / "mesh.db")) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return
    server = RedisServer(disk / "redis")
    server.start(aof=True)
    yield server.url
    server.stop()


async def test_a_full_disk_loses_nothing_and_work_resumes_when_there_is_room(
    store_on_disk: str, disk: Path, ledger: Ledger
) -> None:
    async with (
        Mesh(store_on_disk, settings=settings()) as mesh,
        a_worker("n1", ledger, concurrency=4).running(store_on_disk, settings=settings(lease_seconds=10)),
    ):
        running = [await mesh.tasks.submit("hold") for _ in range(4)]
        await wait_until(lambda: len(ledger.began) == 4)
        ballast = await asyncio.to_thread(fill, disk)
        waiting = await submit_until_refused(mesh, StoreReadOnlyError)
        ledger.go_on.set()
        assert (await mesh.tasks.get(running[0].id)).state in (TaskState.RUNNING, TaskState.COMPLETED)
        ballast.unlink()
        freed = time.monotonic()
        await wait_until(lambda: is_taken_again(mesh))
        assert time.monotonic() - freed < RESUME_S
        await assert_completed(mesh, running + waiting)
    assert max(ledger.began.values()) == 1
