"""Real nodes on a real store: what they see of each other, and what the mesh makes of it."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from meshd import Mesh, Node
from meshd.errors import ConfigurationError
from meshd.nodes.model import Node as NodeRecord
from meshd.nodes.model import Verdict
from meshd.peers.key import KEY_RECORD, key_of
from meshd.runtime import own_view
from meshd.runtime.state_dir import StateDir
from meshd.settings import Settings
from tests.peers.node_process import quick_settings
from tests.support.leaks import MeshKeys
from tests.support.proxy import Direction, proxied
from tests.support.redis_server import RedisServer
from tests.support.stores import RedisMeshes
from tests.support.waiting import wait_until

SOON_S = 20.0
Start = Callable[[str], Awaitable["subprocess.Popen[bytes]"]]


@pytest.fixture
def store_url(redis_server: RedisServer, mesh_name: str) -> Iterator[str]:
    stores = RedisMeshes(redis_server.url)
    yield stores.url(mesh_name)
    stores.finish(mesh_name)


@pytest.fixture
def settings(mesh_name: str, tmp_path: Path) -> Settings:
    return quick_settings(mesh_name, tmp_path)


@pytest.fixture
async def mesh(store_url: str, settings: Settings) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings) as opened:
        yield opened


@pytest.fixture
async def start(mesh: Mesh, store_url: str, mesh_name: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a node process and returns once it is a member."""
    processes: list[subprocess.Popen[bytes]] = []

    async def start_node(name: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.peers.node_process", store_url, mesh_name, name, str(tmp_path)]
        processes.append(subprocess.Popen(command))

        async def is_here() -> bool:
            return any(node.id == name for node in await mesh.nodes.list())

        await wait_until(is_here, timeout=SOON_S)
        return processes[-1]

    yield start_node
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


async def seen(mesh: Mesh, name: str) -> NodeRecord:
    record = await mesh.nodes.get(name)
    assert record is not None
    return record


async def until_reached(mesh: Mesh, name: str, others: set[str]) -> None:
    async def is_reached() -> bool:
        return (await seen(mesh, name)).sightings.reached == frozenset(others)

    await wait_until(is_reached, timeout=SOON_S)


async def test_nodes_reach_each_other_and_say_so_with_round_trips(
    mesh: Mesh, store_url: str, settings: Settings, mesh_name: str, tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        for name in ("n1", "n2", "n3"):
            await stack.enter_async_context(Node(name).running(store_url, settings=settings))
        for name in ("n1", "n2", "n3"):
            await until_reached(mesh, name, {"n1", "n2", "n3"} - {name})
        record = await seen(mesh, "n1")
        assert record.profile.address.startswith("127.0.0.1:")
        assert record.sightings.round_trip_ms.keys() == {"n2", "n3"}
        assert all(trip > 0 for trip in record.sightings.round_trip_ms.values())
        views = own_view.read_all(StateDir(tmp_path), mesh_name)
        assert [view.node for view in views] == ["n1", "n2", "n3"]
        assert views[0].hub_reachable
        assert views[0].address == record.profile.address
        assert views[0].reached.keys() == {"n2", "n3"}
    assert own_view.read_all(StateDir(tmp_path), mesh_name) == []


async def test_a_node_that_left_is_unreached_by_nobody(mesh: Mesh, store_url: str, settings: Settings) -> None:
    async with Node("n1").running(store_url, settings=settings):
        async with Node("n2").running(store_url, settings=settings):
            await until_reached(mesh, "n1", {"n2"})
        await until_reached(mesh, "n1", set())
        assert not (await seen(mesh, "n1")).sightings.unreached


async def test_a_killed_node_is_unreached_since_it_died(
    mesh: Mesh, store_url: str, settings: Settings, start: Start
) -> None:
    async with Node("n1").running(store_url, settings=settings):
        process = await start("n2")
        await until_reached(mesh, "n1", {"n2"})
        killed_ms = (await seen(mesh, "n1")).read_ms
        process.kill()

        async def is_unreached() -> bool:
            return "n2" in (await seen(mesh, "n1")).sightings.unreached

        await wait_until(is_unreached, timeout=SOON_S)
        assert (await seen(mesh, "n1")).sightings.unreached["n2"] >= killed_ms - 200

        async def is_dead() -> bool:
            return (await seen(mesh, "n2")).verdict is Verdict.DEAD

        await wait_until(is_dead, timeout=SOON_S)


async def test_a_handler_that_blocks_its_node_does_not_make_it_unreached(
    mesh: Mesh, store_url: str, settings: Settings, start: Start
) -> None:
    async with Node("n1").running(store_url, settings=settings):
        await start("n2")
        await until_reached(mesh, "n1", {"n2"})
        handle = await mesh.tasks.submit("block", seconds=3.0)
        waiting = asyncio.create_task(handle.result(timeout=timedelta(seconds=SOON_S)))
        while not waiting.done():
            record = await seen(mesh, "n1")
            assert record.sightings.reached == {"n2"}
            await asyncio.wait({waiting}, timeout=0.1)
        await waiting


async def test_nodes_of_a_store_that_lost_everything_agree_on_a_new_key(
    mesh: Mesh, store_url: str, settings: Settings, mesh_name: str
) -> None:
    async with Node("n1").running(store_url, settings=settings), Node("n2").running(store_url, settings=settings):
        await until_reached(mesh, "n1", {"n2"})
        old = await key_of(mesh.backend.records)
        keys = MeshKeys(store_url, mesh_name)
        keys.remove()
        keys.close()

        async def is_reached() -> bool:
            record = await mesh.backend.nodes.get("n1")
            return record is not None and record.sightings.reached == frozenset({"n2"})

        await wait_until(is_reached, timeout=SOON_S)
        assert await key_of(mesh.backend.records) != old


async def test_a_node_cut_from_the_store_is_vouched_for_and_not_judged_dead(
    mesh: Mesh, store_url: str, settings: Settings, redis_server: RedisServer, mesh_name: str, tmp_path: Path
) -> None:
    async with proxied(redis_server.port) as proxy, AsyncExitStack() as stack:
        for name, url in (("n1", store_url), ("n2", store_url), ("cut", proxy.url)):
            await stack.enter_async_context(Node(name).running(url, settings=settings))
        await until_reached(mesh, "n1", {"n2", "cut"})
        proxy.stall(*Direction)

        async def is_partitioned() -> bool:
            verdict = (await seen(mesh, "cut")).verdict
            assert verdict is not Verdict.DEAD
            return verdict is Verdict.PARTITIONED

        await wait_until(is_partitioned, timeout=SOON_S)

        def knows_it_is_cut() -> bool:
            views = own_view.read_all(StateDir(tmp_path), mesh_name)
            return any(view.node == "cut" and not view.hub_reachable for view in views)

        await wait_until(knows_it_is_cut, timeout=SOON_S)
        record = await seen(mesh, "cut")
        assert record.verdict is Verdict.PARTITIONED
        assert record.vouched_by in {"n1", "n2"}
        assert (await seen(mesh, "n1")).sightings.reached == {"n2", "cut"}
        await proxy.mend()

        async def is_back() -> bool:
            return (await seen(mesh, "cut")).verdict is Verdict.ALIVE

        await wait_until(is_back, timeout=SOON_S)


@pytest.mark.parametrize(("enabled", "is_linked"), [("auto", False), ("on", True), ("off", False)])
async def test_a_mesh_on_sqlite_has_links_only_if_told_to(
    enabled: str, is_linked: bool, tmp_path: Path, mesh_name: str
) -> None:
    settings = quick_settings(mesh_name, tmp_path, enabled=enabled)
    url = f"sqlite:///{tmp_path / 'mesh.db'}"
    async with Node("n1").running(url, settings=settings), Mesh(url, settings=settings) as mesh:
        assert bool((await seen(mesh, "n1")).profile.address) == is_linked


async def test_links_that_cannot_be_opened_are_done_without_unless_required(
    store_url: str, mesh: Mesh, mesh_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = {"advertise": "no.such.host.invalid"}
    async with Node("n1").running(store_url, settings=quick_settings(mesh_name, tmp_path, **nowhere)):
        assert (await seen(mesh, "n1")).profile.address == ""
    assert "does without links" in caplog.text
    with pytest.raises(ConfigurationError, match=r"peers\.advertise"):
        async with Node("n2").running(store_url, settings=quick_settings(mesh_name, tmp_path, enabled="on", **nowhere)):
            pass


async def test_a_key_that_is_none_costs_the_links_and_not_the_node(
    store_url: str, mesh: Mesh, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    await mesh.backend.records.put(KEY_RECORD, b"short")
    async with Node("n1").running(store_url, settings=settings):
        assert (await seen(mesh, "n1")).profile.address == ""
    assert "peers/key" in caplog.text


def test_yaml_words_for_on_and_off_are_understood() -> None:
    assert Settings.load(peers={"enabled": True}).peers.enabled == "on"
    assert Settings.load(peers={"enabled": False}).peers.enabled == "off"
    with pytest.raises(ConfigurationError, match="probe_timeout_seconds"):
        Settings.load(peers={"probe_timeout_seconds": 2.0})


def test_a_view_left_by_a_process_that_is_gone_is_not_read_and_is_removed(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    view = own_view.OwnView(
        mesh="m",
        node="n1",
        pid=gone.pid,
        incarnation=1,
        address="127.0.0.1:1",
        at_ms=1,
        hub_reachable=False,
        hub_since_ms=1,
        reached={"n2": 1.5},
        unreached={"n3": 7},
        suspected=("n3",),
    )
    own_view.write(state.view_file("m", "n1"), view)
    state.view_file("m", "torn").write_bytes(b"{")
    assert own_view.read_all(state, "m") == []
    own_view.remove_left(state.views)
    assert not state.view_file("m", "n1").exists()
