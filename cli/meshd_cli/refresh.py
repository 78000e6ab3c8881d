"""Upkeep now, and a confirmation from every node that it is current."""

import asyncio
from typing import Any

from meshd.mesh import Mesh
from meshd.nodes.model import Node, Verdict

STEP_SECONDS = 0.05


async def read_sync(mesh: Mesh) -> dict[str, Any]:
    """Run the upkeep, wait for the nodes, and say what moved and who confirmed."""
    before = await mesh.nodes.list(include_dead=True)
    report = await mesh.sweep()
    expected = {node.id: node.read_ms for node in before if node.verdict is not Verdict.DEAD}
    fresh = await _confirmations(mesh, expected)
    rows = [
        {"id": node_id, "confirmed": node is not None, "heartbeat_age_seconds": node and node.beat_age_ms / 1000}
        for node_id, node in sorted(fresh.items())
    ]
    return {
        "kind": "sync",
        "confirmed": all(row["confirmed"] for row in rows),
        "nodes": rows,
        "judged_dead": [membership.node_id for membership in report.dead],
        "tasks": {
            "taken_back": report.taken_back,
            "promoted": report.tasks.promoted,
            "reclaimed": report.tasks.reclaimed,
            "buried": report.tasks.buried,
            "expired": report.tasks.expired,
        },
        "memory": None,
    }


async def _confirmations(mesh: Mesh, expected: dict[str, int]) -> dict[str, Node | None]:
    """Return each node once it has beaten after its mark; `None` for one that has not within the node timeout.

    A node that left meanwhile is no longer expected.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + mesh.settings.node_timeout_seconds
    while True:
        here = {node.id: node for node in await mesh.nodes.list(include_dead=True)}
        fresh = {
            node_id: here[node_id] if here[node_id].beat_ms > mark else None
            for node_id, mark in expected.items()
            if node_id in here
        }
        waiting = [
            node_id for node_id, node in fresh.items() if node is None and here[node_id].verdict is not Verdict.DEAD
        ]
        if not waiting or loop.time() >= end:
            return fresh
        await asyncio.sleep(STEP_SECONDS)
