"""The extra `uvloop`: where it is installed, a node's process runs on it; where not, on asyncio's own loop."""

import asyncio
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import pytest

from meshd import Mesh, Node, Settings
from meshd.runtime.entry import Ties, run_node
from tests.support.redis_server import RedisServer

SOON = timedelta(seconds=20)


@contextmanager
def a_node(url: str, mesh: str, *, without: str) -> Generator[None]:
    """Run this file as a process that has not got the module of that name."""
    process = subprocess.Popen([sys.executable, "-m", __name__, url, mesh, without])
    try:
        yield
    finally:
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize(("without", "loop"), [("nothing", "uvloop"), ("uvloop", "asyncio.unix_events")])
async def test_a_node_runs_on_the_loop_that_is_installed(
    redis_server: RedisServer, mesh_name: str, without: str, loop: str
) -> None:
    async with Mesh(redis_server.url, mesh=mesh_name) as mesh:
        with a_node(redis_server.url, mesh_name, without=without):
            handle = await mesh.tasks.submit("loop")
            assert await handle.result(timeout=SOON) == loop


def main(url: str, mesh: str, without: str) -> None:
    cast("dict[str, Any]", sys.modules)[without] = None
    node = Node("looper")

    @node.task("loop")
    async def loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    run_node(node, settings=Settings.load(url=url, mesh=mesh), ties=Ties())


if __name__ == "__main__":
    main(*sys.argv[1:])
