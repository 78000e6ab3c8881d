"""Node processes, and the mesh as this process sees it: the two share nothing but the store."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from meshd import Mesh, TaskState
from meshd.events import START, Event
from tests.rows.mesh_command import Command
from tests.rows.worker import Options, settings_for
from tests.support.waiting import wait_until

SOON = timedelta(seconds=30)


class Start(Protocol):
    """Starts a node process and returns once the mesh lists it under a new incarnation."""

    async def __call__(self, name: str, options: Options | None = None) -> subprocess.Popen[bytes]: ...


Begin = Callable[[str, Options], subprocess.Popen[bytes]]


@pytest.fixture
async def mesh(store_url: str, mesh_name: str) -> AsyncIterator[Mesh]:
    async with Mesh(store_url, settings=settings_for(mesh_name)) as opened:
        yield opened


@pytest.fixture
async def begin(mesh: Mesh, store_url: str, mesh_name: str) -> AsyncIterator[Begin]:
    """Starts a node process and does not wait for it; `mesh` closes after the last of them has ended."""
    del mesh
    processes: list[subprocess.Popen[bytes]] = []

    def begin_node(name: str, options: Options) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.rows.worker", store_url, mesh_name, name, options.to_json()]
        processes.append(subprocess.Popen(command))
        return processes[-1]

    yield begin_node
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


@pytest.fixture
def start(mesh: Mesh, begin: Begin) -> Start:
    async def start_node(name: str, options: Options | None = None) -> subprocess.Popen[bytes]:
        before = {node.id: node.incarnation for node in await mesh.nodes.list(include_dead=True)}
        process = begin(name, options or Options())

        async def is_here() -> bool:
            nodes = await mesh.nodes.list()
            return any(node.id == name and node.incarnation > before.get(name, 0) for node in nodes)

        await wait_until(is_here, timeout=20)
        return process

    return start_node


@pytest.fixture
def command(store_url: str, mesh_name: str, tmp_path: Path) -> Command:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return Command(url=store_url, mesh=mesh_name, folder=folder)


async def until_running(mesh: Mesh, task_id: str, node_id: str = "") -> None:
    async def is_running() -> bool:
        task = await mesh.tasks.get(task_id)
        return task.state is TaskState.RUNNING and (not node_id or task.node_id == node_id)

    await wait_until(is_running, timeout=20)


async def history(mesh: Mesh, log: str, **fields: Any) -> list[Event]:
    """Return the events of a log whose bodies have these fields."""
    found: list[Event] = []
    cursor = START
    while events := await mesh.events.read(log, after=cursor, limit=1000):
        cursor = events[-1].cursor
        found += [event for event in events if all(event.body.get(name) == value for name, value in fields.items())]
    return found


async def verbs(mesh: Mesh, task_id: str) -> list[str]:
    """Return what happened to a task, in order."""
    return [event.body["event"] for event in await history(mesh, "tasks", task=task_id)]
