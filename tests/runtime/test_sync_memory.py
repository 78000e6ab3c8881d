"""The sync facade offers the memory too, and it does what the async one does."""

import asyncio
import inspect
from datetime import timedelta

from pydantic import BaseModel

from meshd import Mesh, Settings, SyncMesh
from meshd.memory.counting import Counter
from meshd.memory.service import Memory
from meshd.memory.sets import SharedSet
from meshd.memory.undo import Scope

INNER = {"change", "look", "over", "subscribe"}
"""What only code with a loop can use."""


class Note(BaseModel):
    text: str


def public(owner: object) -> set[str]:
    return {name for name, _ in inspect.getmembers(owner) if not name.startswith("_")}


async def test_both_surfaces_of_the_memory_are_equal(mesh: Mesh, store_url: str, settings: Settings) -> None:
    def surfaces() -> None:
        with SyncMesh(store_url, settings=settings) as sync:
            assert public(Memory) - INNER == public(sync.memory)
            assert public(Counter) | {"key"} == public(sync.memory.counter("c"))
            assert public(SharedSet) | {"key"} == public(sync.memory.set("s"))

    await asyncio.to_thread(surfaces)


async def test_a_script_without_a_loop_shares_what_it_knows(mesh: Mesh, store_url: str, settings: Settings) -> None:
    def script() -> None:
        with SyncMesh(store_url, settings=settings) as sync:
            memory = sync.memory.by(agent="script")
            memory.put("n", Note(text="hi"))
            read = memory.get("n", model=Note)
            assert read is not None
            assert (read.value.text, read.agent) == ("hi", "script")
            assert memory.update("list", lambda seen: [*seen, 1], default=[]).value == [1]
            assert memory.counter("c").add(2) == 2
            memory.set("s").add("x")
            assert memory.set("s").values() == ["x"]
            with memory.lease("l", wait=timedelta(seconds=1)) as lease:
                assert lease.is_held
            assert [each.key for each in memory.list()] == ["c", "list", "n", "s"]
            assert len(memory.rollback_by(Scope(agent="script")).undone) == 4
            assert memory.list() == []
            assert sync.sync().nodes == ()

    await asyncio.to_thread(script)
    assert await mesh.memory.list() == []
