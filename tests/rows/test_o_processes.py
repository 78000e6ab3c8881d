"""Rows I5, I11, I12, L18, O1, O8, O12, O13, O16: processes, servers, and one scenario run in several ways."""

import asyncio
import os
import signal
import socket
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshd import Mesh, Settings
from meshd.backends import open_backend
from meshd.errors import UnavailableError
from meshd.nodes.model import Verdict
from meshd.runtime.processes import running
from meshd.runtime.state_dir import StateDir
from tests.redis_backend.raw import Raw, raw_commands
from tests.rows.conftest import SOON, Start, history
from tests.rows.mesh_command import Command
from tests.rows.worker import Options, make_node, settings_for
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
CREW = {
    "reader": Options(capabilities=("read",), type="language_expert"),
    "planner": Options(capabilities=("plan",), type="planning_only"),
}


async def scenario(mesh: Mesh) -> list[Any]:
    """What the crew is asked to do, and what comes of it."""
    asked = [
        await mesh.tasks.submit("who", requires=["read"], priority="high"),
        await mesh.tasks.submit("who", requires=["plan"]),
        await mesh.tasks.submit("fail", times=1, requires=["read"]),
        await mesh.tasks.submit("echo", value=7, idempotency_key="once"),
        await mesh.tasks.submit("echo", value=8, idempotency_key="once"),
    ]
    results = [await handle.result(timeout=SOON) for handle in asked]
    return [*results, {node.id: node.profile.type for node in await mesh.nodes.list()}]


async def test_one_process_and_several_give_the_same_run(
    mesh: Mesh, start: Start, store_url: str, mesh_name: str
) -> None:
    settings = settings_for(mesh_name)
    async with AsyncExitStack() as stack:
        for name, options in CREW.items():
            node = make_node(name, options, url=store_url, settings=settings)
            await stack.enter_async_context(node.running(store_url, settings=settings))
        alone = await scenario(mesh)
        pids = {node.profile.pid for node in await mesh.nodes.list()}
    assert len(pids) == 1
    for name, options in CREW.items():
        await start(name, options)
    together = await scenario(mesh)
    assert len({node.profile.pid for node in await mesh.nodes.list()}) == 2
    assert alone == together == ["reader", "planner", "reader attempt 2", 7, 7, {
        "reader": "language_expert", "planner": "planning_only"
    }]  # fmt: skip


async def test_when_each_process_is_killed_in_turn_the_others_go_on(mesh: Mesh, start: Start) -> None:
    names = ["a", "b", "c"]
    processes = {name: await start(name, Options(capabilities=(name,))) for name in names}
    for victim in names:
        processes[victim].kill()
        processes[victim].wait()
        others = [name for name in names if name != victim]
        handles = [await mesh.tasks.submit("who", requires=[name]) for name in others]
        assert [await handle.result(timeout=SOON) for handle in handles] == others
        processes[victim] = await start(victim, Options(capabilities=(victim,)))
    assert [node.id for node in await mesh.nodes.list()] == names


async def test_the_capacity_lost_with_a_node_is_shown(mesh: Mesh, start: Start, command: Command) -> None:
    await start("stays", Options(concurrency=3))
    lost = await start("goes", Options(concurrency=5))
    assert command.json("status")["totals"]["capacity"] == 8
    lost.kill()
    lost.wait()

    async def is_judged() -> bool:
        return any(node.verdict is Verdict.DEAD for node in await mesh.nodes.list(include_dead=True))

    await wait_until(is_judged, timeout=20)
    totals = command.json("status")["totals"]
    assert (totals["capacity"], totals["lost_capacity"]) == (3, 5)


@pytest.fixture
async def durable(tmp_path: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path / "server")
    server.start(aof=True)
    yield server
    server.stop()


