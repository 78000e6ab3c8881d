"""A node has its replica of the memory while it runs, and the whole mesh can be asked to sync."""

from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Mesh, Node, Settings
from meshd.errors import MeshError
from meshd.memory.requesting import request_sync
from meshd.memory.syncing import SyncReport
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until


@pytest.fixture
def settings(mesh_name: str, tmp_path: Path) -> Settings:
    return Settings.load(mesh=mesh_name, state_dir=str(tmp_path / "state"), memory_sync={"sync_interval_seconds": 0.3})


async def test_a_handler_writes_to_the_memory_of_its_node_and_the_client_reads_it(
    store_url: str, settings: Settings
) -> None:
    node = Node("reader-1")

    @node.task("note")
    async def note(text: str) -> int:
        await node.memory.put("notes/1", text)
        return len(text)

    async with node.running(store_url, settings=settings), Mesh(store_url, settings=settings) as mesh:
        handle = await mesh.tasks.submit("note", text="sunny")
        assert await handle.result() == 5

        async def has_arrived() -> bool:
            entry = await mesh.memory.get("notes/1")
            return entry is not None and entry.value == "sunny" and entry.node == "reader-1"

        await wait_until(has_arrived)
    with pytest.raises(MeshError):
        _ = Node("other").memory


async def test_what_a_node_knew_is_there_at_once_when_it_comes_back(store_url: str, settings: Settings) -> None:
    async with Node("a").running(store_url, settings=settings) as node:
        await node.memory.put("k", 1)
        written = await node.memory.get("k")
    async with Node("a").running(store_url, settings=settings) as node:
        entry = await node.memory.get("k")
        assert entry is not None
        assert written is not None
        assert entry.versions == written.versions
        saved = await node.memory.put("k", 2)
        assert saved.versions[0].partition(":")[0] == written.versions[0].partition(":")[0]


async def test_every_live_node_answers_a_request_to_sync_and_others_are_missed(
    store_url: str, settings: Settings
) -> None:
    seen: list[SyncReport] = []
    async with (
        Node("a").running(store_url, settings=settings) as a,
        Node("b").running(store_url, settings=settings),
        Mesh(store_url, settings=settings) as mesh,
    ):
        await a.memory.put("k", "v")
        report = await request_sync(mesh.backend.memory, mesh.events, nodes=["a", "b"], progress=seen.append)
        assert [each.node for each in report.nodes if each.confirmed and each.is_equal] == ["a", "b"]
        assert report.missing == ()
        assert seen[-1].nodes == report.nodes
        short = timedelta(milliseconds=200)
        report = await request_sync(mesh.backend.memory, mesh.events, nodes=["a", "gone"], timeout=short)
        assert report.missing == ("gone",)


async def test_a_node_told_to_keep_no_replica_reaches_the_memory_at_the_store(
    store_url: str, settings: Settings, tmp_path: Path
) -> None:
    plain = settings.model_copy(update={"memory_sync": settings.memory_sync.model_copy(update={"enabled": False})})
    async with Node("a").running(store_url, settings=plain) as node:
        await node.memory.put("k", "v")
        entry = await node.memory.get("k")
        assert entry is not None
        assert entry.value == "v"
    assert not (tmp_path / "state" / "memory").exists()


async def test_what_is_written_in_a_task_names_the_task(store_url: str, settings: Settings) -> None:
    node = Node("reader-2")

    @node.task("note")
    async def note(text: str) -> None:
        await node.memory.put("notes/2", text)
        await node.memory.by(task="another").put("notes/3", text)

    async with node.running(store_url, settings=settings), Mesh(store_url, settings=settings) as mesh:
        handle = await mesh.tasks.submit("note", text="sunny")
        await handle.result()
        await node.memory.put("notes/4", "outside")
        tasks = [(await node.memory.blame(f"notes/{number}"))[0].writing.task for number in (2, 3, 4)]
        assert tasks == [handle.id, "another", ""]


async def test_nodes_without_replicas_sweep_the_memory(
    store_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshd.runtime.memory._SWEEP_S", 0.02)
    without = settings.model_copy(update={"memory_sync": settings.memory_sync.model_copy(update={"enabled": False})})
    async with Node("n").running(store_url, settings=without) as node:
        await node.memory.put("k", 1)
        await node.memory.delete("k")

        async def is_collected() -> bool:
            async with Mesh(store_url, settings=settings) as mesh:
                return not (await mesh.backend.memory.get(["k"]))[0]

        await wait_until(is_collected)


async def test_nodes_tell_each_other_over_their_links_while_the_store_is_dead(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "redis")
    server.start(aof=True)
    settings = Settings.load(
        mesh="links", state_dir=str(tmp_path / "state"), memory_sync={"sync_interval_seconds": 0.3}
    )
    try:
        async with (
            Node("a").running(server.url, settings=settings) as a,
            Node("b").running(server.url, settings=settings) as b,
        ):
            await a.memory.put("before", 1)
            await wait_until(lambda: _reads(b, "before", 1))
            await wait_until(lambda: _are_met(a, b), timeout=10)
            server.kill()
            await a.memory.put("k", "from a")
            await wait_until(lambda: _reads(b, "k", "from a"), timeout=10)
            server.restart()
            async with Mesh(server.url, settings=settings) as mesh:
                await wait_until(lambda: _reads(mesh, "k", "from a"), timeout=10)
    finally:
        server.stop()


async def _reads(place: Node | Mesh, key: str, value: object) -> bool:
    entry = await place.memory.get(key)
    return entry is not None and entry.value == value


def _are_met(*nodes: Node) -> bool:
    """Whether each knows where the other's links are."""
    lives = [node._life for node in nodes]  # pyright: ignore[reportPrivateUsage]
    return all(life and len(life._bridge.addresses) == len(nodes) for life in lives)  # pyright: ignore[reportPrivateUsage]
