"""The facade for code without an event loop offers what the groups service offers, and does it."""

import asyncio
import inspect
from datetime import timedelta
from typing import Any

from meshd import AutonomousAgent, GroupTask, Mesh, Node, Settings, SyncMesh
from meshd.groups.announced import Announced, Update
from meshd.groups.model import AnnouncementState

SOON = timedelta(seconds=20)


class Doubler(AutonomousAgent):
    skills = ("double",)

    async def on_start(self, task: GroupTask) -> Any:
        await task.update(0.5, "nearly")
        return task.payload * 2


def public(owner: object) -> set[str]:
    return {name for name, _ in inspect.getmembers(owner) if not name.startswith("_")}


async def test_both_surfaces_are_equal_and_a_script_teams_up(store_url: str, mesh_name: str) -> None:
    settings, updates = Settings.load(mesh=mesh_name), list[Update]()

    def script() -> list[Any]:
        with SyncMesh(store_url, settings=settings) as sync:
            work = sync.groups.announce("two", skills=["double"], payload=21, on_update=updates.append)
            work.formed(SOON)
            states = [each.state for each in sync.groups.watch(work.id)]
            assert states[-1] is AnnouncementState.COMPLETED
            assert sync.groups.wait_for_task(work.id, timeout=SOON) == work.status()
            assert [each.agent for each in sync.groups.agents("double")] == ["dub"]
            assert [each.agent for each in sync.groups.explain(work.id).chosen] == ["dub"]
            handle = sync.groups.handle(work.id)
            assert public(Announced(mesh.groups, "x")) == public(handle)
            assert public(mesh.groups) - {"aclose"} == public(sync.groups)
            return [handle.result(SOON), repr(handle)]

    node = Node("n1", grace=timedelta(seconds=0.1))
    node.host(Doubler("dub"))
    async with Mesh(store_url, settings=settings) as mesh, node.running(store_url, settings=settings):
        result, text = await asyncio.to_thread(script)
    assert (result, text[:15]) == ({"double": 42}, "SyncAnnounced('")
    assert {update.note for update in updates} <= {"nearly"}