async def test_a_restarted_redis_finds_all_nodes_back_and_no_acknowledged_task_lost(
    durable: RedisServer, mesh_name: str, tmp_path: Path
) -> None:
    settings = settings_for(mesh_name)
    nodes = [make_node(name, Options(), url=durable.url, settings=settings) for name in ("a", "b")]
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(Mesh(durable.url, settings=settings))
        for node in nodes:
            await stack.enter_async_context(node.running(durable.url, settings=settings))
        flag = tmp_path / "go"
        handles = [await mesh.tasks.submit("hold", until=str(flag)) for _ in range(4)]
        handles += [await mesh.tasks.submit("echo", value=1, delay=timedelta(seconds=1)) for _ in range(20)]
        await asyncio.to_thread(durable.restart)
        flag.touch()
        ended = [task async for task in mesh.tasks.as_ended(handles, timeout=SOON)]
        assert Counter(task.state.value for task in ended) == {"completed": 24}
        assert [node.id for node in await mesh.nodes.list()] == ["a", "b"]
        assert all(node.verdict is Verdict.ALIVE for node in await mesh.nodes.list())


async def test_no_call_waits_longer_than_its_limit_for_a_redis_that_stands_still(
    durable: RedisServer, mesh_name: str
) -> None:
    settings = Settings.load(mesh=mesh_name, store_timeout_seconds=0.5)
    async with Mesh(durable.url, settings=settings) as mesh:
        handle = await mesh.tasks.submit("echo", value=1)
        os.kill(durable.pid, signal.SIGSTOP)
        try:
            calls = [
                mesh.tasks.submit("echo", value=2),
                handle.status(),
                handle.cancel(),
                mesh.tasks.list(),
                mesh.tasks.counts(),
                mesh.nodes.list(),
                mesh.nodes.holders({"x"}),
                mesh.records.put("k", b"v"),
                mesh.records.get("k"),
                mesh.events.read("tasks"),
                mesh.sweep(),
            ]
            async with asyncio.timeout(10):
                ends = await asyncio.gather(*calls, return_exceptions=True)
        finally:
            os.kill(durable.pid, signal.SIGCONT)
    assert [end for end in ends if not isinstance(end, UnavailableError)] == []


async def test_a_pool_opens_no_more_connections_than_it_may(durable: RedisServer, mesh_name: str) -> None:
    settings = Settings.load(mesh=mesh_name, redis={"connection_pool_size": 3})
    with raw_commands(durable.port) as look:
        before = connections(look)
        backend = await open_backend(durable.url, settings.backend_options())
        await asyncio.gather(*(backend.tasks.counts() for _ in range(100)))
        assert 1 <= connections(look) - before <= 3
        await backend.aclose()


def connections(look: Raw) -> int:
    return len(look("CLIENT", "LIST").splitlines())


NAMES = ["north", "south"]


