"""`mesh sync`: do the upkeep now, and have every node confirm that it is current."""

import asyncio
from typing import TYPE_CHECKING, Any

import typer

from meshd.errors import ExitCode
from meshd_cli.watching import show

if TYPE_CHECKING:
    from meshd.mesh import Mesh
    from meshd.nodes.model import Node

STEP_SECONDS = 0.05


def register(app: typer.Typer) -> None:
    app.command("sync")(sync)


def sync(ctx: typer.Context) -> None:
    """Refresh the mesh now: judge silent nodes, take back lapsed tasks, and wait until every node has confirmed.

    A node confirms by a heartbeat that is newer than this command. Exit code 8 if one did not. Synchronising shared
    memory is not available yet.

    \b
    Examples:
      mesh sync
      mesh sync --json | jq '.nodes[] | select(.confirmed | not)'
    """
    document = show(ctx, read_sync, "sync.sync")
    if not document["confirmed"]:
        raise typer.Exit(ExitCode.DEGRADED)


async def read_sync(mesh: "Mesh") -> dict[str, Any]:
    """Run the upkeep, wait for the nodes, and say what moved and who confirmed."""
    before = await mesh.nodes.list(include_dead=True)
    report = await mesh.sweep()
    expected = {node.id: node.read_ms for node in before if node.verdict != "dead"}
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


async def _confirmations(mesh: "Mesh", expected: dict[str, int]) -> "dict[str, Node | None]":
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
        waiting = [node_id for node_id, node in fresh.items() if node is None and here[node_id].verdict != "dead"]
        if not waiting or loop.time() >= end:
            return fresh
        await asyncio.sleep(STEP_SECONDS)
