"""Topology managers as processes of their own: killed one after another, they leave every use counted once."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from meshd import Mesh, Node
from meshd.settings import Settings
from tests.support.waiting import wait_until

MESH = Path(sys.executable).parent / "mesh"
Begin = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def settings(mesh_name: str, tmp_path: Path) -> Settings:
    return Settings.model_validate({"mesh": mesh_name, "state_dir": str(tmp_path), "roles": {"play": []}})


@pytest.fixture
def begin(store_url: str, mesh_name: str, tmp_path: Path) -> Iterator[Begin]:
    """Starts a topology manager as a process of its own."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> subprocess.Popen[bytes]:
        command = [str(MESH), "role", "start", "topology", "--name", name, "--url", store_url, "--mesh", mesh_name]
        env = {**os.environ, "MESHD_ROLES__LEASE_SECONDS": "3", "MESHD_ROLES__IDLE_SECONDS": "2"}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=env))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.mark.slow
async def test_uses_are_counted_once_though_one_manager_after_another_is_killed(
    store_url: str, settings: Settings, begin: Begin
) -> None:
    sales, fraud = Node("sales"), Node("fraud")

    sent = 0

    async with (
        Mesh(store_url, settings=settings) as mesh,
        sales.running(store_url, settings=settings),
        fraud.running(store_url, settings=settings),
    ):

        async def has_all() -> bool:
            graph = await mesh.topology.graph()
            return set(graph.agents) == {"sales", "fraud"} and sum(edge.usage for edge in graph.edges) == sent

        for name in ("m1", "m2", "m3"):
            manager = begin(name)
            await wait_until(has_all, timeout=40)
            for _ in range(4):
                await sales.messages.send("fraud", "note", {})
            sent += 4
            await wait_until(has_all, timeout=40)
            await sales.messages.send("fraud", "note", {})
            sent += 1
            manager.kill()
            manager.wait()
