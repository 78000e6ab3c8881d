"""A node in its own process, for tests that send signals: `python -m tests.runtime.worker_process URL MESH NAME`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from meshd import Node, Settings, TaskContext


def fast_settings(mesh: str) -> Settings:
    """Timings short enough to watch a death being noticed."""
    return Settings.load(
        mesh=mesh,
        heartbeat_interval_seconds=0.1,
        node_timeout_seconds=1.0,
        tasks={"lease_seconds": 2.0, "renew_seconds": 0.5, "sweep_seconds": 0.1, "poll_seconds": 0.5},
        task_distribution={"retry_backoff_seconds": 0.01, "retry_jitter": False},
        roles={"lease_seconds": 1.0, "idle_seconds": 0.5},
    )


def make_node(name: str) -> Node:
    node = Node(name, concurrency=4)

    @node.task("echo")
    async def echo(value: int) -> int:
        return value

    @node.task("pid")
    async def pid() -> int:
        return os.getpid()

    @node.task("hold")
    async def hold(until: str, context: TaskContext) -> str:
        """Run until a file exists; say who ran it, and as which attempt."""
        while not await asyncio.to_thread(Path(until).exists):
            await asyncio.sleep(0.01)
        return f"{name} attempt {context.attempt}"

    @node.task("poison")
    async def poison() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    return node


if __name__ == "__main__":
    asyncio.run(make_node(sys.argv[3]).run(sys.argv[1], settings=fast_settings(sys.argv[2])))
