"""A node process with the smallest handlers there are: `python -m benchmarks.worker URL MESH NAME CONCURRENCY`."""

import asyncio
import sys
import time

from benchmarks.harness import settings
from meshd import Node


def make_node(name: str, concurrency: int) -> Node:
    node = Node(name, concurrency=concurrency)

    @node.task("noop")
    async def noop(n: int) -> int:
        return n

    @node.task("stamp")
    async def stamp() -> int:
        return time.time_ns()

    return node


if __name__ == "__main__":
    url, mesh, name, concurrency = sys.argv[1:5]
    asyncio.run(make_node(name, int(concurrency)).run(url, settings=settings(mesh)))
