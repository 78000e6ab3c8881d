"""Initiators as real processes: killed after they announced, and started again."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from meshd import AutonomousAgent, GroupTask, Mesh, Node, Settings
from meshd.groups.model import AnnouncementState

SOON = timedelta(seconds=30)
INITIATOR = """
import asyncio, sys
from meshd import Mesh, Settings

async def main(url, name):
    async with Mesh(url, settings=Settings.load(mesh=name)) as mesh:
        work = await mesh.groups.announce("sum", skills=["add"], payload=[3, 4], id="work-1")
        print("announced", flush=True)
        print((await work.result())["add"], flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


class Adder(AutonomousAgent):
    skills = ("add",)

    async def on_start(self, task: GroupTask) -> Any:
        return sum(task.payload)


@asynccontextmanager
async def initiator(url: str, name: str) -> AsyncGenerator[Process]:
    """Run one that announces and waits; killed at the end of the block if it has not ended."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", INITIATOR, url, name, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def heard(process: Process) -> str:
    """Return the next line the process prints."""
    assert process.stdout is not None
    async with asyncio.timeout(SOON.total_seconds()):
        return (await process.stdout.readline()).decode().strip()


async def test_what_a_killed_initiator_announced_is_done_and_its_next_life_gets_the_result(
    store_url: str, mesh_name: str
) -> None:
    async with initiator(store_url, mesh_name) as first:
        assert await heard(first) == "announced"
        first.kill()
    settings = Settings.load(mesh=mesh_name)
    node = Node("n1", grace=timedelta(seconds=0.1))
    node.host(Adder("ada"))
    async with Mesh(store_url, settings=settings) as other, node.running(store_url, settings=settings):
        done = await other.groups.wait_for_task("work-1", timeout=SOON)
        assert (done.state, done.results, done.epoch) == (AnnouncementState.COMPLETED, {"add": 7}, 1)
        async with initiator(store_url, mesh_name) as second:
            assert [await heard(second) for _ in range(2)] == ["announced", "7"]
            assert await second.wait() == 0
        assert (await other.groups.get("work-1")).announced_ms == done.announced_ms
