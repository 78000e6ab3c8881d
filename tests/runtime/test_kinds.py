"""Row A15: kinds of node, and what each of them leaves to the others."""

from datetime import timedelta

import pytest

from meshd import Mesh, Node, Settings, TaskState
from meshd.errors import ConfigurationError
from meshd.nodes.model import TASKLESS, NodeType
from meshd.specialists.registry import create_node
from tests.support.waiting import wait_until

SOON = timedelta(seconds=20)


@pytest.mark.parametrize("kind", [NodeType.COORDINATOR, NodeType.STORAGE])
async def test_a_kind_without_tasks_leaves_them_to_the_workers(
    mesh: Mesh, store_url: str, settings: Settings, kind: NodeType
) -> None:
    async with create_node(kind, name="other").running(store_url, settings=settings):
        found = await mesh.nodes.get("other")
        assert (found.profile.type, found.profile.capacity) == (kind, 0)
        handle = await mesh.tasks.submit("echo", text="x")
        assert (await handle.status()).state is TaskState.READY
        async with create_node(NodeType.WORKER, name="worker").running(store_url, settings=settings):
            assert await handle.result(timeout=SOON) == {"text": "x"}
            assert (await handle.status()).node_id == "worker"


async def test_a_coordinator_sees_to_the_tasks_of_dead_nodes(mesh: Mesh, store_url: str, settings: Settings) -> None:
    due = await mesh.tasks.submit("echo", delay=timedelta(milliseconds=200))
    async with create_node(NodeType.COORDINATOR).running(store_url, settings=settings):

        async def is_ready() -> bool:
            return (await due.status()).state is TaskState.READY

        await wait_until(is_ready, timeout=10)


async def test_a_storage_node_keeps_what_the_mesh_knows(mesh: Mesh, store_url: str, settings: Settings) -> None:
    await mesh.memory.put("plan", {"step": 1})
    node = create_node(NodeType.STORAGE, name="store")
    async with node.running(store_url, settings=settings):

        async def is_there() -> bool:
            return await node.memory.get("plan") is not None

        await wait_until(is_there, timeout=10)
        assert [member.node for member in await mesh.memory.members()] == ["store"]


async def test_a_storage_node_without_a_replica_is_refused(store_url: str, settings: Settings) -> None:
    bare = settings.model_copy(update={"memory_sync": settings.memory_sync.model_copy(update={"enabled": False})})
    with pytest.raises(ConfigurationError, match=r"memory_sync\.enabled"):
        async with create_node(NodeType.STORAGE).running(store_url, settings=bare):
            pass


@pytest.mark.parametrize("kind", sorted(TASKLESS))
async def test_handlers_on_a_kind_without_tasks_are_refused_by_name(
    store_url: str, settings: Settings, kind: str
) -> None:
    node = Node(type=kind)
    node.task("order.check")(lambda: None)
    with pytest.raises(ConfigurationError, match=r"order\.check.*use type worker"):
        async with node.running(store_url, settings=settings):
            pass