async def test_nodes_in_different_folders_need_only_the_address_of_redis(
    durable: RedisServer, mesh_name: str, tmp_path: Path
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    for name in NAMES:
        (tmp_path / name).mkdir()
        place = Command(url=durable.url, mesh=mesh_name, folder=tmp_path / name)
        started.append(place.begin("node", "start", "--name", name))
    async with Mesh(durable.url, settings=settings_for(mesh_name)) as mesh:
        try:

            async def both_are_here() -> bool:
                return [node.id for node in await mesh.nodes.list()] == NAMES

            await wait_until(both_are_here, timeout=30)
            assert await (await mesh.tasks.submit("echo", text="hi")).result(timeout=SOON) is not None
        finally:
            for process in started:
                process.terminate()
    assert [process.wait(20) for process in started] == [0, 0]
    kept = [[file.parent.relative_to(tmp_path / name) for file in (tmp_path / name).rglob("*.db")] for name in NAMES]
    assert kept == [[Path(".meshd/memory")]] * len(NAMES), "their own replicas of the memory, and nothing of each other"


async def test_the_environment_alone_makes_a_node(mesh: Mesh, command: Command) -> None:
    command.env.update(
        MESHD_NODE_NAME="from-environment",
        MESHD_NODE_TYPE="sensor_connected",
        MESHD_CAPABILITIES="wind,rain",
        MESHD_MAX_CAPACITY="3",
        MESHD_PORT="9955",
        MESHD_LOGGING__LEVEL="ERROR",
    )
    process = command.begin("node", "start")
    try:

        async def is_here() -> bool:
            return [node.id for node in await mesh.nodes.list()] == ["from-environment"]

        await wait_until(is_here, timeout=30)
        profile = (await mesh.nodes.get("from-environment")).profile
    finally:
        process.terminate()
    assert process.wait(20) == 0
    assert (profile.type, profile.capacity, profile.port, profile.host) == (
        "sensor_connected", 3, 9955, socket.gethostname()
    )  # fmt: skip
    assert {"wind", "rain"} <= profile.capabilities


def test_the_compose_file_and_the_fleet_file_have_the_same_nodes() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    fleet = yaml.safe_load((ROOT / "examples" / "fleet.yaml").read_text())["nodes"]
    composed = {
        (service["environment"]["MESHD_NODE_NAME"], service["environment"]["MESHD_NODE_TYPE"])
        for service in services.values()
        if "MESHD_NODE_NAME" in service.get("environment", {})
    }
    assert composed == {(node["name"], node["type"]) for node in fleet}


async def test_the_nodes_of_the_compose_file_run_without_containers(mesh: Mesh, command: Command) -> None:
    up = command.begin("up", "-f", str(ROOT / "examples" / "fleet.yaml"))
    try:

        async def all_are_here() -> bool:
            return [node.id for node in await mesh.nodes.list()] == ["general-1", "language-1", "sensor-1"]

        await wait_until(all_are_here, timeout=30)
        analysed = await mesh.tasks.submit("text.analyze", text="Not bad. Write to ada@example.org.")
        assert (await analysed.result(timeout=SOON))["counts"]["sentences"] == 2
        read = await mesh.tasks.submit("system.read")
        await read.result(timeout=SOON)
        assert (await read.status()).node_id == "sensor-1"
    finally:
        up.send_signal(signal.SIGINT)
    assert up.wait(20) == 0
    assert await mesh.nodes.list() == []


async def test_older_names_in_a_settings_file_shape_the_node(mesh: Mesh, command: Command, tmp_path: Path) -> None:
    """S1's keys: port, capabilities, auto_join_network, max_concurrent_tasks, in a file of its shape."""
    (command.folder / "config.yaml").write_text(
        yaml.safe_dump(
            {
                "agent_mesh": {
                    "network": {"host": "edge-7", "port": 17002},
                    "agents": {"auto_join_network": False, "capabilities": ["wind"]},
                    "tasks": {"max_concurrent_tasks": 50},
                    "resilience": {"node_timeout": 3, "health_check_interval": 0.2},
                    "logging": {"level": "ERROR"},
                }
            }
        )
    )
    process = command.begin("node", "start", "--name", "older")
    try:

        async def is_here() -> bool:
            return [node.id for node in await mesh.nodes.list()] == ["older"]

        await wait_until(is_here, timeout=30)
        profile = (await mesh.nodes.get("older")).profile
    finally:
        process.terminate()
    assert process.wait(20) == 0
    assert (profile.host, profile.port, profile.capacity, profile.agents) == ("edge-7", 17002, 50, ())
    assert "wind" in profile.capabilities
    assert await history(mesh, "nodes", node="older", event="left")


async def test_a_fleet_of_six_starts_from_one_file_with_a_pid_file_and_a_log_each(mesh: Mesh, command: Command) -> None:
    """Two that coordinate and four that work, as the seed starts them."""
    (command.folder / "mesh.yaml").write_text(
        "nodes:\n"
        "  - {name: manager, type: coordination_hub, module: mine.py, replicas: 2}\n"
        "  - {name: sales, role: sales, capabilities: [upselling, discounts]}\n"
        "  - {name: support, role: support, capabilities: [refunds]}\n"
        "  - {name: inventory, role: inventory, capabilities: [stock]}\n"
        "  - {name: fraud, role: fraud, capabilities: [checks]}\n"
    )
    (command.folder / "mine.py").write_text("def idle() -> None: ...\n\nhandlers = {'idle': idle}\n")
    names = ["fraud", "inventory", "manager-1", "manager-2", "sales", "support"]
    command("up", "--detach")
    try:
        nodes = await mesh.nodes.list()
        assert [node.id for node in nodes] == names
        state = StateDir(command.folder / ".meshd")
        pids = {name: running(state.pid_file(name)) for name in names}
        assert {node.id: node.profile.pid for node in nodes} == {
            name: process.pid for name, process in pids.items() if process
        }
        assert all(state.log_file(name).is_file() for name in names)
    finally:
        command("down")
    assert await mesh.nodes.list() == []
    assert not any(state.pid_file(name).exists() for name in names)
