"""A node in its own process: `python -m tests.peers.node_process URL MESH NAME STATE_DIR`."""

import asyncio
import sys
import time
from pathlib import Path

from meshd import Node, Settings


def quick_settings(mesh: str, state_dir: str | Path, **peers: object) -> Settings:
    """Timings short enough to watch an edge break."""
    return Settings.load(
        mesh=mesh,
        state_dir=str(state_dir),
        heartbeat_interval_seconds=0.1,
        node_timeout_seconds=1.0,
        tasks={"sweep_seconds": 0.1, "poll_seconds": 0.5},
        peers={"probe_interval_seconds": 0.1, "probe_timeout_seconds": 0.1, **peers},
    )


def make_node(name: str) -> Node:
    node = Node(name)

    @node.task("block")
    async def block(seconds: float) -> None:
        """Hold up the node's own loop."""
        time.sleep(seconds)

    return node


if __name__ == "__main__":
    asyncio.run(make_node(sys.argv[3]).run(sys.argv[1], settings=quick_settings(sys.argv[2], sys.argv[4])))
