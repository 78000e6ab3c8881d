"""meshd as its users run it, with the defaults whatever the environment says; leases, tokens and results are always on.

`python -m benchmarks.peers.meshd_peer URL NAME CONCURRENCY [NODES]` is a worker process: one node, or several.
"""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from time import monotonic_ns

from benchmarks.peers.client import TEXT, Stamps
from benchmarks.peers.marks import MARKS
from meshd import Mesh, Node, Settings, TaskRequest
from meshd.settings import TasksSettings

MESH = "bench"
PATIENCE = timedelta(seconds=30)


def settings() -> Settings:
    ttl = os.environ.get("BENCH_RESULT_TTL_S")
    return (
        Settings(mesh=MESH) if ttl is None else Settings(mesh=MESH, tasks=TasksSettings(result_ttl_seconds=float(ttl)))
    )


def opened(url: str) -> Mesh:
    """Return the benchmark's mesh on this store, to be opened."""
    return Mesh(url, settings=settings())


def make_node(name: str, concurrency: int) -> Node:
    node = Node(name, concurrency=concurrency)

    @node.task("noop")
    async def noop(text: str) -> None:
        MARKS.hit()

    @node.task("stamp")
    async def stamp() -> int:
        return monotonic_ns()

    @node.task("hold")
    async def hold() -> None:
        MARKS.hit()
        if os.environ.get("BENCH_HOLDS") == "1":
            await asyncio.Event().wait()

    return node


class Client:
    async def open(self, url: str) -> None:
        self._mesh = await opened(url).open()

    async def submit(self) -> None:
        await self._mesh.tasks.submit("noop", text=TEXT)

    async def submit_many(self, count: int) -> None:
        await self._mesh.tasks.submit_many(TaskRequest(type="noop", payload={"text": TEXT}) for _ in range(count))

    async def call(self) -> Stamps:
        began = monotonic_ns()
        handle = await self._mesh.tasks.submit("stamp")
        started = await handle.result(timeout=PATIENCE)
        return began, started, monotonic_ns()

    async def close(self) -> None:
        await self._mesh.aclose()


async def work(url: str, name: str, concurrency: int, nodes: int) -> None:
    if nodes == 1:
        await make_node(name, concurrency).run(url, settings=settings())
        return
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as group:
        for number in range(nodes):
            group.create_task(be_until(stop, make_node(f"{name}-{number}", concurrency), url))


async def be_until(stop: asyncio.Event, node: Node, url: str) -> None:
    async with node.running(url, settings=settings()):
        await stop.wait()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    asyncio.run(work(arguments[0], arguments[1], int(arguments[2]), int(arguments[3]) if arguments[3:] else 1))
