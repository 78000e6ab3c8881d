"""The sync facade offers what the async mesh offers, and does it."""

import asyncio
import inspect
from datetime import timedelta

from meshd import Mesh, Node, Settings, SyncMesh, TaskRequest
from meshd.nodes.service import NodeService
from meshd.tasks.dead import DeadLetters
from meshd.tasks.service import TaskHandle

SOON = timedelta(seconds=20)


def public(owner: object) -> set[str]:
    return {name for name, _ in inspect.getmembers(owner) if not name.startswith("_")}


async def test_both_surfaces_are_equal(mesh: Mesh, store_url: str, settings: Settings) -> None:
    def surfaces() -> None:
        with SyncMesh(store_url, settings=settings) as sync:
            assert public(mesh.tasks) == public(sync.tasks)
            assert public(DeadLetters) == public(sync.tasks.dead)
            assert public(NodeService) == public(sync.nodes)
            assert public(TaskHandle(mesh.tasks, "x")) <= public(sync.tasks.handle("x"))

    await asyncio.to_thread(surfaces)


async def test_a_script_without_a_loop_submits_and_waits(mesh: Mesh, store_url: str, settings: Settings) -> None:
    node = Node("worker")

    @node.task("double")
    async def double(value: int) -> int:
        return value * 2

    def script() -> list[int]:
        with SyncMesh(store_url, settings=settings) as sync:
            assert [here.id for here in sync.nodes.list()] == ["worker"]
            first = sync.tasks.submit("double", value=1).result(timeout=SOON)
            many = sync.tasks.submit_many([TaskRequest(type="double", payload={"value": 2})] * 3)
            return [first, *(len(task.errors) for task in sync.tasks.as_ended(many, timeout=SOON))]

    async with node.running(store_url, settings=settings):
        assert await asyncio.to_thread(script) == [2, 0, 0, 0]
