"""Upkeep now, shared memory reconciled, and a confirmation from every node that it is current."""

import asyncio
from datetime import timedelta
from typing import Any

from meshd.memory.requesting import Progress
from meshd.memory.syncing import NodeSync, SyncReport
from meshd.mesh import Mesh
from meshd.nodes.model import Node, Verdict

STEP_SECONDS = 0.05
MEMORY_SECONDS = 10
"""How long replicas get to sync, at least."""


async def read_sync(mesh: Mesh, progress: Progress | None = None) -> dict[str, Any]:
    """Run the upkeep, have every replica sync, wait for the nodes, and say what moved and who confirmed."""
    before = await mesh.nodes.list(include_dead=True)
    report = await mesh.sweep()
    expected = {node.id: node.read_ms for node in before if node.verdict is not Verdict.DEAD}
    async with asyncio.TaskGroup() as group:
        syncing = group.create_task(mesh.sync(timeout=_patience(mesh), progress=progress))
        beating = group.create_task(_confirmations(mesh, expected))
    synced, fresh = syncing.result(), beating.result()
    replicas = {each.node: each for each in synced.nodes}
    rows = [_row(node_id, node, replicas.get(node_id)) for node_id, node in sorted(fresh.items())]
    store = await mesh.backend.memory.clock()
    return {
        "kind": "sync",
        "state": _state([row["confirmed"] for row in rows]),
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
        "memory": {**_totals(synced), "items": store.items, "bytes": store.value_bytes},
    }


def _row(node_id: str, node: Node | None, replica: NodeSync | None) -> dict[str, Any]:
    in_step = replica is None or (replica.confirmed and replica.is_equal)
    return {
        "id": node_id,
        "confirmed": node is not None and in_step,
        "heartbeat_age_seconds": node and node.beat_age_ms / 1000,
        "memory": replica and _memory(replica),
    }


def _memory(replica: NodeSync) -> dict[str, Any]:
    return {
        "confirmed": replica.confirmed,
        "is_equal": replica.is_equal,
        "sent": replica.sent,
        "received": replica.received,
        "conflicts": replica.conflicts,
        "bytes": replica.bytes,
        "duration_ms": replica.duration_ms,
        "pending": replica.pending,
        "refused": replica.refused,
        "differing": list(replica.differing),
    }


def _totals(report: SyncReport) -> dict[str, Any]:
    return {
        "request": report.request,
        "replicas": len(report.nodes),
        "missing": list(report.missing),
        "sent": sum(each.sent for each in report.nodes),
        "received": sum(each.received for each in report.nodes),
        "conflicts": sum(each.conflicts for each in report.nodes),
        "duration_ms": report.duration_ms,
    }


def _state(confirmed: list[bool]) -> str:
    """Return how a sync ended: completed, partial_success, failed."""
    if all(confirmed):
        return "completed"
    return "partial_success" if any(confirmed) else "failed"


def _patience(mesh: Mesh) -> timedelta:
    return timedelta(seconds=max(MEMORY_SECONDS, mesh.settings.node_timeout_seconds))


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
