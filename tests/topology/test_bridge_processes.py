"""Row A15: bridges as the settings describe them, in processes of their own between two Redis servers."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from meshd import Mesh, Node, TaskState
from meshd.errors import ConfigurationError
from meshd.specialists.bridge import make_bridge
from tests.rows.conftest import SOON
from tests.rows.mesh_command import Command
from tests.rows.worker import settings_for
from tests.support.redis_server import RedisServer
from tests.support.waiting import wait_until

TASKS = 12
QUICK = {
    "MESHD_HEARTBEAT_INTERVAL_SECONDS": "0.2",
    "MESHD_NODE_TIMEOUT_SECONDS": "1",
    "MESHD_TASKS__LEASE_SECONDS": "2",
    "MESHD_TASKS__RENEW_SECONDS": "0.5",
    "MESHD_TASKS__SWEEP_SECONDS": "0.1",
    "MESHD_TASKS__POLL_SECONDS": "0.5",
}
PRESS = """
import asyncio
from pathlib import Path

from meshd import Node

node = Node("press", concurrency=16)


def note(file, text):
    with Path(file).open("a") as open_file:
        open_file.write(f"{text}\\n")


@node.task("press.run")
async def run(number: int) -> str:
    note("runs", number)
    while not Path("go").exists():
        await asyncio.sleep(0.01)
    return f"pressed {number}"


@node.on_message("order")
async def order(message):
    note("orders", f"{message.payload} from {message.metadata['from']} in {message.metadata['mesh']}")
"""


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Of the office, and of the plant."""
    both = RedisServer(tmp_path / "office-redis"), RedisServer(tmp_path / "plant-redis")
    for server in both:
        server.start()
    yield both
    for server in both:
        server.stop()


@pytest.fixture
def office_command(servers: tuple[RedisServer, RedisServer], tmp_path: Path) -> Command:
    (tmp_path / "office").mkdir()
    return Command(url=servers[0].url, mesh="office", folder=tmp_path / "office", env=dict(QUICK))


@pytest.fixture
def press(servers: tuple[RedisServer, RedisServer], tmp_path: Path) -> Iterator[Path]:
    """A node in the plant that notes what it runs; return its folder."""
    folder = tmp_path / "plant"
    folder.mkdir()
    (folder / "press.py").write_text(PRESS)
    plant = Command(url=servers[1].url, mesh="plant", folder=folder, env=dict(QUICK))
    process = plant.begin("node", "start", "--module", "press.py")
    yield folder
    ended(process)


@pytest.fixture
async def office(servers: tuple[RedisServer, RedisServer]) -> AsyncIterator[Mesh]:
    async with Mesh(servers[0].url, settings=settings_for("office")) as mesh:
        yield mesh


def ended(process: "subprocess.Popen[bytes]") -> int:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    return process.wait(30)


async def pid_of_gate(office: Mesh, *, after: int = 0) -> int:
    """Return the process of the bridge, once it is another than one before."""
    found: list[int] = []

    async def is_here() -> bool:
        found[:] = [node.profile.pid for node in await office.nodes.list(types=["bridge"])]
        return bool(found) and found[0] != after

    await wait_until(is_here, timeout=30)
    return found[0]


async def test_every_task_runs_once_beyond_and_comes_back_though_its_bridge_is_killed(
    servers: tuple[RedisServer, RedisServer], office: Mesh, office_command: Command, press: Path
) -> None:
    there = {"url": servers[1].url, "mesh": "plant", "task_types": ["press.run"]}
    gate = {"name": "gate", "type": "bridge", "concurrency": TASKS, "bridge": there}
    (office_command.folder / "mesh.yaml").write_text(yaml.safe_dump({"nodes": [gate]}))
    up = office_command.begin("up")
    try:
        first = await pid_of_gate(office)
        handles = [await office.tasks.submit("press.run", number=number) for number in range(TASKS)]
        await wait_until(lambda: len(lines(press / "runs")) == TASKS, timeout=30)
        os.kill(first, signal.SIGKILL)
        second = await pid_of_gate(office, after=first)
        (press / "go").touch()
        results = [await handle.result(timeout=SOON) for handle in handles[: TASKS // 2]]
        os.kill(second, signal.SIGKILL)
        results += [await handle.result(timeout=SOON) for handle in handles[TASKS // 2 :]]
    finally:
        assert ended(up) == 0
    assert results == [f"pressed {number}" for number in range(TASKS)]
    assert set(Counter(lines(press / "runs")).values()) == {1}
    async with Mesh(servers[1].url, settings=settings_for("plant")) as plant:
        assert (await plant.tasks.counts())[TaskState.COMPLETED] == TASKS


async def test_a_bridge_stands_in_for_agents_beyond_and_waits_for_a_mesh_that_is_away(
    servers: tuple[RedisServer, RedisServer], office: Mesh, office_command: Command, press: Path
) -> None:
    await wait_until((press / ".meshd").exists, timeout=30)
    (press / "go").touch()
    office_command.env.update(
        MESHD_BRIDGE__URL=servers[1].url,
        MESHD_BRIDGE__MESH="plant",
        MESHD_BRIDGE__TASK_TYPES="press.run",
        MESHD_BRIDGE__ADDRESSEES="press",
    )
    servers[1].freeze()
    gate = office_command.begin("node", "start", "--type", "bridge", "--name", "gate")
    try:
        await pid_of_gate(office)
        handle = await office.tasks.submit("press.run", number=7)
        await office.messages.send("press", "order", "paper", sender="ada")
        servers[1].thaw()
        assert await handle.result(timeout=SOON) == "pressed 7"
        await wait_until(lambda: lines(press / "orders") == ["paper from ada in office"], timeout=30)
        assert await office.messages.waiting("press") == 0
    finally:
        servers[1].thaw()
        assert ended(gate) == 0


def test_a_bridge_that_is_not_told_where_to_lead_does_not_start(office_command: Command) -> None:
    office_command("node", "start", "--type", "bridge", code=2)
    with pytest.raises(ConfigurationError, match=r"set bridge\.url and bridge\.mesh"):
        make_bridge(Node("gate", type="bridge"), settings_for("office"))
